//! Whatever a network does at random, what is seen through it can be.

use std::iter::repeat_with;
use std::time::{Duration, Instant};

use fastrand::Rng;
use futures::StreamExt;
use futures::future::{join, join_all};
use keyval::testing::history::{Base, Followed, History, Recorder, Traffic, check};
use keyval::{
    BackoffPolicy, BrokerExt, Changes, FollowOptions, KeyRange, Maintenance, Memory, Revision,
    Store, WatchOptions, Watcher, follow,
};
use keyval_tests::proxy::Way;
use keyval_tests::replica::soon;
use keyval_tests::simulation::{Member, config, connect, seed, simulate, works_again};
use tokio::sync::watch;
use tokio::time::sleep;

/// For how long seeds are tried, by the clock on the wall.
const BUDGET: Duration = Duration::from_secs(20);
const CLIENTS: u64 = 2;

#[test]
fn whatever_the_network_does_every_history_is_true_and_every_copy_agrees() {
    let first = seed();
    let only = std::env::var("KEYVAL_SEED").is_ok();
    let begun = Instant::now();
    let mut tried = 0;
    while tried == 0 || (begun.elapsed() < BUDGET && !only) {
        let seed = first.wrapping_add(tried);
        simulate(seed, move |members| case(seed, members));
        tried += 1;
    }
    println!("{tried} seeds in {:?}", begun.elapsed());
}

/// Clients and followers at work while the network fails, and what they saw.
async fn case(seed: u64, members: [Member; 2]) {
    let mut random = Rng::with_seed(seed);
    let store = connect(&config(&members)).await;
    let data = members[0].data();
    let recorder = Recorder::new();
    let base = Base::default();
    let told = watch::Sender::new(None);
    let truth = tokio::spawn(truth(data.clone(), base.revision, told.subscribe()));
    let follows = [
        ("everything", KeyRange::all()),
        ("a", KeyRange::prefix("a/")),
    ]
    .map(|(name, range)| {
        let store = recorder.client(store.clone());
        tokio::spawn(followed(store, name, range, told.subscribe()))
    });
    let stop = watch::Sender::new(false);
    let clients = (0..CLIENTS).map(|number| {
        let traffic = Traffic::new(recorder.client(store.clone()), number, seed);
        tokio::spawn(client(traffic, stop.subscribe()))
    });
    let clients: Vec<_> = clients.collect();

    let faults: Vec<_> = repeat_with(|| random.fork()).take(members.len()).collect();
    let faults = members.iter().zip(faults);
    let faults = join_all(faults.map(|(member, random)| faults_of(member, random)));
    let (_, compactions) = join(faults, compactions(&data, random.fork())).await;
    works_again(&store).await;
    stop.send_replace(true);
    join_all(clients).await;

    // Where nobody sees anything else, so that all followers come to it.
    let last = recorder.client(data.clone()).put("a/last", "").await;
    let last = last.expect("no network lies before it");
    told.send_replace(Some(last));
    let mut ended = Vec::new();
    for follow in follows {
        let followed = soon("the end of what was written", follow).await;
        let mut followed = followed.expect("the follower goes on");
        ended.push(followed.take(0..=compactions, Some(last)));
    }
    for record in &ended {
        let copy = record.copy.as_ref().expect("there is a mirror");
        let listing = data.list(record.range.clone()).await;
        let entries = listing.expect("no network lies before it").collect().await;
        let entries = entries.expect("no network lies before it");
        assert_eq!(copy.entries, entries, "{record}");
    }
    let records = recorder.take();
    let history = History {
        base,
        truth: truth.await.expect("no network lies before it"),
        calls: records.calls,
        watches: records.watches,
        follows: ended,
    };
    if let Err(violations) = check(&history) {
        for violation in &violations {
            println!("{violation}");
        }
        panic!("{} violations", violations.len());
    }
    soon("the end", store.close()).await.expect("it is well");
}

/// A few faults of one member, one after the other.
async fn faults_of(member: &Member, mut random: Rng) {
    for _ in 0..random.usize(1..=3) {
        sleep(Duration::from_millis(random.u64(..800))).await;
        let during = Duration::from_millis(random.u64(..400) * random.u64(..5));
        match random.u8(..6) {
            0 => member.lose(Way::ToServer),
            1 => member.lose(Way::ToClient),
            2 => member.lose(Way::Both),
            3 => member.hold(),
            choice => {
                if choice == 4 {
                    // The answers are lost before the connection is.
                    member.lose(Way::ToClient);
                    sleep(Duration::from_millis(50)).await;
                    member.heal();
                }
                member.crash();
                sleep(during).await;
                member.start();
                continue;
            }
        }
        sleep(during).await;
        member.heal();
    }
}

/// Compacts now and then; returns how often.
async fn compactions(data: &Memory, mut random: Rng) -> usize {
    let many = random.usize(..3);
    for _ in 0..many {
        sleep(Duration::from_millis(random.u64(..1000))).await;
        let status = data.status().await.expect("no network lies before it");
        let present = status.revision.expect("it has one").get();
        // Not what the truth has had no time to read.
        let behind = random.u64(5..15);
        let to = Revision::new(present.saturating_sub(behind).max(1));
        // Refused if it has gone further already.
        drop(data.compact(to).await);
    }
    many
}

async fn client<S: Store>(mut traffic: Traffic<S>, stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        // What fails is recorded, and judged in the end.
        drop(traffic.step().await);
        sleep(Duration::from_millis(30)).await;
    }
}

/// All that happens after a revision until the one that it is told, with no network in between.
async fn truth(
    data: Memory,
    after: Revision,
    mut until: watch::Receiver<Option<Revision>>,
) -> Vec<Changes> {
    let options = WatchOptions::default()
        .starting_at(after.next())
        .with_previous();
    let watch = data.watch_opts(&KeyRange::all(), options).await;
    let mut watch = watch.expect("no network lies before it");
    let (mut truth, mut reached) = (Vec::<Changes>::new(), after);
    loop {
        let told = *until.borrow_and_update();
        if told.is_some_and(|told| reached >= told) {
            return truth;
        }
        tokio::select! {
            changes = watch.next() => {
                let changes = changes.expect("it goes on").expect("it is read all the time");
                reached = changes.revision;
                if !changes.is_progress() {
                    truth.push(changes);
                }
            }
            changed = until.changed() => changed.expect("it is told"),
        }
    }
}

/// Follows a range until it has come to the revision that it is told.
async fn followed<S: Store>(
    store: S,
    name: &'static str,
    range: KeyRange,
    mut until: watch::Receiver<Option<Revision>>,
) -> Followed {
    let backoff = BackoffPolicy::default().with_max(Duration::from_millis(250));
    let options = FollowOptions::default()
        .with_backoff(backoff)
        .with_silence(Duration::from_secs(3));
    let mut followed = Followed::new(name, range.clone());
    let mut updates = follow(store, range, options);
    loop {
        let told = *until.borrow_and_update();
        if told.is_some() && followed.reached() >= told {
            return followed;
        }
        tokio::select! {
            update = updates.next() => {
                let update = update.expect("it goes on").expect("it is configured well");
                followed.apply(update);
            }
            changed = until.changed() => changed.expect("it is told"),
        }
    }
}
