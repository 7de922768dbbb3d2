//! The methods that wrap a store: `store.prefixed("a/")`, `.timeout(..)`, `.retry(..)`.

use std::borrow::Cow;
use std::time::Duration;

use crate::follow::{Follow, FollowOptions, follow};
use crate::range::{KeyRange, Prefix};
use crate::store::Store;
use crate::wrap::{Observe, Prefixed, Retry, RetryPolicy, Timeout};

/// Wraps stores; every store has these methods, shared ones (`Arc<dyn Store>`) too.
///
/// Implemented for every [`Store`]; do not implement it yourself. For what is only a part of one,
/// such as a [`Broker`](crate::Broker) alone, the wrappers have constructors.
///
/// The order matters. From the outside in it is
/// `Observe(Retry(Timeout(Prefixed(store))))`, which reads in the order of the calls:
///
/// - **timeout before retry**, so that each attempt has a deadline of its own. The other way round
///   one slow attempt uses up the time of all, and a deadline that passes while the retry waits
///   makes "may have been applied" of what was certainly not.
/// - **observe last**, so that it measures what the caller lives through. Inside of the retry it
///   would count attempts; inside of the timeout it would take each deadline for a caller who went
///   away.
/// - **prefixed first**, so that spans can name the scope; or last, where many scopes share one
///   stack. It confines wherever it stands.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use keyval::{BrokerExt, Memory, RetryPolicy, StoreExt};
///
/// # tokio_test::block_on(async {
/// let store = Memory::new()
///     .prefixed("agents/1/")
///     .timeout(Duration::from_secs(3))
///     .retry(RetryPolicy::default())
///     .observe("memory");
/// store.put("name", "left").await?;
/// assert_eq!(
///     store.to_string(),
///     "Observe(Retry(5, Timeout(3s, Prefixed(agents/1/, memory))))"
/// );
/// # Ok::<_, keyval::Error>(()) }).unwrap();
/// ```
pub trait StoreExt: Store + Sized {
    /// A handle to this store that is limited to one prefix; the store itself stays usable.
    ///
    /// End the prefix with `/`, or use [`Prefix::segment`], so that `agents/1` does not cover
    /// `agents/10`. A store that cannot be cloned is wrapped by [`Prefixed::new`].
    fn prefixed(&self, scope: impl Into<Prefix>) -> Prefixed<Self>
    where
        Self: Clone,
    {
        Prefixed::new(self.clone(), scope)
    }

    /// This store, with a deadline for every operation.
    fn timeout(self, after: Duration) -> Timeout<Self> {
        Timeout::new(self, after)
    }

    /// This store, trying again what can safely be tried again.
    fn retry(self, policy: RetryPolicy) -> Retry<Self> {
        Retry::new(self, policy)
    }

    /// Follows a range for ever: a snapshot, then every change. See [`follow`] for options; the
    /// store itself stays usable.
    ///
    /// # Examples
    /// ```
    /// use futures::StreamExt;
    /// use keyval::{BrokerExt, KeyRange, Memory, StoreExt, Update};
    ///
    /// # tokio_test::block_on(async {
    /// let store = Memory::new();
    /// store.put("config/log", "debug").await?;
    /// let mut updates = store.follow(KeyRange::prefix("config/"));
    /// let Some(Ok(Update::Resync(snapshot))) = updates.next().await else {
    ///     panic!("the first update is a snapshot");
    /// };
    /// assert_eq!(snapshot.entries[0].key, "config/log");
    /// # Ok::<_, keyval::Error>(()) }).unwrap();
    /// ```
    fn follow(&self, range: impl Into<KeyRange>) -> Follow<Self>
    where
        Self: Clone,
    {
        follow(self.clone(), range.into(), FollowOptions::default())
    }

    /// This store, traced and measured under the name of its backend.
    fn observe(self, backend: impl Into<Cow<'static, str>>) -> Observe<Self> {
        Observe::new(self, backend)
    }
}

impl<S: Store> StoreExt for S {}
