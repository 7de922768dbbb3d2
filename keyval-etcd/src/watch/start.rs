//! Where a watch starts, and whether everything from there on is still kept.

use keyval::{Consistency, Error, KeyRange, ListOptions, Result, Revision};

use crate::client::Client;
use crate::convert;
use crate::error::Call;

/// The present revision, read so that every later write has a higher one.
pub(crate) async fn present(client: &Client, range: &KeyRange) -> Result<Revision> {
    // Counting one key costs next to nothing, and needs no permission beyond the range's own.
    let options = ListOptions::default().count_only();
    let reply = client
        .call(Call::read("watch", range), |node| {
            let mut kv = node.kv.clone();
            let options = convert::get_options(None, &options);
            async move { kv.get(range.start().as_bytes(), Some(options)).await }
        })
        .await?;
    Ok(convert::header_revision(reply.0.header.as_ref()))
}

/// Refuses a start whose revision may have lost some of its changes.
///
/// etcd accepts a watch from the very revision to which it was compacted, and some versions then
/// leave out its deletes: <https://github.com/etcd-io/etcd/issues/19179>. If the revision before
/// can still be read, nothing of the start is gone.
pub(crate) async fn check_kept(client: &Client, range: &KeyRange, after: Revision) -> Result<()> {
    let call = Call::read("watch", range).at(Some(after.next()));
    let options = ListOptions::default()
        .with_consistency(Consistency::Serializable)
        .at(after)
        .count_only();
    let read = client
        .call(call, |node| {
            let mut kv = node.kv.clone();
            let options = convert::get_options(None, &options);
            async move { kv.get(range.start().as_bytes(), Some(options)).await }
        })
        .await;
    match read {
        Ok(_) | Err(Error::FutureRevision { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
