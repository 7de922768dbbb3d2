//! A TCP proxy that does to connections what networks and machines do.

use std::future::pending;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc as blocking};
use std::thread::JoinHandle;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};

pub use crate::pump::Flow;
use crate::pump::{Ordered, Pump};

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;

/// Which bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Those that clients send.
    ToServer,
    /// Those that the server sends.
    ToClient,
    /// All.
    Both,
}

/// What happens to a client that connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admit {
    /// It reaches the server.
    Pass,
    /// It is let in and closed at once, as by a load balancer without a server.
    Close,
    /// It is refused, as by a machine without the server; the proxy keeps its port.
    Refuse,
}

/// What a proxy has carried since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The connections that clients made, whatever became of them.
    pub accepted: u64,
    /// The connections that there are now.
    pub open: u64,
    /// The bytes that reached the server.
    pub to_server: u64,
    /// The bytes that reached clients.
    pub to_client: u64,
}

/// A proxy before one address, on a port and a thread of its own. Its connections end with it.
///
/// It begins as one that does no harm.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    door: Option<mpsc::UnboundedSender<Knock>>,
    thread: Option<JoinHandle<()>>,
}

/// An order for the door, and whom to tell that it is carried out.
type Knock = (Admit, blocking::Sender<()>);

#[derive(Debug)]
struct Shared {
    server: SocketAddr,
    to_server: watch::Sender<Ordered>,
    to_client: watch::Sender<Ordered>,
    ends: watch::Sender<Ends>,
    accepted: AtomicU64,
    open: AtomicU64,
    carried_to_server: AtomicU64,
    carried_to_client: AtomicU64,
}

/// How often all connections of the time were ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ends {
    cuts: u64,
    abandoned: u64,
}

impl Proxy {
    /// Starts one before this address. Its random delays follow a seed, which is printed.
    ///
    /// # Panics
    /// If the machine has no port or thread left.
    #[must_use]
    pub fn before(server: SocketAddr) -> Self {
        let seed = fastrand::u64(..);
        println!("the proxy before {server} has the seed {seed}");
        Self::with_seed(server, seed)
    }

    /// As [`before`](Self::before), with the seed given.
    ///
    /// # Panics
    /// As [`before`](Self::before).
    #[must_use]
    pub fn with_seed(server: SocketAddr, seed: u64) -> Self {
        let pass = Ordered {
            flow: Flow::Pass,
            number: 0,
        };
        let shared = Arc::new(Shared {
            server,
            to_server: watch::Sender::new(pass),
            to_client: watch::Sender::new(pass),
            ends: watch::Sender::default(),
            accepted: AtomicU64::new(0),
            open: AtomicU64::new(0),
            carried_to_server: AtomicU64::new(0),
            carried_to_client: AtomicU64::new(0),
        });
        let (door, knocks) = mpsc::unbounded_channel();
        let (started, address) = blocking::channel();
        let thread = std::thread::Builder::new().name(format!("proxy of {server}"));
        let thread = {
            let shared = shared.clone();
            thread.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("the machine has descriptors left");
                let rng = fastrand::Rng::with_seed(seed);
                runtime.block_on(serve(shared, knocks, started, rng));
            })
        };
        Self {
            address: address
                .recv()
                .expect("the machine has a port and a thread left"),
            shared,
            door: Some(door),
            thread: Some(thread.expect("the machine has a thread left")),
        }
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where clients connect: host and port.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.address.to_string()
    }

    /// Lets bytes flow like this from now on, on all connections.
    pub fn flow(&self, way: Way, flow: Flow) {
        let order = |lane: &watch::Sender<Ordered>| {
            lane.send_modify(|order| {
                *order = Ordered {
                    flow,
                    number: order.number + 1,
                };
            });
        };
        if way != Way::ToClient {
            order(&self.shared.to_server);
        }
        if way != Way::ToServer {
            order(&self.shared.to_client);
        }
    }

    /// Does this to clients that connect from now on; connections that there are stay.
    ///
    /// # Panics
    /// If another program has taken the port.
    pub fn admit(&self, admit: Admit) {
        let (done, carried_out) = blocking::channel();
        let door = self.door.as_ref().expect("it is there until the end");
        drop(door.send((admit, done)));
        carried_out.recv().expect("the port is still ours");
    }

    /// Resets all connections that there are.
    pub fn cut(&self) {
        self.shared.ends.send_modify(|ends| ends.cuts += 1);
    }

    /// Resets all connections that there are at the server's side and keeps them at the client's,
    /// as if the server's machine had lost its power: what clients send is never answered.
    pub fn abandon(&self) {
        self.shared.ends.send_modify(|ends| ends.abandoned += 1);
    }

    /// Does no harm from now on. Connections whose other side is gone stay so.
    ///
    /// # Panics
    /// As [`admit`](Self::admit).
    pub fn heal(&self) {
        self.flow(Way::Both, Flow::Pass);
        self.admit(Admit::Pass);
    }

    /// What it has carried until now.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            accepted: count(&self.shared.accepted),
            open: count(&self.shared.open),
            to_server: count(&self.shared.carried_to_server),
            to_client: count(&self.shared.carried_to_client),
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.door = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// The listening port, or the port kept without listening, which refuses.
enum Door {
    Open(TcpListener, Admit),
    Shut(TcpSocket),
}

