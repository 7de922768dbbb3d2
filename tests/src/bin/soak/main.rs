//! Hours in minutes: three members behind proxies, a fault every twenty seconds, and everything
//! that clients and followers see is checked.

mod faults;
mod gauges;
mod load;
mod replica;
mod sessions;
mod truth;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use fastrand::Rng;
use keyval::testing::history::{
    Base, Delivery, FollowRecord, FollowedUpdate, History, Recorder, Traffic, WatchRecord, check,
};
use keyval::{Broker, KeyRange, ListOptions, Maintenance, Op, Revision, Txn};
use keyval_etcd::EtcdStore;
use keyval_tests::known::in_words;
use keyval_tests::proxied::Proxied;
use tokio::task::block_in_place;
use tokio::time::{sleep, timeout};

use crate::faults::Fault;
use crate::gauges::{Gauges, grown};
use crate::load::Load;
use crate::replica::Replica;
use crate::sessions::Kept;
use crate::truth::Truth;

const HELP: &str = "\
usage: soak [--minutes N] [--seed S]

options:
  --minutes N   how long to run, 10 by default
  --seed S      a number that repeats the faults and what clients do; a new one by default
";

/// From one fault to the next.
const SLOT: Duration = Duration::from_secs(20);
/// How many faults there are until everything is checked.
const FAULTS: usize = 3;
/// How long everybody may take to come to the same revision when nothing is wrong any more.
const CALM: Duration = Duration::from_secs(60);
/// What a history of a fault writes while all others are cut off.
const UNSEEN: usize = 40;
/// How long a call may have its effect after its caller gave up.
const LATE: Duration = Duration::from_secs(300);

