//! A program and its servers on a network that is simulated, under a clock that only work moves on.
//!
//! What is rare on a real network is certain here: a fault comes at one moment and no other. Faults
//! and delays repeat with the seed; which branch of a `select` is taken first does not.

use std::cell::RefCell;
use std::fmt;
use std::mem;
use std::net::Ipv4Addr;
use std::process;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream;
use keyval::{BrokerExt, Memory};
use keyval_etcd::{EtcdConfig, EtcdStore, Io};
use tokio::time::{Instant, sleep};
use turmoil::net::{TcpListener, TcpStream};
use turmoil::{Builder, Sim};

use crate::fake::FakeEtcd;
use crate::proxy::Way;

/// How long a store may take to notice that a connection is dead, and to open another one: a ping
/// after 10 s, 5 s for its answer, and a little.
pub const FOUND_OUT: Duration = Duration::from_secs(20);

/// The host on which the program runs.
const PROGRAM: &str = "program";
const PORT: u16 = 2379;
/// One of the versions that can be asked for progress.
pub const VERSION: &str = "3.5.16";
/// How far the clock goes in one step of the simulation.
const TICK: Duration = Duration::from_millis(5);
/// How long one message is under way.
const DELAYS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));
/// How long a program may take by the clock of the simulation.
const LONGEST: Duration = Duration::from_secs(3600);
/// How long a program may take by the clock on the wall.
const PATIENCE: Duration = Duration::from_secs(120);

/// The seed of the environment, `KEYVAL_SEED`, or a new one; printed.
///
/// # Panics
/// If the environment holds no number.
#[must_use]
pub fn seed() -> u64 {
    let seed = match std::env::var("KEYVAL_SEED") {
        Ok(seed) => seed.parse().expect("KEYVAL_SEED is a number"),
        Err(_) => fastrand::u64(..),
    };
    println!("KEYVAL_SEED={seed}");
    seed
}

/// Runs a program against the members of one cluster, which share their data.
///
/// # Panics
/// If the program does, or takes too long.
pub fn simulate<const N: usize, F>(seed: u64, program: impl FnOnce([Member; N]) -> F)
where
    F: Future<Output = ()> + 'static,
{
    let _guard = Guard::new(seed);
    // The waits between attempts are drawn from it.
    fastrand::seed(seed);
    let mut sim = Builder::new()
        .rng_seed(seed)
        .simulation_duration(LONGEST)
        .tick_duration(TICK)
        .min_message_latency(DELAYS.0)
        .max_message_latency(DELAYS.1)
        .tcp_capacity(1024)
        .build();
    let cluster = Rc::new(Cluster {
        server: RefCell::new(FakeEtcd::new(VERSION)),
        orders: RefCell::default(),
    });
    let members = std::array::from_fn(|at| Member {
        name: format!("member-{at}"),
        cluster: cluster.clone(),
    });
    for member in &members {
        let cluster = cluster.clone();
        sim.host(&*member.name, move || {
            serve(cluster.server.borrow().clone())
        });
    }
    let program = program(members);
    sim.client(PROGRAM, async move {
        program.await;
        Ok(())
    });
    loop {
        let ended = sim
            .step()
            .unwrap_or_else(|error| panic!("KEYVAL_SEED={seed}: {error}"));
        if ended {
            return;
        }
        for order in mem::take(&mut *cluster.orders.borrow_mut()) {
            order.carry_out(&mut sim);
        }
    }
}

async fn serve(server: FakeEtcd) -> turmoil::Result {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?;
    let connections = stream::unfold(listener, |listener| async move {
        let accepted = listener.accept().await.map(|(stream, _)| stream);
        Some((accepted, listener))
    });
    server.serve(Box::pin(connections)).await?;
    Ok(())
}

/// What all members have in common.
struct Cluster {
    server: RefCell<FakeEtcd>,
    /// What only the simulation itself can do, after its present step.
    orders: RefCell<Vec<Order>>,
}

enum Order {
    Crash(String),
    Start(String),
}

impl Order {
    fn carry_out(self, sim: &mut Sim<'_>) {
        match self {
            Self::Crash(name) => sim.crash(name),
            Self::Start(name) => sim.bounce(name),
        }
    }
}

