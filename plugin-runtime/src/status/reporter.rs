//! What a plugin says how it is with.

use std::sync::Arc;

use super::agent::State;
use super::board::Board;

/// Reports the state of one plugin.
///
/// Reporting waits for nobody. What is reported after the plugin was closed is ignored. When a
/// report is shown is up to the host's [`Hysteresis`](crate::Hysteresis).
#[derive(Clone, Debug)]
pub struct Reporter {
    board: Board,
    index: usize,
}

impl Reporter {
    pub(crate) fn new(board: Board, index: usize) -> Self {
        Self { board, index }
    }

    /// The plugin works.
    pub fn ok(&self) {
        self.board.report(self.index, State::Ok, None);
    }

    /// The plugin works; the text tells what with.
    pub fn ok_with(&self, what: impl Into<Arc<str>>) {
        self.board.report(self.index, State::Ok, Some(what.into()));
    }

    /// The plugin works, but not as well as it should.
    pub fn degraded(&self, cause: impl Into<Arc<str>>) {
        let cause = Some(cause.into());
        self.board.report(self.index, State::Degraded, cause);
    }

    /// The plugin is not up yet, although its `init` and `after_init` have done their part; the text
    /// tells what it waits for. The agent is not ready before it has told something else, unless it is
    /// [optional](crate::Criticality::Optional).
    pub fn starting(&self, cause: impl Into<Arc<str>>) {
        let cause = Some(cause.into());
        self.board.report(self.index, State::Init, cause);
    }

    /// The plugin does not work.
    pub fn error(&self, cause: impl Into<Arc<str>>) {
        let cause = Some(cause.into());
        self.board.report(self.index, State::Error, cause);
    }

    /// The plugin is switched off on purpose.
    pub fn disabled(&self, cause: impl Into<Arc<str>>) {
        let cause = Some(cause.into());
        self.board.report(self.index, State::Disabled, cause);
    }

    /// Where the plugin reports to.
    #[cfg(feature = "probe")]
    pub(crate) fn board(&self) -> &Board {
        &self.board
    }

    /// Whether a new configuration of the plugin was refused: then it is no better than degraded.
    pub(crate) fn refused(&self, cause: Option<Arc<str>>) {
        self.board.refused(self.index, cause);
    }

    /// The plugin works, unless it has said itself how it is.
    pub(crate) fn ok_unless_told(&self) {
        self.board.ok_unless_told(self.index);
    }

    /// The plugin has failed for good: it does not work, whatever its tasks say.
    pub(crate) fn failed(&self, cause: String) {
        self.board.fail(self.index, cause.into());
    }

    /// The plugin was closed: its last word.
    pub(crate) fn stopped(&self, cause: Option<Arc<str>>) {
        self.board.last_word(self.index, State::Stopped, cause);
    }

    /// The plugin was never started, and will not be: its last word.
    pub(crate) fn never_started(&self) {
        let cause = Some("it was not started".into());
        self.board.last_word(self.index, State::Init, cause);
    }
}
