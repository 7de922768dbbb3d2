//! Opens watches on etcd.

use std::sync::Arc;

use async_trait::async_trait;
use keyval::{ChangeStream, KeyRange, Result, WatchOptions, Watcher};

use crate::error::Call;
use crate::store::EtcdStore;
use crate::watch::demux::Opened;
use crate::watch::hub::{self, Class, Plan};
use crate::watch::start::{check_kept, present};

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Watcher for EtcdStore {
    async fn watch_opts(&self, range: &KeyRange, options: WatchOptions) -> Result<ChangeStream> {
        range.check()?;
        options.check()?;
        let client = &self.client;
        let (after, class) = match options.from {
            None => (present(client, range).await?, Class::Live),
            Some(from) => {
                let after = from.previous();
                let class = match self.watches.class(after) {
                    Some(class) => class,
                    None => hub::class(after, present(client, range).await?),
                };
                (after, class)
            }
        };
        let plan = Plan {
            range: Arc::new(range.clone()),
            after,
            previous: options.previous,
            progress: options.progress,
        };
        // A stream keeps the token with which it was opened, and the hub gives no more watches to
        // one whose token may have been refused: the next creation opens a new stream.
        let call = Call::read("watch", range).at(Some(after.next()));
        let (_, (reader, opened)) = client
            .call_node(call, |node| {
                let (watches, client) = (self.watches.clone(), client.clone());
                let (node, plan) = (node.clone(), plan.clone());
                async move { watches.open(client, node, class, plan).await }
            })
            .await?;
        if let Opened::Refused(cause) = opened {
            return Err(cause);
        }
        if options.from.is_some() {
            check_kept(client, range, after).await?;
        }
        Ok(ChangeStream::new(after, reader))
    }
}