impl Door {
    fn open(address: SocketAddr, admit: Admit) -> io::Result<Self> {
        let socket = bound(address)?;
        Ok(match admit {
            Admit::Refuse => Self::Shut(socket),
            Admit::Pass | Admit::Close => Self::Open(socket.listen(BACKLOG)?, admit),
        })
    }

    fn turn(self, address: SocketAddr, admit: Admit) -> io::Result<Self> {
        Ok(match (self, admit) {
            (Self::Open(listener, _), Admit::Pass | Admit::Close) => Self::Open(listener, admit),
            (Self::Shut(socket), Admit::Pass | Admit::Close) => {
                Self::Open(socket.listen(BACKLOG)?, admit)
            }
            (Self::Shut(socket), Admit::Refuse) => Self::Shut(socket),
            (Self::Open(listener, _), Admit::Refuse) => {
                drop(listener);
                Self::open(address, admit)?
            }
        })
    }

    async fn enter(&self) -> (TcpStream, Admit) {
        let Self::Open(listener, admit) = self else {
            return pending().await;
        };
        loop {
            // A client that has gone before it was let in is none.
            if let Ok((client, _)) = listener.accept().await {
                return (client, *admit);
            }
        }
    }
}

fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    // Connections of the port's former life may linger.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Accepts clients until the proxy is dropped.
async fn serve(
    shared: Arc<Shared>,
    mut knocks: mpsc::UnboundedReceiver<Knock>,
    started: blocking::Sender<SocketAddr>,
    mut rng: fastrand::Rng,
) {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let Ok(mut door) = Door::open(any, Admit::Pass) else {
        return;
    };
    let Door::Open(listener, _) = &door else {
        return;
    };
    let Ok(address) = listener.local_addr() else {
        return;
    };
    if started.send(address).is_err() {
        return;
    }
    loop {
        tokio::select! {
            biased;
            knock = knocks.recv() => {
                let Some((admit, done)) = knock else { return };
                match door.turn(address, admit) {
                    Ok(turned) => door = turned,
                    Err(_) => return,
                }
                if done.send(()).is_err() {
                    return;
                }
            }
            (client, admit) = door.enter() => {
                shared.accepted.fetch_add(1, Ordering::Relaxed);
                if admit == Admit::Pass {
                    shared.open.fetch_add(1, Ordering::Relaxed);
                    let (shared, rng) = (shared.clone(), rng.fork());
                    let ends = shared.ends.subscribe();
                    tokio::spawn(async move {
                        carry(client, ends, &shared, rng).await;
                        shared.open.fetch_sub(1, Ordering::Relaxed);
                    });
                }
            }
        }
    }
}

/// Carries one connection to its end.
async fn carry(
    mut client: TcpStream,
    mut ends: watch::Receiver<Ends>,
    shared: &Shared,
    mut rng: fastrand::Rng,
) {
    let born = *ends.borrow();
    let Ok(mut server) = TcpStream::connect(shared.server).await else {
        drop(client.set_zero_linger());
        return;
    };
    for stream in [&client, &server] {
        drop(stream.set_nodelay(true));
    }
    let kept = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let mut pump = |order: &watch::Sender<Ordered>, carried| Pump {
            order: order.subscribe(),
            carried,
            rng: rng.fork(),
        };
        let there = pump(&shared.to_server, &shared.carried_to_server);
        let back = pump(&shared.to_client, &shared.carried_to_client);
        tokio::select! {
            over = async {
                tokio::try_join!(there.run(from_client, to_server), back.run(from_server, to_client))
            } => {
                if over.is_ok() {
                    return;
                }
                false
            }
            end = ends.wait_for(|ends| *ends != born) => end.is_ok_and(|ends| ends.cuts == born.cuts),
        }
    };
    // A socket that lingers for no time is reset when it is closed.
    drop(server.set_zero_linger());
    drop(server);
    if kept {
        drop(ends.wait_for(|ends| ends.cuts != born.cuts).await);
    }
    drop(client.set_zero_linger());
}
