//! Opens watches on etcd.

use std::sync::Arc;

use async_trait::async_trait;
use keyval::{
    ChangeStream, Consistency, KeyRange, ListOptions, Result, Revision, WatchOptions, Watcher,
};

use crate::connection::Client;
use crate::convert;
use crate::error::Call;
use crate::store::EtcdStore;
use crate::watch::demux::Opened;
use crate::watch::hub::Plan;

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Watcher for EtcdStore {
    async fn watch_opts(&self, range: &KeyRange, options: WatchOptions) -> Result<ChangeStream> {
        range.check()?;
        options.check()?;
        let client = &self.client;
        client.until_connected(Call::read("watch", range)).await?;
        let newest = self.watches.newest();
        let after = options.from.map(Revision::previous);
        let present = match after {
            // The store is at least there, which is all that has to be known.
            Some(after) if after <= newest && !client.nodes()?.current().logs_in() => newest,
            // As far as one member knows, which it does without a leader too: where the store has gone
            // on, the answer to the creation says so. Of a login, some versions call it a denial if
            // a watch shows a token whose time is over; a read renews that before.
            Some(_) => present(client, range, Consistency::Serializable).await?,
            None => present(client, range, Consistency::Linearizable).await?,
        };
        let plan = Plan {
            range: Arc::new(range.clone()),
            after: after.unwrap_or(present),
            present,
            previous: options.previous,
            progress: options.progress,
        };
        let after = plan.after;
        let call = Call::read("watch", range).at(Some(after.next()));
        let (_, (reader, opened)) = client
            .call_node(call, |node| {
                let (watches, client) = (self.watches.clone(), client.clone());
                let (node, plan) = (node.clone(), plan.clone());
                async move { watches.open(client, node, plan).await }
            })
            .await?;
        match opened {
            Opened::Accepted => Ok(ChangeStream::new(after, reader)),
            Opened::Refused(cause) => Err(cause),
        }
    }
}

/// The present revision; by a linearizable read, every later write has a higher one.
async fn present(client: &Client, range: &KeyRange, consistency: Consistency) -> Result<Revision> {
    // Counting one key costs next to nothing, and needs no permission beyond the range's own.
    let options = ListOptions::default()
        .count_only()
        .with_consistency(consistency);
    let reply = client
        .call(Call::read("watch", range), |node| {
            let mut kv = node.kv.clone();
            let options = convert::get_options(None, &options);
            async move { kv.get(range.start().as_bytes(), Some(options)).await }
        })
        .await?;
    Ok(convert::header_revision(reply.0.header.as_ref()))
}
