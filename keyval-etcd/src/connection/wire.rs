//! What a connection runs over: plain text or encryption.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::connection::opener::Io;
use crate::tls::TlsStream;

/// The head of a frame of HTTP/2. A server that expects TLS may say less before it goes: an alert.
const WORD: usize = 9;

/// An open connection to a server.
pub(crate) enum Wire {
    Plain {
        stream: TcpStream,
        /// Set once the server has ended a connection without a word. The transport does not always
        /// pass on why it lost a connection.
        wordless: Arc<AtomicBool>,
        /// How many bytes the server has said, as far as they make its first word.
        heard: usize,
    },
    Tls(Box<TlsStream>),
    /// Opened elsewhere.
    Given(Box<dyn Io>),
}

/// Why a connection ended before it had begun, as far as that can be known: a server that expects
/// TLS gives no reason to whom it cannot understand.
pub(crate) const WORDLESS: &str = "the server ended the connection before its first word: if it \
                                   expects TLS, write https://, or set ca-file";

impl Wire {
    /// A connection in plain text.
    pub(crate) fn plain(stream: TcpStream, wordless: Arc<AtomicBool>) -> Self {
        Self::Plain {
            stream,
            wordless,
            heard: 0,
        }
    }

    /// Passes on what was done, and notes whether a connection ended without a word.
    fn noted<T>(&self, done: io::Result<T>) -> io::Result<T> {
        if let Self::Plain {
            heard, wordless, ..
        } = self
            && done.is_err()
        {
            wordless.store(*heard < WORD, Ordering::Release);
        }
        done
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let done = match &mut *self {
            Self::Plain { stream, heard, .. } => {
                let before = buffer.filled().len();
                let mut done = ready!(Pin::new(stream).poll_read(cx, buffer));
                let read = buffer.filled().len() - before;
                *heard = WORD.min(*heard + read);
                if read == 0 && *heard < WORD && buffer.remaining() > 0 && done.is_ok() {
                    done = Err(io::ErrorKind::UnexpectedEof.into());
                }
                done
            }
            Self::Tls(stream) => ready!(Pin::new(stream).poll_read(cx, buffer)),
            Self::Given(stream) => ready!(Pin::new(stream).poll_read(cx, buffer)),
        };
        Poll::Ready(self.noted(done))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let done = match &mut *self {
            Self::Plain { stream, .. } => ready!(Pin::new(stream).poll_write(cx, bytes)),
            Self::Tls(stream) => ready!(Pin::new(stream).poll_write(cx, bytes)),
            Self::Given(stream) => ready!(Pin::new(stream).poll_write(cx, bytes)),
        };
        Poll::Ready(self.noted(done))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain { stream, .. } => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Given(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain { stream, .. } => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Given(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
