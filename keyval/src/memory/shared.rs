//! What the handles, streams and the reaper of one store share: the state behind its lock.

use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use crate::error::{Error, Result};
use crate::memory::options::MemoryOptions;
use crate::memory::reaper::Reaper;
use crate::memory::signs::Signs;
use crate::memory::state::{After, State};
use crate::revision::Revision;

/// One store, shared by all its handles and streams.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: MemoryOptions,
    state: RwLock<State>,
    /// The tasks that end leases at their deadline, one on each runtime in use.
    pub(crate) reapers: Mutex<Vec<Reaper>>,
    /// Tells the reapers that a lease was granted.
    pub(crate) granted: Arc<Notify>,
    signs: Arc<Signs>,
}

impl Shared {
    pub(crate) fn new(options: MemoryOptions) -> Self {
        let signs = Arc::new(Signs::default());
        Self {
            options,
            state: RwLock::new(State::new(options, signs.clone())),
            reapers: Mutex::default(),
            granted: Arc::new(Notify::new()),
            signs,
        }
    }

    /// Refuses to go on if the store is closed.
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.signs.is_closed() {
            return Err(closed());
        }
        Ok(())
    }

    /// Refuses a revision that is compacted. A slot is only pruned after this says so.
    pub(crate) fn check_kept(&self, revision: Revision) -> Result<()> {
        let compacted = self.signs.compacted();
        if revision <= compacted {
            return Err(Error::Compacted {
                requested: revision,
                oldest: Some(compacted),
            });
        }
        Ok(())
    }

    /// Whether there was any lease after the last write.
    pub(crate) fn has_leases(&self) -> bool {
        self.signs.has_leases()
    }

    /// Reads the state, after what is due has been done.
    pub(crate) fn read<T>(&self, f: impl FnOnce(&State) -> Result<T>) -> Result<T> {
        loop {
            let state = self.state.read();
            if state.closed {
                return Err(closed());
            }
            if !state.leases.is_due() {
                return f(&state);
            }
            drop(state);
            self.write(|_, _| Ok(()))?;
        }
    }

    /// Changes the state, after what is due has been done.
    pub(crate) fn write<T>(
        &self,
        f: impl FnOnce(&mut State, &mut After) -> Result<T>,
    ) -> Result<T> {
        let mut after = After::default();
        let result = {
            let mut state = self.state.write();
            if state.closed {
                Err(closed())
            } else {
                if state.leases.is_due() {
                    state.end_due_leases(&mut after);
                }
                let result = f(&mut state, &mut after);
                self.signs.set_leases(!state.leases.is_empty());
                result
            }
        };
        after.run();
        result
    }

    /// Gives up everything and wakes all watchers; returns whether the store was open.
    pub(crate) fn close(&self) -> bool {
        let mut after = After::default();
        let (was_open, left) = {
            let mut state = self.state.write();
            let was_open = !state.closed;
            self.signs.close();
            state.interests.wake_all(&mut after.wakers);
            // The watchers' seats stay, as each watcher leaves by itself.
            let interests = std::mem::take(&mut state.interests);
            let mut empty = State::new(self.options, self.signs.clone());
            empty.closed = true;
            empty.interests = interests;
            (was_open, std::mem::replace(&mut *state, empty))
        };
        after.run();
        drop(left);
        was_open
    }

    /// Runs on the state even if the store is closed; for watchers that leave.
    pub(crate) fn leave<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.write())
    }
}

/// The error of every operation on a closed store.
pub(crate) fn closed() -> Error {
    Error::Closed {
        store: "memory".to_owned(),
    }
}
