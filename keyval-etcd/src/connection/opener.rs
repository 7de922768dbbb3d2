//! What opens connections in place of the operating system, such as a network that is simulated.

use std::fmt;
use std::io;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

/// An open connection of any kind.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Opens a connection to a host and a port.
pub type Open = dyn Fn(String, u16) -> BoxFuture<'static, io::Result<Box<dyn Io>>> + Send + Sync;

/// What opens the connections of a store; clones are the same one.
#[derive(Clone)]
pub(crate) struct Opener(Arc<Open>);

impl Opener {
    /// Opens connections so.
    pub(crate) fn new(open: Arc<Open>) -> Self {
        Self(open)
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// Why there is none.
    ///
    /// # Cancel safety
    /// That of what it was given.
    pub(crate) async fn open(&self, host: &str, port: u16) -> io::Result<Box<dyn Io>> {
        (self.0)(host.to_owned(), port).await
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opener")
    }
}
