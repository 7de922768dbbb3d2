//! Watches: one task for each stream, with all its watchers.

use std::collections::HashMap;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_trait::async_trait;
use etcd_client::proto::{PbWatchRequest, PbWatchRequestUnion, PbWatchResponse, PbWatchService};
use futures::future::poll_fn;
use futures::stream::{BoxStream, Stream, StreamExt};
use keyval::{ChangeStream, Changes, Error, KeyRange, Result as StoreResult, Revision};
use keyval::{WatchOptions, Watcher};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};

use crate::fake::server::FakeEtcd;
use crate::fake::wire;

/// As many answers as etcd keeps for one stream.
const ANSWERS: usize = 128;

#[async_trait]
impl PbWatchService for FakeEtcd {
    type WatchStream = BoxStream<'static, Result<PbWatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<Streaming<PbWatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (answers, received) = mpsc::channel(ANSWERS);
        let watching = Watching {
            server: self.clone(),
            watchers: HashMap::new(),
            next: 0,
            answers,
        };
        tokio::spawn(watching.run(request.into_inner()));
        let answers = futures::stream::unfold(received, |mut received| async move {
            Some((received.recv().await?, received))
        });
        Ok(Response::new(answers.boxed()))
    }
}

/// One stream of a client.
struct Watching {
    server: FakeEtcd,
    watchers: HashMap<i64, ChangeStream>,
    /// The next number for a watcher whose client chose none.
    next: i64,
    answers: mpsc::Sender<Result<PbWatchResponse, Status>>,
}

/// What comes next on a stream.
enum Next {
    Asked(Option<Result<PbWatchRequest, Status>>),
    Happened(i64, Option<StoreResult<Changes>>),
}

impl Watching {
    async fn run(mut self, mut requests: Streaming<PbWatchRequest>) {
        // Ends with the client, in whose absence nothing can be sent.
        while let Some(()) = self.step(&mut requests).await {}
    }

    async fn step(&mut self, requests: &mut Streaming<PbWatchRequest>) -> Option<()> {
        let next = poll_fn(|cx| self.poll(requests, cx)).await;
        match next {
            Next::Asked(request) => self.asked(request?.ok()?).await,
            Next::Happened(id, changes) => self.happened(id, changes).await,
        }
    }

    /// Changes first, so that an answer to a request for progress stands behind them.
    fn poll(
        &mut self,
        requests: &mut Streaming<PbWatchRequest>,
        cx: &mut Context<'_>,
    ) -> Poll<Next> {
        for (id, changes) in &mut self.watchers {
            if let Poll::Ready(next) = Pin::new(changes).poll_next(cx) {
                return Poll::Ready(Next::Happened(*id, next));
            }
        }
        Pin::new(requests).poll_next(cx).map(Next::Asked)
    }

    async fn asked(&mut self, request: PbWatchRequest) -> Option<()> {
        match request.request_union? {
            PbWatchRequestUnion::CreateRequest(create) => {
                let id = if create.watch_id == 0 {
                    self.next += 1;
                    self.next
                } else {
                    create.watch_id
                };
                if self.watchers.contains_key(&id) {
                    return self
                        .refuse("mvcc: duplicate watch ID provided on the WatchStream")
                        .await;
                }
                let mut options = WatchOptions::default();
                if create.start_revision > 0 {
                    let from = Revision::new(wire::count(create.start_revision));
                    options = options.starting_at(from);
                }
                if create.prev_kv {
                    options = options.with_previous();
                }
                let range = wire::range(create.key, create.range_end);
                self.create(id, range, options).await
            }
            PbWatchRequestUnion::CancelRequest(cancel) => {
                if self.watchers.remove(&cancel.watch_id).is_some() {
                    let answer = PbWatchResponse {
                        watch_id: cancel.watch_id,
                        canceled: true,
                        ..self.answer().await?
                    };
                    self.send(answer).await?;
                }
                Some(())
            }
            PbWatchRequestUnion::ProgressRequest(_) => {
                let answer = PbWatchResponse {
                    watch_id: -1,
                    ..self.answer().await?
                };
                // What happened up to then comes before it.
                self.flush().await?;
                self.send(answer).await
            }
        }
    }

    /// Sends all that has happened.
    async fn flush(&mut self) -> Option<()> {
        while let Some((id, next)) = poll_fn(|cx| Poll::Ready(self.ready(cx))).await {
            self.happened(id, next).await?;
        }
        Some(())
    }

    fn ready(&mut self, cx: &mut Context<'_>) -> Option<(i64, Option<StoreResult<Changes>>)> {
        for (id, changes) in &mut self.watchers {
            if let Poll::Ready(next) = Pin::new(changes).poll_next(cx) {
                return Some((*id, next));
            }
        }
        None
    }

    async fn create(&mut self, id: i64, range: KeyRange, options: WatchOptions) -> Option<()> {
        let created = PbWatchResponse {
            watch_id: id,
            created: true,
            ..self.answer().await?
        };
        let store = &self.server.store;
        let mut watch = store.watch_opts(&range, options).await;
        if let Err(Error::Compacted { oldest, .. }) = watch
            && options.from == oldest
        {
            // etcd takes this one too, though it may lack what that revision deleted.
            let later = oldest.unwrap_or_default().next();
            watch = store.watch_opts(&range, options.starting_at(later)).await;
        }
        match watch {
            Ok(changes) => {
                self.watchers.insert(id, changes);
                if self.server.announces_late {
                    self.flush().await?;
                }
                self.send(created).await
            }
            // etcd accepts such a watch, and then ends it.
            Err(error @ Error::Compacted { .. }) => {
                self.send(created).await?;
                self.happened(id, Some(Err(error))).await
            }
            Err(error) => self.refuse(wire::status(error).message()).await,
        }
    }

    async fn refuse(&mut self, reason: &str) -> Option<()> {
        let answer = PbWatchResponse {
            watch_id: -1,
            created: true,
            canceled: true,
            cancel_reason: reason.to_owned(),
            ..self.answer().await?
        };
        self.send(answer).await
    }

    async fn happened(&mut self, id: i64, next: Option<StoreResult<Changes>>) -> Option<()> {
        let answer = self.answer().await?;
        let answer = match next {
            Some(Ok(changes)) => PbWatchResponse {
                header: Some(wire::header(changes.revision)),
                watch_id: id,
                events: changes
                    .changes
                    .iter()
                    .map(|change| wire::event(change, changes.revision))
                    .collect(),
                ..answer
            },
            Some(Err(Error::Compacted { oldest, .. })) => {
                self.watchers.remove(&id);
                PbWatchResponse {
                    watch_id: id,
                    canceled: true,
                    compact_revision: wire::wire(oldest.unwrap_or_default().get().max(1)),
                    ..answer
                }
            }
            Some(Err(_)) | None => {
                self.watchers.remove(&id);
                PbWatchResponse {
                    watch_id: id,
                    canceled: true,
                    ..answer
                }
            }
        };
        self.send(answer).await
    }

    async fn answer(&mut self) -> Option<PbWatchResponse> {
        Some(PbWatchResponse {
            header: Some(self.server.header().await.ok()?),
            ..PbWatchResponse::default()
        })
    }

    async fn send(&mut self, answer: PbWatchResponse) -> Option<()> {
        self.answers.send(Ok(answer)).await.ok()
    }
}
