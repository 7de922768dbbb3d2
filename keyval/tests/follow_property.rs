//! Whatever goes wrong in whatever order: nothing is lost, nothing is repeated, and the copy ends as
//! the store does.
#![allow(clippy::unwrap_used)]

mod follow_support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use follow_support::*;
use futures::StreamExt;
use keyval::{
    Broker, BrokerExt, Change, Changes, DeleteOptions, Entry, FollowOptions, Key, KeyRange,
    Maintenance, Memory, Mirror, Op, ResyncCause, Revision, Txn, Update, mirror,
};
use parking_lot::Mutex;
use proptest::prelude::*;

/// One thing that is done to the store, or to the way there.
#[derive(Clone, Debug)]
enum Step {
    Put(u8, u8),
    Delete(u8),
    Elsewhere(u8),
    /// Puts two keys and deletes a third, at one revision.
    Txn(u8),
    DeleteAll,
    Compact,
    Cut,
    End,
    Down,
    DownAndCompacted,
    Up,
    Mute,
    Unmute,
    FailNext(Call),
    BreakList(usize),
    /// The last delivered revision comes once more.
    Repeat,
    Sleep(u64),
    /// Another store stands in the place of this one, after these steps of its own.
    Replace(Vec<Step>),
}

fn write() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u8..6, any::<u8>()).prop_map(|(key, value)| Step::Put(key, value)),
        3 => (0u8..6).prop_map(Step::Delete),
        2 => (1u8..10).prop_map(Step::Elsewhere),
        1 => (0u8..6).prop_map(Step::Txn),
        1 => Just(Step::DeleteAll),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => write(),
        4 => (1u64..40_000).prop_map(Step::Sleep),
        2 => Just(Step::Compact),
        2 => Just(Step::Cut),
        1 => Just(Step::End),
        1 => Just(Step::Down),
        1 => Just(Step::DownAndCompacted),
        3 => Just(Step::Up),
        1 => Just(Step::Mute),
        3 => Just(Step::Unmute),
        1 => prop_oneof![
            Just(Call::List), Just(Call::Past), Just(Call::Commit), Just(Call::Watch)
        ].prop_map(Step::FailNext),
        1 => (0usize..4).prop_map(Step::BreakList),
        1 => Just(Step::Repeat),
        1 => prop::collection::vec(write(), 0..30).prop_map(Step::Replace),
    ]
}

/// What each revision did to the range, in one life of the store.
type History = BTreeMap<Revision, Vec<String>>;

/// What reached the consumer, and the changes that the copy made of it.
#[derive(Default)]
struct Seen {
    updates: Vec<Update>,
    implied: Vec<Changes<Arc<keyval::Bytes>>>,
}

#[derive(Clone)]
struct Scene {
    lab: Lab,
    histories: Arc<Mutex<Vec<History>>>,
    seen: Arc<Mutex<Seen>>,
}

impl Scene {
    async fn perform(&self, steps: &[Step]) {
        for step in steps {
            match step {
                Step::Replace(seed) => {
                    let store = Memory::new();
                    self.histories.lock().push(History::new());
                    for step in seed {
                        self.write(&store, step).await;
                    }
                    self.lab.replace(store);
                }
                Step::Compact => {
                    let store = self.lab.store();
                    let present = store.status().await.unwrap().revision.unwrap();
                    // Refused where it was done before, which is as well.
                    let _ = store.compact(present).await;
                }
                Step::Cut => self.lab.cut(),
                Step::End => self.lab.end(),
                Step::Down => self.lab.down(unavailable),
                Step::DownAndCompacted => {
                    self.lab.down(unavailable);
                    self.lab.fail_watches(compacted);
                }
                Step::Up => self.lab.up(),
                Step::Mute => self.lab.mute(true),
                Step::Unmute => self.lab.mute(false),
                Step::FailNext(call) => self.lab.fail_next(*call, unavailable),
                Step::BreakList(after) => self.lab.break_list_after(*after),
                Step::Repeat => {
                    let last = self.seen.lock().updates.last().cloned();
                    if let Some(Update::Changes(changes)) = last {
                        self.lab.inject(changes);
                    }
                }
                Step::Sleep(millis) => tokio::time::sleep(Duration::from_millis(*millis)).await,
                step => self.write(&self.lab.store(), step).await,
            }
        }
    }

    async fn write(&self, store: &Memory, step: &Step) {
        let key = |n: u8| Key::from(format!("a/{}", n % 6));
        let mut words = Vec::new();
        let revision = match step {
            Step::Put(n, value) => {
                let at = store.put(key(*n), vec![*value]).await.unwrap();
                words.push(format!("+{}={}@{at}", key(*n), [*value].escape_ascii()));
                at
            }
            Step::Delete(n) => {
                let range = KeyRange::key(key(*n));
                let reply = store.delete_opts(&range, DeleteOptions::default());
                let reply = reply.await.unwrap();
                if reply.deleted > 0 {
                    words.push(format!("-{}@{}", key(*n), reply.revision));
                }
                reply.revision
            }
            Step::DeleteAll => {
                let options = DeleteOptions::default().with_previous();
                let reply = store.delete_opts(&range(), options).await.unwrap();
                let gone = reply.prev.iter();
                words.extend(gone.map(|entry| format!("-{}@{}", entry.key, reply.revision)));
                reply.revision
            }
            Step::Elsewhere(times) => {
                for _ in 0..*times {
                    store.put("b/1", "x").await.unwrap();
                }
                return;
            }
            Step::Txn(n) => {
                let gone = store.get(key(n + 2)).await.unwrap().is_some();
                let txn = Txn::new()
                    .then(Op::put(key(*n), "t"))
                    .then(Op::put(key(n + 1), "u"))
                    .then(Op::delete(key(n + 2)));
                let at = store.commit(txn).await.unwrap().revision;
                words.push(format!("+{}=t@{at}", key(*n)));
                words.push(format!("+{}=u@{at}", key(n + 1)));
                if gone {
                    words.push(format!("-{}@{at}", key(n + 2)));
                }
                words.sort_by(|a, b| a[1..].cmp(&b[1..]));
                at
            }
            other => unreachable!("{other:?} is no write"),
        };
        if !words.is_empty() {
            let mut histories = self.histories.lock();
            histories.last_mut().unwrap().insert(revision, words);
        }
    }

