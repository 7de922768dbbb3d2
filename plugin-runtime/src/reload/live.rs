//! A plugin's configuration as it is now.

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

/// The configuration of a plugin, now and after each reload; see
/// [`Context::live`](crate::Context::live).
///
/// Each value is a whole that passed its rules. Clones are told of changes each for themselves.
pub struct Live<T> {
    values: watch::Receiver<Arc<T>>,
}

impl<T> Live<T> {
    pub(crate) fn new(values: watch::Receiver<Arc<T>>) -> Self {
        Self { values }
    }

    /// The configuration in force.
    #[must_use]
    pub fn current(&self) -> Arc<T> {
        Arc::clone(&self.values.borrow())
    }

    /// Waits for a configuration that this handle has not told of yet, and returns it; the one at the start
    /// counts as told. Of several changes in between only the last is told. Once the host is gone it
    /// waits for ever.
    ///
    /// # Cancel safety
    /// Nothing is lost if the future is dropped.
    pub async fn changed(&mut self) -> Arc<T> {
        if self.values.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        Arc::clone(&self.values.borrow_and_update())
    }
}

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self::new(self.values.clone())
    }
}

impl<T: fmt::Debug> fmt::Debug for Live<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Live").field(&*self.values.borrow()).finish()
    }
}
