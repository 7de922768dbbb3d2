//! Where the states of all plugins of a host are kept.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use super::agent::{AgentStatus, Criticality, Phase, PluginStatus, State};
use super::gauges::Gauges;
use super::handle::StatusHandle;
use super::hysteresis::Hysteresis;
use super::reporter::Reporter;
use crate::about::BuildInfo;
use crate::apart::apart;

/// As long as for ever, and yet a moment that clocks can tell.
const FOR_EVER: Duration = Duration::from_secs(30 * 365 * 86_400);

/// Where the states of all plugins of a host are kept. Clones are the same board.
#[derive(Clone)]
pub(crate) struct Board(Arc<Inner>);

struct Inner {
    /// Writers lock the book for a few lines, and then put a whole new picture here; readers meet
    /// only that one exchange of a pointer.
    book: Mutex<Book>,
    shown: watch::Sender<Arc<AgentStatus>>,
    /// There is a state that is to be shown later.
    held: Notify,
}

/// What writers know.
struct Book {
    agent: AgentStatus,
    /// One for each plugin.
    notes: Vec<Note>,
    hysteresis: Hysteresis,
}

/// What is known of a plugin besides what is shown.
#[derive(Default)]
struct Note {
    /// The state that it is in, if another than the one shown.
    held: Option<Held>,
    /// Whether it has had its last word.
    ended: bool,
    /// What it failed of first, so that it cannot be well again.
    failure: Option<Arc<str>>,
    /// What the plugin said last of itself.
    told: Option<Told>,
    /// Why its new configuration is not in force.
    refused: Option<Arc<str>>,
}

/// A state and its cause, as a plugin told them.
type Told = (State, Option<Arc<str>>);

/// A state that has yet to last.
struct Held {
    state: State,
    cause: Option<Arc<str>>,
    /// Since when the plugin is in this state.
    since: SystemTime,
    /// When it will have lasted.
    until: Instant,
}

impl Board {
    pub(crate) fn new() -> Self {
        let agent = AgentStatus::new(BuildInfo::default());
        Self(Arc::new(Inner {
            shown: watch::Sender::new(Arc::new(agent.clone())),
            book: Mutex::new(Book {
                agent,
                notes: Vec::new(),
                hysteresis: Hysteresis::default(),
            }),
            held: Notify::new(),
        }))
    }

    /// Adds a plugin, in the state of one that is not yet up.
    pub(crate) fn add(&self, plugin: &str, criticality: Criticality) -> Reporter {
        let mut index = 0;
        self.change(|book| {
            let now = SystemTime::now();
            index = book.notes.len();
            book.notes.push(Note::default());
            book.agent.plugins.push(PluginStatus {
                plugin: plugin.into(),
                criticality,
                state: State::Init,
                cause: None,
                since: now,
                changed: now,
            });
            true
        });
        Reporter::new(self.clone(), index)
    }

    pub(crate) fn reader(&self) -> StatusHandle {
        StatusHandle::new(self.0.shown.subscribe())
    }

    pub(crate) fn set_build(&self, build: BuildInfo) {
        self.change(|book| {
            book.agent.build = Arc::new(build);
            true
        });
    }

    pub(crate) fn set_hysteresis(&self, hysteresis: Hysteresis) {
        self.0.book.lock().hysteresis = hysteresis;
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        self.change(|book| {
            book.agent.phase = phase;
            if phase == Phase::Running {
                book.agent.up = Some(SystemTime::now());
            }
            true
        });
    }

    /// From now on the agent is well without this plugin. Returns whether there is one.
    #[cfg(feature = "probe")]
    pub(crate) fn make_optional(&self, plugin: &str) -> bool {
        let mut found = false;
        self.change(|book| {
            for status in &mut book.agent.plugins {
                if *status.plugin == *plugin {
                    status.criticality = Criticality::Optional;
                    found = true;
                }
            }
            found
        });
        found
    }

    /// A plugin is in this state now.
    pub(crate) fn report(&self, index: usize, state: State, cause: Option<Arc<str>>) {
        self.change(|book| {
            book.notes[index].told = Some((state, cause));
            self.take(book, index)
        });
    }

    /// A new configuration of a plugin is refused for this cause; or is in force.
    pub(crate) fn refused(&self, index: usize, cause: Option<Arc<str>>) {
        self.change(|book| {
            let refused = &mut book.notes[index].refused;
            let is_another = *refused != cause;
            *refused = cause;
            is_another && self.take(book, index)
        });
    }

