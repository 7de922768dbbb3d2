//! A store whose calls and watches are recorded.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, StreamExt};

use crate::broker::Broker;
use crate::capability::Capabilities;
use crate::connection::Connection;
use crate::entry::Entry;
use crate::error::Result;
use crate::key::Key;
use crate::lease::{LeaseGrant, LeaseStatus, Leases};
use crate::lease_id::LeaseId;
use crate::options::{DeleteOptions, GetOptions, ListOptions, PutOptions, WatchOptions};
use crate::range::KeyRange;
use crate::reply::{DeleteReply, Listing, PutReply, TxnReply};
use crate::revision::Revision;
use crate::store::{Maintenance, StoreStatus};
use crate::testing::history::call::{Answer, Listed, Moment, Reply, Request};
use crate::testing::history::recorder::{Recorder, UnderWay, failed};
use crate::txn::Txn;
use crate::watcher::{ChangeStream, Watcher};

/// A store whose reads, writes, revokes and watches are recorded; made by [`Recorder::client`].
///
/// It passes everything on unchanged. A future that is dropped is recorded as a call of unknown
/// outcome. Leases that are granted and renewed, and maintenance, pass unrecorded: they change
/// nothing that a history shows. Clones are the same client.
#[derive(Clone, Debug)]
pub struct Recorded<S> {
    recorder: Recorder,
    client: u64,
    inner: S,
}

impl Recorder {
    /// A store whose calls and watches are recorded as those of one more client.
    #[must_use]
    pub fn client<S>(&self, store: S) -> Recorded<S> {
        Recorded {
            recorder: self.clone(),
            client: self.new_client(),
            inner: store,
        }
    }
}

impl<S> Recorded<S> {
    /// The store below, which is not recorded.
    #[must_use]
    pub fn inner(&self) -> &S {
        &self.inner
    }

    fn begin(&self, request: Request) -> UnderWay {
        self.recorder.begin(self.client, request)
    }
}

impl<S: fmt::Display> fmt::Display for Recorded<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recorded({})", self.inner)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: Broker> Broker for Recorded<S> {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn get_opts(&self, key: &Key, options: GetOptions) -> Result<Option<Entry>> {
        let call = self.begin(Request::Get(key.clone(), options));
        call.end(self.inner.get_opts(key, options).await, Reply::Get)
    }

    async fn list_opts(&self, range: &KeyRange, options: ListOptions) -> Result<Listing> {
        let call = self.begin(Request::List(range.clone(), options));
        let listing = match self.inner.list_opts(range, options).await {
            Ok(listing) => listing,
            Err(error) => {
                let ended = call.moment();
                call.end_with(ended, failed(&error));
                return Err(error);
            }
        };
        Ok(record_entries(call, listing))
    }

    async fn put_opts(&self, key: &Key, value: Bytes, options: PutOptions) -> Result<PutReply> {
        let call = self.begin(Request::Put(key.clone(), value.clone(), options.clone()));
        call.end(self.inner.put_opts(key, value, options).await, Reply::Put)
    }

    async fn delete_opts(&self, range: &KeyRange, options: DeleteOptions) -> Result<DeleteReply> {
        let call = self.begin(Request::Delete(range.clone(), options));
        call.end(self.inner.delete_opts(range, options).await, Reply::Delete)
    }

    async fn commit(&self, txn: Txn) -> Result<TxnReply> {
        let call = self.begin(Request::Commit(txn.clone()));
        call.end(self.inner.commit(txn).await, Reply::Commit)
    }
}

/// The entries of a list as they are read; the call is recorded when the reading ends.
struct Reading {
    call: Option<UnderWay>,
    ended: Moment,
    listed: Listed,
}

impl Reading {
    fn end(&mut self, whole: bool) {
        self.listed.whole = whole;
        let listed = Listed {
            entries: std::mem::take(&mut self.listed.entries),
            ..self.listed
        };
        if let Some(call) = self.call.take() {
            call.end_with(self.ended, Answer::Done(Reply::List(listed)));
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.end(false);
    }
}

fn record_entries(call: UnderWay, listing: Listing) -> Listing {
    let (revision, count) = (listing.revision, listing.count);
    let reading = Reading {
        // The revision is settled now, however long the entries take.
        ended: call.moment(),
        call: Some(call),
        listed: Listed {
            revision,
            count,
            entries: Vec::new(),
            whole: false,
        },
    };
    let entries = stream::unfold(
        (listing.entries, reading),
        |(mut entries, mut reading)| async move {
            let Some(item) = entries.next().await else {
                reading.end(true);
                return None;
            };
            if let Ok(entry) = &item {
                reading.listed.entries.push(entry.clone());
            }
            Some((item, (entries, reading)))
        },
    );
    Listing {
        revision,
        count,
        entries: entries.boxed(),
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: Watcher> Watcher for Recorded<S> {
    async fn watch_opts(&self, range: &KeyRange, options: WatchOptions) -> Result<ChangeStream> {
        let watch = self.inner.watch_opts(range, options).await?;
        let open = self
            .recorder
            .watch(self.client, range, &options, watch.after());
        Ok(watch.map_items(move |item| {
            open.delivered(&item);
            item
        }))
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: Leases> Leases for Recorded<S> {
    async fn grant(&self, ttl: Duration) -> Result<LeaseGrant> {
        self.inner.grant(ttl).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Duration> {
        self.inner.keep_alive(lease).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<()> {
        let call = self.begin(Request::Revoke(lease));
        call.end(self.inner.revoke(lease).await, |()| Reply::Revoke)
    }

    async fn time_to_live(&self, lease: LeaseId) -> Result<LeaseStatus> {
        self.inner.time_to_live(lease).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: Maintenance> Maintenance for Recorded<S> {
    async fn status(&self) -> Result<StoreStatus> {
        self.inner.status().await
    }

    fn connection(&self) -> Option<Connection> {
        self.inner.connection()
    }

    async fn compact(&self, to: Revision) -> Result<()> {
        self.inner.compact(to).await
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}
