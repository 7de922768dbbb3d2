//! Waits until a server that was started serves.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::http;

/// How long a server may take until it serves.
const START: Duration = Duration::from_secs(30);

/// Waits until the server at this address says that it is well, or says why it is not.
pub(crate) fn wait_until_it_serves(
    address: SocketAddr,
    mut has_ended: impl FnMut() -> bool,
) -> Result<(), &'static str> {
    let deadline = Instant::now() + START;
    loop {
        if http::get(address, "/health").is_ok_and(|health| health.contains("\"health\":\"true\""))
        {
            return Ok(());
        }
        if has_ended() {
            return Err("ended by itself");
        }
        if Instant::now() > deadline {
            return Err("does not serve in time");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
