//! Watching on etcd: a stream for each watch, read by a task that waits for slow readers.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use etcd_client::proto::PbWatchResponse;
use etcd_client::{
    WatchOptions as EtcdWatch, WatchRequestSender, WatchResponse, WatchResponseStream, WatchStream,
};
use futures::FutureExt;
use futures::stream::{self, Stream};
use keyval::{
    ChangeStream, Changes, Consistency, Entry, Error, KeyRange, ListOptions, Outcome, Result,
    Revision, WatchOptions, Watcher,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::assemble::Assembler;
use crate::connection::{Client, Node};
use crate::convert;
use crate::error::{self, Call};
use crate::progress::requested_progress_is_exact;
use crate::store::EtcdStore;

/// How many revisions wait for a reader; behind them the transport holds the stream up, and etcd
/// keeps the rest in its history.
const QUEUE: usize = 1024;
/// How many bytes of keys and values wait for a reader, one revision more or less.
const QUEUE_BYTES: usize = 4 << 20;

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Watcher for EtcdStore {
    async fn watch_opts(&self, range: &KeyRange, options: WatchOptions) -> Result<ChangeStream> {
        range.check()?;
        options.check()?;
        let client = &self.client;
        let from = match options.from {
            Some(from) => from,
            None => present(client, range).await?.next(),
        };
        let after = from.previous();
        let call = Call::read("watch", range).at(Some(from));
        let (node, opened) = client
            .call_node(call, |node| {
                let mut watch = node.watch.clone();
                let wire = convert::wire_range(range);
                let create = create_request(wire.end, from, &options);
                async move {
                    let mut stream = watch.watch(wire.key, Some(create)).await?;
                    // Nothing comes before the answer to the creation.
                    let first = stream.message().await?;
                    Ok((stream, first))
                }
            })
            .await?;
        let (stream, first) = opened;
        let Some(first) = first else {
            return Err(ended(&call, &node.endpoint, after));
        };
        if first.0.canceled {
            return Err(refused(&call, &node.endpoint, &first.0));
        }
        if !first.0.created {
            return Err(convert::malformed(
                "something else to the creation of a watch",
            ));
        }
        if options.from.is_some() {
            check_kept(client, range, after).await?;
        }
        let exact = options.progress.is_some()
            && version(client, &node)
                .await
                .is_ok_and(|version| requested_progress_is_exact(&version));
        let feed = Feed {
            client: client.clone(),
            range: range.clone(),
            node,
            assembler: Assembler::new(after, exact),
            progress: options.progress,
        };
        Ok(ChangeStream::new(after, feed.start(stream)))
    }
}

/// The present revision, read so that every later write has a higher one.
async fn present(client: &Client, range: &KeyRange) -> Result<Revision> {
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
async fn check_kept(client: &Client, range: &KeyRange, after: Revision) -> Result<()> {
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

async fn version(client: &Client, node: &Arc<Node>) -> Result<String> {
    let call = Call::read("watch", &node.endpoint);
    let reply = client
        .call_at(node, call, |node| {
            let mut maintenance = node.maintenance.clone();
            async move { maintenance.status().await }
        })
        .await?;
    Ok(reply.0.version)
}

fn create_request(end: Option<Vec<u8>>, from: Revision, options: &WatchOptions) -> EtcdWatch {
    let mut create = EtcdWatch::new()
        .with_start_revision(convert::wire_revision(from))
        .with_progress_notify()
        .with_fragment();
    if let Some(end) = end {
        create = create.with_range(end);
    }
    if options.previous {
        create = create.with_prev_key();
    }
    create
}

/// One watch under way.
struct Feed {
    client: Arc<Client>,
    range: KeyRange,
    node: Arc<Node>,
    assembler: Assembler,
    progress: Option<Duration>,
}

/// A revision on its way to the reader, with its share of what may wait.
type Waiting = (Changes, OwnedSemaphorePermit);

impl Feed {
    /// Starts the task that reads the stream; it ends when its reader goes or the store closes.
    fn start(mut self, stream: WatchStream) -> impl Stream<Item = Result<Changes>> + Send {
        let (queue, waiting) = mpsc::channel(QUEUE);
        // Beside the queue, so that a full queue does not keep the cause from its reader.
        let (cause, ended) = oneshot::channel();
        let tasks = self.client.tasks().clone();
        tasks.spawn(async move {
            let (requests, responses) = stream.split();
            if let Some(error) = self.read(requests, responses, &queue).await {
                // A reader that has gone needs no cause.
                drop(cause.send(error));
            }
        });
        stream::unfold((waiting, Some(ended)), next)
    }

    /// Passes on revisions until the watch ends; returns why, unless its reader went.
    async fn read(
        &mut self,
        mut requests: WatchRequestSender,
        mut responses: WatchResponseStream,
        queue: &mpsc::Sender<Waiting>,
    ) -> Option<Error> {
        let client = self.client.clone();
        let share = Arc::new(Semaphore::new(QUEUE_BYTES));
        let mut heard = Instant::now();
        loop {
            let ask_at = self.progress.and_then(|every| heard.checked_add(every));
            let received = tokio::select! {
                biased;
                () = client.closing().cancelled() => return Some(client.closed()),
                () = queue.closed() => return None,
                received = responses.message() => received,
                () = sleep_until(ask_at.unwrap_or(heard)), if ask_at.is_some() => {
                    // If the requests do not even leave, keepalive will end the stream.
                    drop(requests.request_progress().now_or_never());
                    heard = Instant::now();
                    continue;
                }
            };
            let whole = match self.take(received) {
                Ok(whole) => whole,
                Err(error) => return Some(error),
            };
            for changes in whole {
                let bytes = u32::try_from(size(&changes).min(QUEUE_BYTES)).unwrap_or(u32::MAX);
                let passed = async {
                    let permit = share.clone().acquire_many_owned(bytes).await.ok()?;
                    queue.send((changes, permit)).await.ok()
                };
                tokio::select! {
                    biased;
                    () = client.closing().cancelled() => return Some(client.closed()),
                    () = queue.closed() => return None,
                    passed = passed => passed?,
                }
            }
            heard = Instant::now();
        }
    }

    fn take(
        &mut self,
        received: Result<Option<WatchResponse>, etcd_client::Error>,
    ) -> Result<Vec<Changes>> {
        let delivered = self.assembler.delivered();
        let call = Call::read("watch", &self.range).at(Some(delivered.next()));
        match received {
            Ok(Some(response)) if response.0.canceled => {
                Err(refused(&call, &self.node.endpoint, &response.0))
            }
            Ok(Some(response)) => self.assembler.accept(response.0),
            Ok(None) => Err(ended(&call, &self.node.endpoint, delivered)),
            Err(failure) => {
                self.client.report(&self.node, &error::words(&failure));
                let error = error::of_call(&call, &self.node.endpoint, failure);
                Err(broken(error, delivered))
            }
        }
    }
}

async fn next(
    (mut waiting, ended): (mpsc::Receiver<Waiting>, Option<oneshot::Receiver<Error>>),
) -> Option<(
    Result<Changes>,
    (mpsc::Receiver<Waiting>, Option<oneshot::Receiver<Error>>),
)> {
    if let Some((changes, _share)) = waiting.recv().await {
        return Some((Ok(changes), (waiting, ended)));
    }
    let error = ended?.await.unwrap_or_else(|_| {
        Error::unavailable("the task of the watch was ended", Outcome::NotApplied)
    });
    Some((Err(error), (waiting, None)))
}

/// The bytes of all keys and values.
fn size(changes: &Changes) -> usize {
    let entry = |entry: &Entry| entry.key.len() + entry.value.len();
    changes
        .changes
        .iter()
        .map(|change| {
            let now = change.entry().map_or(change.key().len(), entry);
            now + change.prev().map_or(0, entry)
        })
        .sum()
}

/// Why etcd refused or ended a watch.
fn refused(call: &Call<'_>, endpoint: &str, response: &PbWatchResponse) -> Error {
    if response.compact_revision > 0 {
        return Error::Compacted {
            requested: call.revision.unwrap_or_default(),
            oldest: Some(convert::revision(response.compact_revision)),
        };
    }
    if response.cancel_reason.is_empty() {
        return Error::unavailable(
            format!("{call}: {endpoint} ended it without a reason"),
            Outcome::NotApplied,
        );
    }
    error::of_reason(call, endpoint, &response.cancel_reason)
}

/// The error of a stream that is simply over.
fn ended(call: &Call<'_>, endpoint: &str, delivered: Revision) -> Error {
    Error::unavailable(
        format!("{call}: {endpoint} ended the stream; delivered up to revision {delivered}"),
        Outcome::NotApplied,
    )
}

/// The error of a stream that broke: whatever broke it, a new watch may go on where it ended.
fn broken(error: Error, delivered: Revision) -> Error {
    match error {
        Error::Unavailable {
            message, source, ..
        }
        | Error::Backend {
            message, source, ..
        } => Error::Unavailable {
            message: format!("{message}; delivered up to revision {delivered}"),
            outcome: Outcome::NotApplied,
            source,
        },
        other => other,
    }
}
