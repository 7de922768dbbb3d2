//! Gives up old history: one agent of many, and never what is younger than the retention.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use keyval::recipes::{Election, Leadership};
use keyval::{BackoffPolicy, Error, Key, ManagedStore, Prefix, Result, Revision};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::link::{Link, WaitPolicy};

/// What a failure of this is called in the status.
const SUBJECT: &str = "auto-compact";
/// How often in one retention the revision is noted, so that up to a tenth more is kept.
const NOTES: u32 = 10;
/// A campaign that waits for longer than this does not fail.
const CALM: Duration = Duration::from_secs(10);
/// The most between two notes, so that a long retention does not keep a day more.
const LONGEST_NOTE: Duration = Duration::from_secs(300);

/// Compacts what is older than the retention, while elected, until told to stop.
pub(crate) async fn auto_compact(
    link: Arc<Link>,
    agent: Arc<str>,
    election: Key,
    retention: Duration,
    stop: CancellationToken,
) {
    let work = stand_and_compact(&link, &agent, &election, retention);
    stop.run_until_cancelled(work).await;
}

async fn stand_and_compact(link: &Link, agent: &str, election: &Key, retention: Duration) {
    let mut backoff = BackoffPolicy::default()
        .with_max(Duration::from_secs(30))
        .start();
    loop {
        let error = match lead(link, agent, election, retention).await {
            Ok(()) => continue,
            Err(Error::Closed { .. }) => return,
            Err(error) => error,
        };
        link.complaints.raise(SUBJECT, error.to_string());
        sleep(backoff.next_wait()).await;
    }
}

/// Waits to be elected, and compacts until that is lost.
async fn lead(link: &Link, agent: &str, election: &Key, retention: Duration) -> Result<()> {
    let store = link.store(WaitPolicy::UntilConnected).await?;
    let session = link
        .session(Prefix::default(), WaitPolicy::FailFast)
        .await?;
    let election = Election::new(&session, election);
    let mut campaign = pin!(election.campaign(agent.to_owned()));
    let leadership = match timeout(CALM, &mut campaign).await {
        Ok(elected) => elected?,
        Err(_) => {
            // Somebody else leads, and all is well.
            link.complaints.settle(SUBJECT);
            campaign.await?
        }
    };
    tracing::info!(%store, ?retention, "elected to compact");
    let ended = compact_while_leading(link, &*store.store, &leadership, retention).await;
    // It may be lost; else it ends with the lease at the latest.
    let _ = leadership.resign().await;
    ended
}

async fn compact_while_leading(
    link: &Link,
    store: &dyn ManagedStore,
    leadership: &Leadership,
    retention: Duration,
) -> Result<()> {
    let mut ticks = interval((retention / NOTES).min(LONGEST_NOTE));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut lost = pin!(leadership.lost());
    // Of this leader's own time only: who knows nothing of the past gives up nothing of it.
    let mut seen = Seen::default();
    loop {
        tokio::select! {
            biased;
            _ = &mut lost => return Ok(()),
            _ = ticks.tick() => {}
        }
        let told = store.status().await;
        let compacted = match told.map(|told| told.revision) {
            Ok(Some(present)) => match seen.note(present, Instant::now(), retention) {
                Some(to) => {
                    let done = store.compact(to).await;
                    if matches!(done, Ok(()) | Err(Error::Compacted { .. })) {
                        seen.compacted = to;
                    }
                    done
                }
                None => Ok(()),
            },
            Ok(None) => Err(Error::invalid(
                "the store does not tell its revision to this user: switch auto-compact off",
            )),
            Err(error) => Err(error),
        };
        match compacted {
            // Compacted further already, by somebody else.
            Ok(()) | Err(Error::Compacted { .. }) => link.complaints.settle(SUBJECT),
            Err(error @ Error::Closed { .. }) => return Err(error),
            // What was seen stays true: another history is found out by its lower revision.
            Err(error) => {
                link.complaints.raise(SUBJECT, error.to_string());
            }
        }
    }
}

/// Which revision was the present one at which time, the oldest first.
#[derive(Debug, Default)]
struct Seen {
    notes: VecDeque<(Instant, Revision)>,
    compacted: Revision,
}

impl Seen {
    /// Notes the present revision; returns where to compact to, if there is anything old enough.
    ///
    /// That is what was present a retention ago, and never what is present now.
    fn note(&mut self, present: Revision, now: Instant, retention: Duration) -> Option<Revision> {
        if self.notes.back().is_some_and(|(_, last)| present < *last) {
            // Another history: nothing is known of its past.
            *self = Self::default();
        }
        self.notes.push_back((now, present));
        let mut old = None;
        while let Some((at, revision)) = self.notes.front().copied()
            && now.duration_since(at) >= retention
        {
            old = Some(revision);
            self.notes.pop_front();
        }
        let before = Revision::new(present.get().saturating_sub(1));
        let to = old?.min(before);
        (to > self.compacted).then_some(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn what_is_younger_than_the_retention_is_kept() {
        let (mut seen, start) = (Seen::default(), Instant::now());
        let at = |minutes: u64| start + Duration::from_secs(60 * minutes);
        assert_eq!(seen.note(Revision::new(10), at(0), HOUR), None);
        assert_eq!(seen.note(Revision::new(20), at(30), HOUR), None);
        assert_eq!(seen.note(Revision::new(30), at(59), HOUR), None);
        let hour_later = seen.note(Revision::new(40), at(60), HOUR);
        assert_eq!(hour_later, Some(Revision::new(10)));
        assert_eq!(seen.note(Revision::new(40), at(61), HOUR), None);
        let long_later = seen.note(Revision::new(50), at(600), HOUR);
        assert_eq!(long_later, Some(Revision::new(40)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_present_is_never_given_up_however_old_it_is() {
        let (mut seen, start) = (Seen::default(), Instant::now());
        let mut given_up = Vec::new();
        for hour in 0..5 {
            let to = seen.note(Revision::new(7), start + hour * HOUR, HOUR);
            seen.compacted = to.unwrap_or(seen.compacted);
            given_up.extend(to);
        }
        assert_eq!(given_up, [Revision::new(6)]);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_of_another_history_is_given_up_by_what_was_seen_in_the_old_one() {
        let (mut seen, start) = (Seen::default(), Instant::now());
        assert_eq!(seen.note(Revision::new(70), start, HOUR), None);
        let wiped = start + 30 * HOUR;
        assert_eq!(seen.note(Revision::new(5), wiped, HOUR), None);
        let later = seen.note(Revision::new(9), wiped + HOUR, HOUR);
        assert_eq!(later, Some(Revision::new(5)));
    }
}
