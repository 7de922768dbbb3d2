//! A port of the loopback that no other test has at the same time.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;

/// Below the ports that systems give to outgoing connections, which would take the port of a
/// server while that does not run.
const PORTS: std::ops::Range<u16> = 10_000..32_000;
const TRIES: usize = 1000;

/// A port for a server of TCP, kept from all other tests for as long as a copy of this lives,
/// whether the server runs or not.
#[derive(Clone, Debug)]
pub(crate) struct Port {
    address: SocketAddr,
    /// Of two tests in two processes, one alone can bind this, and it ends with the process.
    _claim: Arc<UdpSocket>,
}

impl Port {
    /// One on which nothing listens.
    pub(crate) fn free() -> Self {
        for _ in 0..TRIES {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, fastrand::u16(PORTS)));
            let Ok(claim) = UdpSocket::bind(address) else {
                continue;
            };
            if TcpListener::bind(address).is_ok() {
                return Self {
                    address,
                    _claim: Arc::new(claim),
                };
            }
        }
        panic!("the loopback has no ports left in {PORTS:?}");
    }

    /// The address on which the server is to listen.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}
