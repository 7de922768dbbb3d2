//! The task of one stream of watches: it reads always and waits for no reader.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use etcd_client::{
    WatchOptions as EtcdWatch, WatchRequestSender, WatchResponse, WatchResponseStream,
};
use keyval::KeyRange;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep_until};

use crate::connection::{Client, Node, StubResult};
use crate::convert;
use crate::error::{self, Call};
use crate::watch::demux::{Answer, Demux, Request, Token, Wanted};
use crate::watch::progress::requested_progress_is_exact;

/// How long a stream without watches stays open for the next.
const LINGER: Duration = Duration::from_secs(2);
/// A range that is empty to every server: its end is its beginning.
const NOTHING: [u8; 1] = [1];

/// What a stream is asked to do. Each watch asks for one thing at a time, so that no more wait than
/// there are watches.
#[derive(Debug)]
pub(crate) enum Command {
    /// To create a watch.
    Create {
        /// Its name.
        token: Token,
        /// What it is to be.
        wanted: Wanted,
        /// Where its reader waits.
        answer: Answer,
    },
    /// To go on with a watch whose reader has caught up.
    Resume(Token),
    /// To end a watch whose reader has gone.
    Leave(Token),
}

/// One stream of watches at one endpoint.
pub(crate) struct Stream {
    client: Arc<Client>,
    node: Arc<Node>,
    demux: Demux,
    commands: UnboundedReceiver<Command>,
    /// The highest revision that any stream of the store heard of.
    newest: Arc<AtomicU64>,
}

impl Stream {
    /// A stream that opens with its first command.
    pub(crate) fn new(
        client: Arc<Client>,
        node: Arc<Node>,
        commands: UnboundedReceiver<Command>,
        newest: Arc<AtomicU64>,
    ) -> Self {
        let demux = Demux::new(node.endpoint.clone(), Instant::now());
        Self {
            client,
            node,
            demux,
            commands,
            newest,
        }
    }

    /// Serves watches until there are none, the stream breaks, or the store closes.
    ///
    /// What is asked of it at the last moment is left without an answer: it was not begun.
    pub(crate) async fn run(mut self) {
        let client = self.client.clone();
        let serving = Box::pin(self.serve());
        match client.closing().run_until_cancelled(serving).await {
            Some(Ok(())) => {}
            Some(Err(failure)) => {
                if error::is_lost(&failure) {
                    client.report(&self.node, &error::words(&failure));
                }
                self.demux.break_up(&failure);
            }
            None => self.demux.close(|| client.closed()),
        }
    }

    async fn serve(&mut self) -> StubResult<()> {
        let Some((mut requests, mut responses)) = self.open().await? else {
            return Ok(());
        };
        let (client, node) = (self.client.clone(), self.node.clone());
        let mut trusted = pin!(answers_in_order(&client, &node));
        let mut asking = true;
        let mut timer = pin!(sleep_until(self.demux.due()));
        let mut unused = None;
        loop {
            let due = if self.demux.is_empty() {
                *unused.get_or_insert_with(|| Instant::now() + LINGER)
            } else {
                unused = None;
                self.demux.due()
            };
            // One that rings too early does no harm, and most are put off before they ring.
            if due < timer.deadline() || timer.is_elapsed() {
                timer.as_mut().reset(due);
            }
            let request = self.demux.requests().front();
            tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    Some(command) => self.obey(command),
                    // Neither a reader nor the store is left.
                    None => return Ok(()),
                },
                sent = send(&mut requests, request), if request.is_some() => {
                    sent?;
                    self.demux.requests().pop_front();
                }
                received = responses.message() => self.hear(received?).await?,
                exact = &mut trusted, if asking => {
                    asking = false;
                    if exact {
                        self.demux.trust_requested_progress();
                    }
                }
                () = &mut timer => {
                    let now = Instant::now();
                    if unused.is_some_and(|until| now >= until) {
                        return Ok(());
                    }
                    if !self.demux.pass_time(now) {
                        return Err(failure("it has stopped answering on the stream"));
                    }
                }
            }
        }
    }

    /// Opens the stream, which etcd answers when it has answered the first creation; `None` if
    /// nobody waits for that any more.
    async fn open(&mut self) -> StubResult<Option<(WatchRequestSender, WatchResponseStream)>> {
        while self.demux.requests().is_empty() {
            match self.commands.recv().await {
                Some(command) => self.obey(command),
                None => return Ok(None),
            }
        }
        let Some(Request::Create {
            id,
            range,
            from,
            previous,
        }) = self.demux.requests().pop_front()
        else {
            return Ok(None);
        };
        let (key, create) = creation(id, &range, convert::wire_revision(from), previous);
        let mut watch = self.node.watch.clone();
        let mut opening = pin!(watch.watch(key, Some(create)));
        loop {
            tokio::select! {
                biased;
                opened = &mut opening => return Ok(Some(opened?.split())),
                command = self.commands.recv() => match command {
                    Some(command) => self.obey(command),
                    None => return Ok(None),
                },
            }
            if self.demux.is_empty() {
                return Ok(None);
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Create {
                token,
                wanted,
                answer,
            } => self.demux.create(token, wanted, answer, Instant::now()),
            Command::Resume(token) => self.demux.resume(token),
            Command::Leave(token) => self.demux.leave(token),
        }
    }

    async fn hear(&mut self, response: Option<WatchResponse>) -> StubResult<()> {
        let response = response.ok_or_else(|| failure("it ended the stream"))?.0;
        let reached = convert::header_revision(response.header.as_ref());
        self.newest.fetch_max(reached.get(), Ordering::Relaxed);
        if self.demux.hear(response, Instant::now())? {
            // A reader that is awake gets the chance to make room before more comes.
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

fn failure(what: &str) -> etcd_client::Error {
    etcd_client::Error::WatchError(what.to_owned())
}

/// Whether the server's version keeps requested progress among the changes. One that does not say
/// its version is not trusted.
async fn answers_in_order(client: &Client, node: &Arc<Node>) -> bool {
    let status = client
        .call_at(node, Call::read("watch", &node.endpoint), |node| {
            let mut maintenance = node.maintenance.clone();
            async move { maintenance.status().await }
        })
        .await;
    status.is_ok_and(|status| requested_progress_is_exact(&status.0.version))
}

/// Sends a request. If it is dropped before its end, nothing was sent.
async fn send(requests: &mut WatchRequestSender, request: Option<&Request>) -> StubResult<()> {
    match request {
        None => Ok(()),
        Some(Request::Create {
            id,
            range,
            from,
            previous,
        }) => {
            let (key, create) = creation(*id, range, convert::wire_revision(*from), *previous);
            requests.watch(key, Some(create)).await
        }
        Some(Request::Cancel(id)) => requests.cancel(*id).await,
        Some(Request::Progress) => requests.request_progress().await,
        Some(Request::Probe(id)) => {
            let create = EtcdWatch::new().with_watch_id(*id).with_range(NOTHING);
            requests.watch(NOTHING, Some(create)).await
        }
    }
}

fn creation(id: i64, range: &KeyRange, from: i64, previous: bool) -> (Vec<u8>, EtcdWatch) {
    let wire = convert::wire_range(range);
    let mut create = EtcdWatch::new()
        .with_watch_id(id)
        .with_start_revision(from)
        .with_progress_notify()
        .with_fragment();
    if let Some(end) = wire.end {
        create = create.with_range(end);
    }
    if previous {
        create = create.with_prev_key();
    }
    (wire.key, create)
}
