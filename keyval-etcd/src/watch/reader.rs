//! The reader's end of a watch.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::stream::Stream;
use keyval::{Changes, Result};
use tokio::sync::mpsc::UnboundedSender;

use crate::watch::demux::Token;
use crate::watch::queue::{Next, Waiting};
use crate::watch::stream::Command;

/// The changes of one watch. Dropping it ends the watch.
#[derive(Debug)]
pub(crate) struct Reader {
    token: Token,
    stream: UnboundedSender<Command>,
    waiting: Waiting,
}

impl Reader {
    /// The reader of a watch on a stream.
    pub(crate) fn new(token: Token, stream: UnboundedSender<Command>, waiting: Waiting) -> Self {
        Self {
            token,
            stream,
            waiting,
        }
    }
}

impl Stream for Reader {
    type Item = Result<Changes>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match ready!(self.waiting.poll_next(cx)) {
                Next::Changes(changes) => return Poll::Ready(Some(Ok(changes))),
                // A stream that is over ends the queue, which tells why.
                Next::Lagging => drop(self.stream.send(Command::Resume(self.token))),
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
