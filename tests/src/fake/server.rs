//! The server as a test holds it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use etcd_client::proto::{
    PbKvServer, PbLeaseServer, PbMaintenanceServer, PbResponseHeader, PbWatchServer,
};
use futures::{Stream, StreamExt};
use keyval::{Maintenance, Memory};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::Status;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::transport::server::Connected;

use crate::fake::login::{Authenticate, Logins};
use crate::fake::plight::{Ailing, Plight};
use crate::fake::wire;

/// A server that speaks etcd's protocol and keeps its data in a [`Memory`].
///
/// It answers what keyval's backend asks: reads, writes, transactions, compactions, watches, leases
/// the status, and logins where they are asked for. Clones are the same server, so that a simulated crash can keep the data.
#[derive(Clone)]
pub struct FakeEtcd {
    pub(crate) store: Memory,
    pub(crate) version: &'static str,
    pub(crate) snapshot: Bytes,
    /// Whether the changes of a new watch come before the word that it was created.
    pub(crate) announces_late: bool,
    /// None where nobody has to log in.
    logins: Option<Logins>,
    pub(crate) ailing: Ailing,
}

impl FakeEtcd {
    /// An empty server that says to be of this version.
    #[must_use]
    pub fn new(version: &'static str) -> Self {
        Self {
            store: Memory::new(),
            version,
            snapshot: Bytes::new(),
            announces_late: false,
            logins: None,
            ailing: Ailing::default(),
        }
    }

    /// Another member of the same cluster: it has the same data and logins, and is well.
    #[must_use]
    pub fn member(&self) -> Self {
        Self {
            ailing: Ailing::default(),
            ..self.clone()
        }
    }

    /// From now on this is wrong with the member; what it left unanswered it answers when it is well.
    pub fn suffers(&self, plight: Plight) {
        self.ailing.become_so(plight);
    }

    /// Sends this, whatever it is, to those who ask for a snapshot; nothing by default.
    #[must_use]
    pub fn with_snapshot(mut self, snapshot: impl Into<Bytes>) -> Self {
        self.snapshot = snapshot.into();
        self
    }

    /// The same server, but what a new watch has to deliver comes before the word that it was
    /// created. etcd itself keeps the order; what stands between may not.
    #[must_use]
    pub fn announcing_late(mut self) -> Self {
        self.announces_late = true;
        self
    }

    /// The same server, but reads, writes, watches and leases take a login as
    /// [`USER`](super::USER).
    #[must_use]
    pub fn with_login(mut self) -> Self {
        self.logins = Some(Logins::default());
        self
    }

    /// Ends all tokens that were given, as time does; watches that stand go on.
    pub fn end_tokens(&self) {
        if let Some(logins) = &self.logins {
            logins.end();
        }
    }

    /// How many logins there have been.
    #[must_use]
    pub fn logins(&self) -> u64 {
        self.logins.as_ref().map_or(0, Logins::count)
    }

    /// The store behind it, which no network lies before.
    #[must_use]
    pub fn store(&self) -> &Memory {
        &self.store
    }

    /// Serves these connections until there are no more, or the future is dropped.
    ///
    /// # Errors
    /// If the transport gives up.
    ///
    /// # Cancel safety
    /// Dropping the future ends no connection that was accepted; dropping the runtime does.
    pub async fn serve<I, C>(&self, connections: I) -> Result<(), tonic::transport::Error>
    where
        I: Stream<Item = io::Result<C>>,
        C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let logins = self.logins.clone();
        let check = move |request| match &logins {
            Some(logins) => logins.check(request),
            None => Ok(request),
        };
        let kv = PbKvServer::new(self.clone()).max_decoding_message_size(usize::MAX);
        let watch = PbWatchServer::new(self.clone());
        let lease = PbLeaseServer::new(self.clone());
        Server::builder()
            .add_service(InterceptedService::new(kv, check.clone()))
            .add_service(InterceptedService::new(watch, check.clone()))
            .add_service(InterceptedService::new(lease, check))
            .add_service(PbMaintenanceServer::new(self.clone()))
            .add_optional_service(
                self.logins
                    .clone()
                    .map(|logins| Authenticate(logins, self.ailing.clone())),
            )
            .serve_with_incoming(connections.map(|io| io.map(Connection)))
            .await
    }

    /// Serves on a free port of the loopback in a task; returns its address.
    ///
    /// # Panics
    /// If the loopback has no free port.
    ///
    /// # Cancel safety
    /// If the future is dropped, nothing is served.
    pub async fn serve_on_loopback(&self) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
            .await
            .expect("the loopback has ports");
        let address = listener.local_addr().expect("it is bound");
        let server = self.clone();
        tokio::spawn(async move {
            let connections = futures::stream::unfold(listener, |listener| async move {
                let accepted = listener.accept().await.map(|(stream, _)| stream);
                Some((accepted, listener))
            });
            server.serve(Box::pin(connections)).await
        });
        address
    }

    /// The header of every answer.
    pub(crate) async fn header(&self) -> Result<PbResponseHeader, Status> {
        let status = self.store.status().await.map_err(wire::status)?;
        let revision = status.revision.unwrap_or_default();
        Ok(wire::header(revision))
    }
}

impl fmt::Debug for FakeEtcd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FakeEtcd({}, {})", self.version, self.store)
    }
}

/// A connection of any kind, as the server wants it.
struct Connection<C>(C);

impl<C> Connected for Connection<C> {
    type ConnectInfo = ();

    fn connect_info(&self) -> Self::ConnectInfo {}
}

impl<C: AsyncRead + Unpin> AsyncRead for Connection<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Connection<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
