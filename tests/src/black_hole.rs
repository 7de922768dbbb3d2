//! An address that neither takes nor refuses a connection.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};

/// How long a connection on the loopback may take that is not lost.
const AT_ONCE: Duration = Duration::from_millis(250);
/// How many connections a full queue may hold on any system.
const MOST: usize = 16;

/// An address at which requests for a connection are lost, as behind a firewall that drops them or
/// at a machine without power: a client hears neither yes nor no.
///
/// It is a port whose queue of connections is full and that nobody accepts from. It ends with the
/// value.
#[derive(Debug)]
pub struct BlackHole {
    address: SocketAddr,
    #[expect(dead_code, reason = "it is there, and nobody accepts from it")]
    listener: TcpListener,
    #[expect(dead_code, reason = "they fill its queue")]
    queued: Vec<TcpStream>,
}

impl BlackHole {
    /// Opens one on a free port of the loopback.
    ///
    /// # Panics
    /// As [`at`](Self::at).
    #[must_use]
    pub fn open() -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// Opens one where a server was that has ended.
    ///
    /// # Panics
    /// Outside of a runtime, if the port is taken, and where the system accepts connections by
    /// itself however many there are.
    #[must_use]
    pub fn at(address: SocketAddr) -> Self {
        let listener = listen(address).expect("the port is free");
        let address = listener.local_addr().expect("it is bound");
        let mut queued = Vec::new();
        while queued.len() < MOST {
            match TcpStream::connect_timeout(&address, AT_ONCE) {
                Ok(stream) => queued.push(stream),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    return Self {
                        address,
                        listener,
                        queued,
                    };
                }
                Err(error) => panic!("{address} is no black hole: {error}"),
            }
        }
        panic!("{address} is no black hole: it takes any number of connections")
    }

    /// Its host and port, for a configuration.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.address.to_string()
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(0)
}