/// A server, and the network between it and the program.
#[derive(Clone)]
pub struct Member {
    name: String,
    cluster: Rc<Cluster>,
}

impl Member {
    /// Where it is served, for a configuration.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("{}:{PORT}", self.name)
    }

    /// The data, before which no network lies.
    #[must_use]
    pub fn data(&self) -> Memory {
        self.cluster.server.borrow().store().clone()
    }

    /// Loses all that is under way in this direction, and all that is sent from now on.
    ///
    /// Nothing is sent again, so that connections that lost something never work again in that
    /// direction; in the other one they do, as there are no acknowledgements to be missed. A
    /// connection that is opened is refused if the request for it is lost.
    pub fn lose(&self, way: Way) {
        match way {
            Way::ToServer => turmoil::partition_oneway(PROGRAM, &*self.name),
            Way::ToClient => turmoil::partition_oneway(&*self.name, PROGRAM),
            Way::Both => turmoil::partition(PROGRAM, &*self.name),
        }
    }

    /// Keeps all that is under way and all that is sent from now on, in both directions.
    pub fn hold(&self) {
        turmoil::hold(PROGRAM, &*self.name);
    }

    /// Delivers what was held, and whatever is sent from now on.
    pub fn heal(&self) {
        turmoil::release(PROGRAM, &*self.name);
    }

    /// Ends the server in the middle of what it does; the data stay.
    pub fn crash(&self) {
        self.order(Order::Crash);
    }

    /// Starts the server again.
    pub fn start(&self) {
        self.order(Order::Start);
    }

    /// Puts another server with its data in the place of all members, as each of them starts.
    pub fn replace(&self, server: FakeEtcd) {
        *self.cluster.server.borrow_mut() = server;
    }

    fn order(&self, order: impl FnOnce(String) -> Order) {
        let order = order(self.name.clone());
        self.cluster.orders.borrow_mut().push(order);
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// A configuration for these members.
#[must_use]
pub fn config<'a>(members: impl IntoIterator<Item = &'a Member>) -> EtcdConfig {
    EtcdConfig::default()
        .with_endpoints(members.into_iter().map(Member::endpoint))
        .with_dial_timeout(Duration::from_secs(1))
        .with_operation_timeout(Duration::from_secs(2))
}

/// A store over the simulated network, for the program.
///
/// # Panics
/// If no member answers.
pub async fn connect(config: &EtcdConfig) -> EtcdStore {
    let open = |host: String, port| {
        let opening = async move {
            let stream = TcpStream::connect((&*host, port)).await?;
            Ok(Box::new(stream) as Box<dyn Io>)
        };
        Box::pin(opening) as BoxFuture<'static, _>
    };
    EtcdStore::connect_through(config, Arc::new(open))
        .await
        .expect("a member answers")
}

/// Waits until a store answers again.
///
/// # Panics
/// If that takes longer than [`FOUND_OUT`].
pub async fn works_again(store: &EtcdStore) {
    let begun = Instant::now();
    while store.get("elsewhere").await.is_err() {
        sleep(Duration::from_millis(10)).await;
    }
    let took = begun.elapsed();
    assert!(took < FOUND_OUT, "{store} answers only after {took:?}");
}

/// The moments of a call at which something can happen to it: from before its beginning until
/// after its end.
pub fn moments() -> impl Iterator<Item = Duration> + Clone {
    (0..60).step_by(5).map(Duration::from_millis)
}

/// Ends a process whose simulation stands still: where a task never waits, no simulated time passes.
struct Guard(#[expect(dead_code, reason = "its drop is its use")] mpsc::Sender<()>);

impl Guard {
    fn new(seed: u64) -> Self {
        let (held, dropped) = mpsc::channel::<()>();
        thread::spawn(move || {
            if let Err(mpsc::RecvTimeoutError::Timeout) = dropped.recv_timeout(PATIENCE) {
                eprintln!("KEYVAL_SEED={seed}: no end within {PATIENCE:?}");
                process::abort();
            }
        });
        Self(held)
    }
}
