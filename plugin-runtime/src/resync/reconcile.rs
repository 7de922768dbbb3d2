//! What a participant does with what it is told.

use std::future::Future;

use bytes::Bytes;
use keyval::{BoxError, Update};

/// Brings something into line with a range of a store.
///
/// First it gets a snapshot, [`Update::Resync`]: this is all there is, and what is not in it is
/// gone. Then it gets what each later revision did, [`Update::Changes`], in order, each once and
/// never without content; nothing that is older than the snapshot. In any later round, and after
/// each failure of its own, it begins with a snapshot again.
///
/// Closures that return futures are reconcilers too.
///
/// # Examples
/// ```
/// use std::collections::BTreeSet;
/// use keyval::{BoxError, Bytes, Change, Key, Update};
/// use plugin_runtime::Reconcile;
///
/// /// Knows the keys there are.
/// #[derive(Default)]
/// struct Known(BTreeSet<Key>);
///
/// impl Reconcile<Bytes> for Known {
///     async fn reconcile(&mut self, update: Update<Bytes>) -> Result<(), BoxError> {
///         match update {
///             Update::Resync(snapshot) => {
///                 self.0 = snapshot.entries.into_iter().map(|entry| entry.key).collect();
///             }
///             Update::Changes(changes) => {
///                 for change in changes.changes {
///                     match change {
///                         Change::Put { entry, .. } => self.0.insert(entry.key),
///                         Change::Delete { key, .. } => self.0.remove(&key),
///                     };
///                 }
///             }
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait Reconcile<V = Bytes>: Send + 'static {
    /// Takes the next update.
    ///
    /// # Errors
    /// Whatever stands in the way: it is reported, and after a while the participant gets a fresh
    /// snapshot.
    ///
    /// # Cancel safety
    /// The future is dropped when the deadline has passed, which is the same for a snapshot and for
    /// changes; a fresh snapshot follows. So what is half done must not stand in the way of doing
    /// all of it.
    fn reconcile(&mut self, update: Update<V>)
    -> impl Future<Output = Result<(), BoxError>> + Send;
}

impl<V, F, W> Reconcile<V> for F
where
    F: FnMut(Update<V>) -> W + Send + 'static,
    W: Future<Output = Result<(), BoxError>> + Send,
    V: Send,
{
    async fn reconcile(&mut self, update: Update<V>) -> Result<(), BoxError> {
        self(update).await
    }
}
