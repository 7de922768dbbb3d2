//! What readers of a status hold.

use std::sync::Arc;

use tokio::sync::watch;

use super::agent::AgentStatus;

/// Reads the status of the plugins of a host, at any time, also before and after it runs.
///
/// Readers wait for nobody: a plugin that hangs, or a store that does not answer, changes what is
/// read, not when.
#[derive(Clone, Debug)]
pub struct StatusHandle {
    status: watch::Receiver<Arc<AgentStatus>>,
}

impl StatusHandle {
    pub(crate) fn new(status: watch::Receiver<Arc<AgentStatus>>) -> Self {
        Self { status }
    }

    /// The status as it is now.
    #[must_use]
    pub fn current(&self) -> Arc<AgentStatus> {
        Arc::clone(&self.status.borrow())
    }

    /// Waits until the status fulfils a condition, which may be now, and returns it. Waits for
    /// ever if it never does, even when the host is gone.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn wait_for(
        &self,
        mut condition: impl FnMut(&AgentStatus) -> bool,
    ) -> Arc<AgentStatus> {
        let mut status = self.status.clone();
        loop {
            // Asked without the lock, which whoever reports needs.
            let present = Arc::clone(&status.borrow_and_update());
            if condition(&present) {
                return present;
            }
            if status.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Waits until the status is another than that one, and returns it. Several changes since then
    /// are one. Waits for ever if there is none, even when the host is gone.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn changed_from(&self, known: &Arc<AgentStatus>) -> Arc<AgentStatus> {
        let is_other = |status: &AgentStatus| !std::ptr::eq(status, Arc::as_ptr(known));
        self.wait_for(is_other).await
    }
}
