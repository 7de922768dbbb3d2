//! The reader's end of a watch.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::future::{BoxFuture, FutureExt};
use futures::stream::Stream;
use keyval::{Changes, KeyRange, Result};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use crate::client::Client;
use crate::watch::demux::{Opened, Token};
use crate::watch::queue::{Next, Waiting};
use crate::watch::start::check_kept;
use crate::watch::stream::Command;

/// The changes of one watch. Dropping it ends the watch.
pub(crate) struct Reader {
    client: Arc<Client>,
    range: Arc<KeyRange>,
    token: Token,
    stream: UnboundedSender<Command>,
    waiting: Waiting,
    /// Under way when the watch was paused because this end was slow.
    resuming: Option<BoxFuture<'static, Result<()>>>,
}

impl Reader {
    /// The reader of a watch on a stream.
    pub(crate) fn new(
        client: Arc<Client>,
        range: Arc<KeyRange>,
        token: Token,
        stream: UnboundedSender<Command>,
        waiting: Waiting,
    ) -> Self {
        Self {
            client,
            range,
            token,
            stream,
            waiting,
            resuming: None,
        }
    }

    /// Lets the watch go on behind what was read.
    ///
    /// What arrives meanwhile waits until it is certain that nothing before it was compacted.
    fn resume(&self) -> BoxFuture<'static, Result<()>> {
        let (answer, answered) = oneshot::channel();
        let token = self.token;
        // A stream that is over has ended the queue, which tells why.
        drop(self.stream.send(Command::Resume { token, answer }));
        let (client, range) = (self.client.clone(), self.range.clone());
        async move {
            match answered.await {
                Ok(Ok(Opened::Accepted { after })) => check_kept(&client, &range, after).await,
                Ok(Ok(Opened::Refused(cause))) => Err(cause),
                Ok(Err(_)) | Err(_) => Ok(()),
            }
        }
        .boxed()
    }
}

impl Stream for Reader {
    type Item = Result<Changes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(resuming) = &mut self.resuming {
                let resumed = ready!(resuming.poll_unpin(cx));
                self.resuming = None;
                if let Err(cause) = resumed {
                    return Poll::Ready(Some(Err(cause)));
                }
            }
            match ready!(self.waiting.poll_next(cx)) {
                Next::Changes(changes) => return Poll::Ready(Some(Ok(changes))),
                Next::Lagging => self.resuming = Some(self.resume()),
                Next::End(cause) => return Poll::Ready(Some(Err(cause))),
                Next::Over => return Poll::Ready(None),
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // A stream that is over has no watch to end.
        drop(self.stream.send(Command::Leave(self.token)));
    }
}