/// What a run was asked to be.
struct Plan {
    minutes: u64,
    seed: u64,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments
        .iter()
        .any(|word| word == "--help" || word == "-h")
    {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let plan = match plan(&arguments) {
        Ok(plan) => plan,
        Err(wrong) => {
            eprintln!("{wrong}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .expect("the machine can start threads");
    match runtime.block_on(run(&plan)) {
        Ok(()) => {
            println!("the soak passed, seed {}", plan.seed);
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!(
                "\nthe soak failed: {why}\nto repeat it: --seed {}",
                plan.seed
            );
            ExitCode::FAILURE
        }
    }
}

fn plan(arguments: &[String]) -> Result<Plan, String> {
    let mut plan = Plan {
        minutes: 10,
        seed: fastrand::u64(..),
    };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let place = match word.as_str() {
            "--minutes" => &mut plan.minutes,
            "--seed" => &mut plan.seed,
            unknown => return Err(format!("unknown option {unknown:?}")),
        };
        let number = words.next().map(|word| word.parse());
        *place = match number {
            Some(Ok(number)) => number,
            _ => return Err(format!("{word} needs a whole number")),
        };
    }
    if plan.minutes == 0 {
        return Err("a soak takes at least 1 minute".to_owned());
    }
    Ok(plan)
}

async fn run(plan: &Plan) -> Result<(), String> {
    println!("seed {}, {} minutes", plan.seed, plan.minutes);
    let mut soak = Soak::start(plan).await?;
    let end = Instant::now() + Duration::from_secs(60 * plan.minutes);
    let mut readings = Vec::new();
    let mut round = 0;
    while Instant::now() < end {
        round += 1;
        for _ in 0..FAULTS {
            soak.fault().await?;
        }
        let told = soak.check(round).await?;
        let gauges = Gauges::read();
        let (done, failed) = soak.load.counts();
        println!("round {round}: {told}; {done} steps so far, {failed} failed; {gauges}");
        readings.push(gauges);
    }
    let grown = grown(&readings);
    if grown.is_empty() {
        Ok(())
    } else {
        Err(grown.join(", "))
    }
}

/// Everything at work.
struct Soak {
    begun: Instant,
    seed: u64,
    random: Rng,
    rig: Proxied,
    /// Each is one member, reached directly.
    members: Vec<EtcdStore>,
    truth: Truth,
    recorder: Recorder,
    load: Load,
    replicas: Vec<Replica>,
    sessions: Vec<Kept>,
    base: Base,
    /// How many clients have written past all faults.
    unseen: u64,
}

impl Soak {
    async fn start(plan: &Plan) -> Result<Self, String> {
        let rig = block_in_place(|| Proxied::start(3));
        let mut members = Vec::new();
        for endpoint in rig.cluster.endpoints() {
            members.push(connect(&rig, vec![endpoint]).await?);
        }
        let mut stores = Vec::new();
        for first in 0..rig.proxies.len() {
            let mut endpoints = rig.endpoints();
            endpoints.rotate_left(first);
            stores.push(connect(&rig, endpoints).await?);
        }
        let status = members[0]
            .status()
            .await
            .map_err(|error| error.to_string())?;
        let version = status.version.trim_start_matches("etcd ");
        println!("{} with proxies at {:?}", status.version, rig.endpoints());
        // They excuse nothing: what they could do, the backend has to answer.
        print!("{}", in_words(version));
        let base = Base::default();
        let recorder = Recorder::new();
        let replica = |name, store, range| Replica::start(name, store, &recorder, range);
        let replicas = vec![
            replica("everything", &stores[0], KeyRange::all()),
            replica("a", &stores[1], KeyRange::prefix("a/")),
            replica("b", &stores[2], KeyRange::prefix("b/")),
            replica("everything too", &stores[1], KeyRange::all()),
        ];
        let mut sessions = Vec::new();
        for (number, store) in stores.iter().enumerate() {
            let kept = Kept::open(number, store, &recorder).await;
            sessions.push(kept.map_err(|error| format!("cannot open a session: {error}"))?);
        }
        Ok(Self {
            begun: Instant::now(),
            seed: plan.seed,
            random: Rng::with_seed(plan.seed),
            truth: Truth::start(members.clone(), base.revision),
            load: Load::start(&stores, &recorder, plan.seed),
            replicas,
            sessions,
            recorder,
            members,
            rig,
            base,
            unseen: 0,
        })
    }

    /// Lets something go wrong, and come right again, within one slot.
    async fn fault(&mut self) -> Result<(), String> {
        let slot = Instant::now() + SLOT;
        let fault = Fault::random(&mut self.random, self.rig.proxies.len());
        let length = Duration::from_millis(self.random.u64(2_000..9_000));
        println!(
            "  {:>6.1} s: {fault}, for {:.1} s",
            self.begun.elapsed().as_secs_f64(),
            length.as_secs_f64()
        );
        block_in_place(|| fault.begin(&mut self.rig));
        if matches!(fault, Fault::LoseHistory) {
            self.lose_history().await?;
        }
        sleep(length).await;
        block_in_place(|| fault.end(&mut self.rig));
        sleep(slot.saturating_duration_since(Instant::now())).await;
        Ok(())
    }

    /// While nobody else reaches the store: writes, and compacts what was written.
    async fn lose_history(&mut self) -> Result<(), String> {
        self.unseen += 1;
        let store = self.recorder.client(self.members[0].clone());
        let mut traffic = Traffic::new(store, 1_000 + self.unseen, self.seed);
        for _ in 0..UNSEEN {
            // What is refused or lost is recorded as that.
            drop(traffic.step().await);
        }
        let present = self.present().await?;
        self.truth.wait_for(present).await;
        let compacted = self.members[0].compact(present).await;
        compacted.map_err(|error| format!("cannot compact to {present}: {error}"))?;
        for replica in &mut self.replicas {
            replica.losses += usize::from(replica.reached() < present);
        }
        Ok(())
    }

    /// The present revision, from the first member that tells.
    async fn present(&self) -> Result<Revision, String> {
        let mut last = String::new();
        for member in &self.members {
            let options = ListOptions::default().count_only();
            match member.list_opts(&KeyRange::all(), options).await {
                Ok(listing) => return Ok(listing.revision),
                Err(error) => last = error.to_string(),
            }
        }
        Err(format!("no member tells its revision: {last}"))
    }

    /// Changes a key of each range, so that every follower has something to wait for: a server that
    /// is older than 3.4.25 tells no progress that can be trusted.
    async fn mark(&self) -> Result<Revision, String> {
        let store = self.recorder.client(self.members[0].clone());
        let txn = Txn::new()
            .then(Op::put("a/mark", ""))
            .then(Op::put("b/mark", ""));
        let reply = store.commit(txn).await;
        let reply = reply.map_err(|error| format!("cannot write in the calm: {error}"))?;
        Ok(reply.revision)
    }

    /// Waits until all is calm, takes what was recorded, and checks it.
    async fn check(&mut self, round: usize) -> Result<String, String> {
        let still = timeout(CALM, self.load.hold_still()).await;
        let _still = still.map_err(|_| "clients do not come to an end".to_owned())?;
        let mut behind = Vec::new();
        let calm = tokio::time::Instant::now() + CALM;
        for kept in &self.sessions {
            let there = kept.is_there(&self.members[0]);
            if tokio::time::timeout_at(calm, there).await.is_err() {
                behind.push(format!("the session of \"{}\" did not come back", kept.key));
            }
        }
        let present = self.mark().await?;
        let wait = tokio::time::timeout_at(calm, self.truth.wait_for(present));
        if wait.await.is_err() {
            return Err(format!(
                "the members do not tell what happened up to {present}"
            ));
        }
        for replica in &self.replicas {
            let wait = tokio::time::timeout_at(calm, replica.wait_for(present));
            if wait.await.is_err() {
                let reached = replica.reached();
                behind.push(format!(
                    "{} is at {reached}, not at {present}",
                    replica.name
                ));
            }
        }
        let mut follows = Vec::new();
        for replica in &mut self.replicas {
            follows.push(replica.take(present).await);
        }
        let records = self.recorder.take();
        // Leases end by themselves, so that more can have happened since.
        let watched = records.watches.iter().map(WatchRecord::reached);
        let followed = follows.iter().filter_map(reached);
        let last = watched.chain(followed).fold(present, Revision::max);
        self.truth.wait_for(last).await;
        let mut history = History {
            base: self.base.clone(),
            truth: self.truth.take(last),
            calls: records.calls,
            watches: records.watches,
            follows,
        };
        history.base.pending.retain(|call| {
            let late = self.begun.elapsed().saturating_sub(call.begun.after);
            late < LATE
        });
        let checked = check(&history);
        if let (Ok(summary), true) = (&checked, behind.is_empty()) {
            self.base = summary.next.clone();
            return Ok(summary.to_string());
        }
        let path = save(&history, self.seed, round)?;
        let mut why = behind;
        if let Err(violations) = checked {
            let count = violations.len();
            why.extend(violations.iter().take(20).map(ToString::to_string));
            why.push(format!("{count} violations in round {round}"));
        }
        Err(format!(
            "{}\nthe history is in {}",
            why.join("\n"),
            path.display()
        ))
    }
}

async fn connect(rig: &Proxied, endpoints: Vec<String>) -> Result<EtcdStore, String> {
    let config = rig
        .config()
        .with_endpoints(endpoints)
        .with_dial_timeout(Duration::from_secs(2))
        .with_operation_timeout(Duration::from_secs(3));
    let store = EtcdStore::connect(&config).await;
    store.map_err(|error| format!("cannot connect: {error}"))
}

/// The last revision of a record.
fn reached(follow: &FollowRecord) -> Option<Revision> {
    let last = |item: &Delivery<FollowedUpdate>| match item {
        Delivery::Item(item) => Some(item.update.revision()),
        Delivery::Ended(_) => None,
    };
    follow.items.iter().filter_map(last).max()
}

fn save(history: &History, seed: u64, round: usize) -> Result<PathBuf, String> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/soak");
    let path = folder.join(format!("seed-{seed}-round-{round}.txt"));
    let saved = std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::File::create(&path))
        .and_then(|file| history.write_to(&mut std::io::BufWriter::new(file)));
    saved.map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    Ok(path)
}
