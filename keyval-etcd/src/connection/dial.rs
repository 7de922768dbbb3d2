//! Opens the connection of a channel, and notices when it ends.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, BufWriter, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::config::Endpoint;
use crate::connection::health::Health;
use crate::connection::opener::Open;
use crate::connection::wire::Wire;
use crate::tls::Tls;

/// How many bytes are gathered before they are written: the transport's own buffer and a whole frame
/// of HTTP/2, with its head, behind it.
const GATHERED: usize = 40 << 10;

/// Opens the connections of one channel, one after the other.
#[derive(Clone)]
pub(crate) struct Dialer {
    pub(crate) endpoint: Arc<Endpoint>,
    /// What encrypts them; none for plain text.
    pub(crate) tls: Option<Arc<Tls>>,
    /// What opens them; the operating system if it is none.
    pub(crate) opener: Option<Arc<Open>>,
    /// Set once the server has ended a connection in plain text without a word.
    pub(crate) wordless: Arc<AtomicBool>,
    /// How long opening may take.
    pub(crate) within: Duration,
    /// Who is told; none if nobody cares.
    pub(crate) lines: Option<Arc<Lines>>,
}

/// The connections that one channel has had.
pub(crate) struct Lines {
    health: Arc<Health>,
    opened: AtomicU64,
    /// Counts each opening and each end.
    events: watch::Sender<u64>,
}

impl Lines {
    /// Of a channel that has not been used.
    pub(crate) fn new(health: Arc<Health>) -> Self {
        Self {
            health,
            opened: AtomicU64::new(0),
            events: watch::Sender::new(0),
        }
    }

    /// Tells of each opening and each end from now on.
    pub(crate) fn events(&self) -> watch::Receiver<u64> {
        self.events.subscribe()
    }

    fn opened(&self) -> u64 {
        let number = self.opened.fetch_add(1, Ordering::AcqRel) + 1;
        self.events.send_modify(|events| *events += 1);
        number
    }

    fn ended(&self, number: u64) {
        // One that another has followed says nothing of the endpoint.
        if self.opened.load(Ordering::Acquire) == number {
            self.health.failed("the connection ended");
        }
        self.events.send_modify(|events| *events += 1);
    }
}

impl Dialer {
    /// Opens a connection.
    ///
    /// # Errors
    /// Why there is none within the time for it.
    ///
    /// # Cancel safety
    /// Dropping the future opens nothing.
    pub(crate) async fn dial(&self) -> io::Result<Line> {
        let dialed = timeout(self.within, self.dial_wire()).await;
        let stream = dialed.unwrap_or_else(|_| {
            let told = no_connection(self.within);
            Err(io::Error::new(io::ErrorKind::TimedOut, told))
        })?;
        let ending = self.lines.clone().map(|lines| Ending {
            number: lines.opened(),
            lines,
        });
        let stream = BufWriter::with_capacity(GATHERED, stream);
        Ok(Line { stream, ending })
    }

    async fn dial_wire(&self) -> io::Result<Wire> {
        if let Some(open) = &self.opener {
            let Endpoint { host, port, .. } = &*self.endpoint;
            return Ok(Wire::Given(open(host.clone(), *port).await?));
        }
        let stream = self.dial_tcp().await?;
        match &self.tls {
            Some(tls) => Ok(Wire::Tls(Box::new(
                tls.wrap(&self.endpoint.host, stream).await?,
            ))),
            None => Ok(Wire::plain(stream, self.wordless.clone())),
        }
    }

    async fn dial_tcp(&self) -> io::Result<TcpStream> {
        let Endpoint { host, port, .. } = &*self.endpoint;
        let found = lookup_host((host.as_str(), *port)).await;
        let found = found.map_err(|error| saying("the host has no address", &error))?;
        let addresses: Vec<_> = found.collect();
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        for (at, address) in addresses.iter().enumerate() {
            // One address that is silent leaves the others their share of the time.
            let share = self.within / u32::try_from(addresses.len() - at).unwrap_or(u32::MAX);
            match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Ok(Err(error)) => failure = saying("tcp connect error", &error),
                Err(_) => {
                    let told =
                        format!("connect timed out: {address} does not accept within {share:?}");
                    failure = io::Error::new(io::ErrorKind::TimedOut, told);
                }
            }
        }
        Err(failure)
    }
}

/// What is told of a connection that was not there in time.
pub(crate) fn no_connection(within: Duration) -> String {
    format!("connect timed out: no connection within {within:?}")
}

fn saying(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// An open connection, whose end is noticed.
///
/// What is written between two flushes goes out at once: the transport then writes all small requests
/// that are there with one call of the system, where it would spend one on each.
pub(crate) struct Line {
    stream: BufWriter<Wire>,
    /// Never read: it tells when it is dropped.
    #[expect(dead_code, reason = "its drop is its use")]
    ending: Option<Ending>,
}

struct Ending {
    lines: Arc<Lines>,
    number: u64,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.lines.ended(self.number);
    }
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
