//! What comes to stand under a key with a lease.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, Stream, StreamExt};

use crate::entry::{Change, Entry, Update};
use crate::follow::{FollowOptions, follow};
use crate::key::Key;
use crate::lease_id::LeaseId;
use crate::range::KeyRange;
use crate::store::Store;

/// For how long after it was sent a request without an answer is looked out for.
///
/// It is a little more than TCP goes on sending to one who does not acknowledge, about a quarter of
/// an hour on Linux, and so than a link or a proxy can hold a request; etcd itself gives one up
/// after seconds. Only a machine that stood still with the request in its memory can carry it out
/// later still. Without this bound, a session that lives for long would look out for all that was
/// ever in doubt.
pub(super) const AT_LARGE: Duration = Duration::from_secs(20 * 60);

/// Every entry that stands under this key with this lease, now and from now on, also across outages.
///
/// It is for what a store may carry out late: a request whose answer was lost can lie on its way,
/// at a link or at a member of a cluster, and take place long after the same was asked for again
/// and done. A guard on a key that did not exist does not hold such a request off once the key is
/// gone again, and nothing else of ours in the store could: a key made for that purpose would stand
/// among the user's, and below a queue it would be taken for one who waits. The lease could; it is
/// the session's, and so the end of this. What remains is to look out for the key, for
/// [`AT_LARGE`], and to take away what nobody wants.
pub(super) fn standing(
    store: Arc<dyn Store>,
    key: &Key,
    lease: LeaseId,
) -> impl Stream<Item = Entry> + Send + use<> {
    let options = FollowOptions::default().with_name("late");
    follow(store, KeyRange::key(key), options)
        .flat_map(|update| stream::iter(update.map(entries).unwrap_or_default()))
        .filter(move |entry| std::future::ready(entry.lease == Some(lease)))
}

fn entries(update: Update) -> Vec<Entry> {
    match update {
        Update::Resync(snapshot) => snapshot.entries,
        Update::Changes(changes) => {
            let entries = changes.changes.into_iter();
            entries
                .filter_map(|change| match change {
                    Change::Put { entry, .. } => Some(entry),
                    Change::Delete { .. } => None,
                })
                .collect()
        }
    }
}
