//! Carries the bytes of one connection one way, as harmful as it is told to be.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

/// How much is read at once.
const PIECE: usize = 16 << 10;
/// How many pieces may be under way.
const UNDER_WAY: usize = 64;

/// What happens to the bytes that flow one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// They arrive.
    Pass,
    /// They arrive this much later, in order.
    Delay {
        /// At least this much.
        fixed: Duration,
        /// At most this much more, at random.
        random: Duration,
    },
    /// They arrive at this rate; not 0.
    Slow {
        /// Bytes in a second.
        per_second: u32,
    },
    /// Nothing arrives, not even an end; what was under way arrives when the flow is another, as
    /// after an outage that the connection outlives.
    Hold,
    /// Nothing arrives, not even an end; a connection that lost something is reset when the flow is
    /// another.
    Lose,
    /// Each connection is reset when it has carried this many more bytes, be it amid a frame.
    CutAfter {
        /// How many bytes still arrive.
        bytes: u64,
    },
}

/// A flow, and which order it was: an order may repeat the one before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ordered {
    pub(crate) flow: Flow,
    pub(crate) number: u64,
}

/// The connection is to be reset.
#[derive(Debug)]
pub(crate) struct Reset;

/// What a side has sent.
enum Sent {
    Bytes { due: Instant, bytes: Bytes },
    Broken,
}

/// One way of one connection.
pub(crate) struct Pump<'a> {
    /// How the bytes flow now.
    pub(crate) order: watch::Receiver<Ordered>,
    /// Counts the bytes that arrive.
    pub(crate) carried: &'a AtomicU64,
    /// Chooses the random part of delays.
    pub(crate) rng: fastrand::Rng,
}

impl Pump<'_> {
    /// Carries bytes until the end of the one side has reached the other.
    pub(crate) async fn run(self, from: ReadHalf<'_>, to: WriteHalf<'_>) -> Result<(), Reset> {
        let (queue, pieces) = mpsc::channel(UNDER_WAY);
        let reads = read(from, queue, self.order.clone(), self.rng);
        let mut outlet = Outlet {
            to,
            order: self.order,
            carried: self.carried,
            number: 0,
            left: 0,
            lost: false,
        };
        let ((), written) = tokio::join!(reads, outlet.write(pieces));
        written
    }
}

/// Reads until the end; each piece is due when the delay of its time says so.
async fn read(
    mut from: ReadHalf<'_>,
    queue: mpsc::Sender<Sent>,
    order: watch::Receiver<Ordered>,
    mut rng: fastrand::Rng,
) {
    let mut last_due = Instant::now();
    loop {
        let mut piece = BytesMut::with_capacity(PIECE);
        let read = tokio::select! {
            read = from.read_buf(&mut piece) => read,
            () = queue.closed() => return,
        };
        let sent = match read {
            Ok(0) => return,
            Ok(_) => {
                let delay = match order.borrow().flow {
                    Flow::Delay { fixed, random } => fixed + random.mul_f64(rng.f64()),
                    _ => Duration::ZERO,
                };
                last_due = last_due.max(Instant::now() + delay);
                Sent::Bytes {
                    due: last_due,
                    bytes: piece.freeze(),
                }
            }
            Err(_) => Sent::Broken,
        };
        let over = matches!(sent, Sent::Broken);
        if queue.send(sent).await.is_err() || over {
            return;
        }
    }
}

/// Where the bytes of one way come out.
struct Outlet<'a> {
    to: WriteHalf<'a>,
    order: watch::Receiver<Ordered>,
    carried: &'a AtomicU64,
    /// The order by which `left` counts.
    number: u64,
    /// How many bytes may still arrive.
    left: u64,
    /// Whether bytes were lost.
    lost: bool,
}

impl Outlet<'_> {
    async fn write(&mut self, mut pieces: mpsc::Receiver<Sent>) -> Result<(), Reset> {
        loop {
            let sent = tokio::select! {
                sent = pieces.recv() => sent,
                reset = found(&mut self.order), if self.lost => return reset,
            };
            match sent {
                Some(Sent::Bytes { due, bytes }) => {
                    sleep_until(due).await;
                    self.deliver(bytes).await?;
                }
                Some(Sent::Broken) => {
                    self.passable().await?;
                    return Err(Reset);
                }
                None => {
                    self.passable().await?;
                    return self.to.shutdown().await.map_err(|_| Reset);
                }
            }
        }
    }

    async fn deliver(&mut self, mut bytes: Bytes) -> Result<(), Reset> {
        while !bytes.is_empty() {
            let Ordered { flow, number } = self.flow(|flow| flow != Flow::Hold).await?;
            if flow != Flow::Lose && self.lost {
                return Err(Reset);
            }
            match flow {
                Flow::Pass | Flow::Delay { .. } => self.arrive(bytes.split_off(0)).await?,
                Flow::Slow { per_second } => {
                    // So little that another order is soon obeyed.
                    let share = bytes.len().min((per_second / 20).max(1) as usize);
                    let time = share as f64 / f64::from(per_second);
                    self.arrive(bytes.split_to(share)).await?;
                    sleep(Duration::from_secs_f64(time)).await;
                }
                Flow::CutAfter { bytes: allowed } => {
                    if self.number != number {
                        (self.number, self.left) = (number, allowed);
                    }
                    let length = bytes.len() as u64;
                    let share = length.min(self.left);
                    self.left -= share;
                    let fits = usize::try_from(share).expect("it is at most a length");
                    self.arrive(bytes.split_to(fits)).await?;
                    if self.left == 0 {
                        return Err(Reset);
                    }
                }
                Flow::Lose => {
                    self.lost = true;
                    return Ok(());
                }
                Flow::Hold => {}
            }
        }
        Ok(())
    }

    async fn arrive(&mut self, bytes: Bytes) -> Result<(), Reset> {
        // Counted first, so that whoever has received them finds them counted.
        let length = bytes.len() as u64;
        self.carried.fetch_add(length, Ordering::Relaxed);
        self.to.write_all(&bytes).await.map_err(|_| Reset)
    }

    /// Waits until the end of a connection may pass.
    async fn passable(&mut self) -> Result<(), Reset> {
        self.flow(|flow| !matches!(flow, Flow::Hold | Flow::Lose))
            .await?;
        if self.lost { Err(Reset) } else { Ok(()) }
    }

    /// The flow, once it is one of these. Without anybody to order, the connection is over.
    async fn flow(&mut self, wanted: impl Fn(Flow) -> bool) -> Result<Ordered, Reset> {
        let order = self.order.wait_for(|order| wanted(order.flow)).await;
        order.map(|order| *order).map_err(|_| Reset)
    }
}

/// Waits until it would show that bytes were lost.
async fn found(order: &mut watch::Receiver<Ordered>) -> Result<(), Reset> {
    drop(order.wait_for(|order| order.flow != Flow::Lose).await);
    Err(Reset)
}