    /// Shows what a plugin said last, now or once it has lasted; returns whether it was now.
    fn take(&self, book: &mut Book, index: usize) -> bool {
        let (shown, note) = (&mut book.agent.plugins[index], &mut book.notes[index]);
        let Some(told) = note.told.clone() else {
            return false;
        };
        let (state, cause) = note.no_better_than_configured(told);
        if note.ended || (note.failure.is_some() && state != State::Error) {
            return false;
        }
        let hold = book.hysteresis.hold(shown.state, state);
        if state == shown.state || hold.is_zero() {
            note.held = None;
            return shown.set(state, cause, SystemTime::now());
        }
        // From error to degraded to ok is one way up: it lasts from its begin.
        let same_way = note
            .held
            .take()
            .filter(|held| (held.state > shown.state) == (state > shown.state));
        let since = match &same_way {
            Some(held) if held.state == state => held.since,
            _ => SystemTime::now(),
        };
        let until = same_way.map_or_else(|| Instant::now() + hold.min(FOR_EVER), |held| held.until);
        note.held = Some(Held {
            state,
            cause,
            since,
            until,
        });
        self.0.held.notify_one();
        false
    }

    /// A plugin does not work from now on, for this cause.
    pub(crate) fn fail(&self, index: usize, cause: Arc<str>) {
        self.change(|book| {
            let note = &mut book.notes[index];
            if note.ended {
                return false;
            }
            note.held = None;
            note.failure.get_or_insert_with(|| Arc::clone(&cause));
            note.told = Some((State::Error, Some(Arc::clone(&cause))));
            book.agent.plugins[index].set(State::Error, Some(cause), SystemTime::now())
        });
    }

    /// A plugin that has not said how it is works.
    pub(crate) fn ok_unless_told(&self, index: usize) {
        self.change(|book| {
            let (shown, note) = (&mut book.agent.plugins[index], &mut book.notes[index]);
            if shown.state != State::Init || note.told.is_some() {
                return false;
            }
            note.told = Some((State::Ok, None));
            let (state, cause) = note.no_better_than_configured((State::Ok, None));
            shown.set(state, cause, SystemTime::now())
        });
    }

    /// A plugin is in this state for good, for this cause and what it failed of before.
    pub(crate) fn last_word(&self, index: usize, state: State, cause: Option<Arc<str>>) {
        self.change(|book| {
            let note = &mut book.notes[index];
            (note.held, note.ended) = (None, true);
            let cause = match (&note.failure, cause) {
                (Some(failure), Some(cause)) => Some(format!("{failure}; {cause}").into()),
                (failure, cause) => cause.or_else(|| failure.clone()),
            };
            book.agent.plugins[index].set(state, cause, SystemTime::now())
        });
    }

    /// Shows states once they have lasted, and keeps the gauges; for as long as the host runs.
    ///
    /// # Cancel safety
    /// Nothing is lost if it is dropped and called again.
    pub(crate) async fn tend(&self, gauges: &Gauges) -> Infallible {
        let mut shown = self.0.shown.subscribe();
        loop {
            let next = self.show_what_has_lasted();
            gauges.set(&shown.borrow_and_update().clone());
            tokio::select! {
                // The sender is in self.
                _ = shown.changed() => {}
                () = self.0.held.notified() => {}
                () = until(next) => {}
            }
        }
    }

    /// Shows the states that have lasted, and tells when the next will have.
    fn show_what_has_lasted(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut next: Option<Instant> = None;
        self.change(|book| {
            let mut any = false;
            for (shown, note) in book.agent.plugins.iter_mut().zip(&mut book.notes) {
                match note.held.take() {
                    Some(held) if held.until <= now => {
                        any |= shown.set(held.state, held.cause, held.since);
                    }
                    Some(held) => {
                        next = Some(next.map_or(held.until, |next| next.min(held.until)));
                        note.held = Some(held);
                    }
                    None => {}
                }
            }
            any
        });
        next
    }

    /// Changes the book, and shows it if that changed anything to be shown.
    fn change(&self, change: impl FnOnce(&mut Book) -> bool) {
        let mut book = self.0.book.lock();
        let before = book.agent.state();
        if change(&mut book) {
            let now = SystemTime::now();
            book.agent.changed = now;
            if book.agent.state() != before {
                book.agent.since = now;
            }
            // Still under the lock, so that no older picture replaces a newer one.
            self.0.shown.send_replace(Arc::new(book.agent.clone()));
        }
    }
}

impl Note {
    /// What is to be shown of what a plugin said: without its configuration it is degraded at best.
    fn no_better_than_configured(&self, told: Told) -> Told {
        match (&self.refused, told.0) {
            (Some(refused), State::Ok) => (State::Degraded, Some(Arc::clone(refused))),
            _ => told,
        }
    }
}

impl PluginStatus {
    /// Takes another state or cause; returns whether it is another.
    fn set(&mut self, state: State, cause: Option<Arc<str>>, since: SystemTime) -> bool {
        if (state, &cause) == (self.state, &self.cause) {
            return false;
        }
        if state != self.state {
            self.since = since;
        }
        self.state = state;
        self.cause = cause;
        self.changed = SystemTime::now();
        true
    }
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Board")
            .field(&*self.0.shown.borrow())
            .finish()
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => apart(|| sleep_until(moment)).await,
        None => std::future::pending().await,
    }
}