    async fn picture(&self) -> Vec<Entry> {
        let listing = self.lab.store().list(range()).await.unwrap();
        listing.collect().await.unwrap()
    }

    /// Waits until the copy is as the store is, also in its revision.
    async fn converge(&self, copy: &Mirror<keyval::Bytes>) {
        let present = self.lab.store().status().await.unwrap().revision.unwrap();
        let expected = self.picture().await;
        for _ in 0..3_000 {
            let snapshot = copy.snapshot();
            let entries: Vec<Entry> = snapshot
                .iter()
                .map(|entry| entry.clone().map(|value| (*value).clone()))
                .collect();
            if entries == expected && snapshot.revision() == present {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        panic!("the copy is {:?}, and not {expected:?}", copy.snapshot());
    }

    /// Nothing between two updates is left out, nothing comes twice.
    fn check_updates(&self) {
        let histories = self.histories.lock();
        let mut last: Option<Revision> = None;
        for update in &self.seen.lock().updates {
            match update {
                Update::Resync(snapshot) => {
                    assert_eq!(snapshot.after, last, "the gap is named");
                    if last.is_some_and(|last| snapshot.revision < last) {
                        assert_eq!(snapshot.cause, ResyncCause::HistoryChanged);
                    }
                }
                Update::Changes(changes) => {
                    let last = last.expect("a resync comes first");
                    assert!(changes.revision > last, "{changes:?} after {last}");
                    let expected = |history: &History| {
                        let between = history.range(last.next()..=changes.revision);
                        between.map(|(_, words)| words.clone()).collect::<Vec<_>>()
                    };
                    let told = if changes.is_progress() {
                        vec![]
                    } else {
                        vec![words(changes)]
                    };
                    assert!(
                        histories.iter().any(|history| expected(history) == told),
                        "{changes:?} after {last}: {histories:?}"
                    );
                }
            }
            last = Some(update.revision());
        }
    }

    /// The changes that the copy told, one after the other, are the way to what it is.
    async fn check_implied(&self) {
        let mut replayed: BTreeMap<Key, Entry<Arc<keyval::Bytes>>> = BTreeMap::new();
        for changes in &self.seen.lock().implied {
            for change in &changes.changes {
                let before = match change {
                    Change::Put { entry, .. } => replayed.insert(entry.key.clone(), entry.clone()),
                    Change::Delete { key, .. } => replayed.remove(key),
                };
                assert_eq!(before.as_ref(), change.prev());
                assert_ne!(before.as_ref(), change.entry(), "nothing changed");
            }
        }
        let replayed: Vec<Entry> = replayed
            .into_values()
            .map(|entry| entry.map(|value| (*value).clone()))
            .collect();
        assert_eq!(replayed, self.picture().await);
    }
}

async fn play(steps: Vec<Step>, options: FollowOptions, slow: Duration) {
    let scene = Scene {
        lab: Lab::new(),
        histories: Arc::new(Mutex::new(vec![History::new()])),
        seen: Arc::default(),
    };
    let (copy, mut writer) = mirror();
    let mut updates = scene.lab.follow_opts(options);
    let seen = scene.seen.clone();
    let consumer = tokio::spawn(async move {
        while let Some(Ok(update)) = updates.next().await {
            let implied = writer.apply(update.clone());
            {
                let mut seen = seen.lock();
                seen.updates.push(update);
                seen.implied.push(implied);
            }
            tokio::time::sleep(slow).await;
        }
    });
    scene.perform(&steps).await;
    scene.perform(&[Step::Up, Step::Unmute]).await;
    scene.converge(&copy).await;
    // Once more, on what is left of everything.
    scene
        .perform(&[Step::Put(0, 1), Step::Cut, Step::Put(1, 1)])
        .await;
    scene.converge(&copy).await;
    assert_eq!(scene.lab.open_watches(), 1);
    consumer.abort();
    let _ = consumer.await;
    assert_eq!(scene.lab.open_watches(), 0);
    scene.check_updates();
    scene.check_implied().await;
}

fn run(steps: Vec<Step>, options: FollowOptions, slow: Duration) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(play(steps, options, slow));
}

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 192,
        failure_persistence: None,
        max_shrink_iters: 4_000,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn whatever_goes_wrong_nothing_is_lost_where_the_history_is_compared_exactly(
        steps in prop::collection::vec(any_step(), 0..80),
        slow in prop_oneof![Just(0), 1u64..20_000],
    ) {
        run(steps, options(), Duration::from_millis(slow));
    }

    #[test]
    fn whatever_goes_wrong_nothing_is_lost_where_the_history_is_sampled(
        steps in prop::collection::vec(any_step(), 0..80),
        slow in prop_oneof![Just(0), 1u64..20_000],
    ) {
        run(steps, sampling(), Duration::from_millis(slow));
    }

    #[test]
    fn whatever_goes_wrong_nothing_is_lost_where_the_range_outgrows_its_limit(
        steps in prop::collection::vec(any_step(), 0..80),
    ) {
        run(steps, options().with_exact_keys(2), Duration::ZERO);
    }
}
