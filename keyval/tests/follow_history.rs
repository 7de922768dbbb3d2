//! Following a store whose history changes: it was wiped, restored, or lies.
#![allow(clippy::unwrap_used)]

mod follow_support;

use std::time::Duration;

use follow_support::*;
use keyval::{
    Broker, BrokerExt, Changes, Error, FollowOptions, Memory, Op, ResyncCause, Revision, Txn,
    Update,
};

const SECOND: Duration = Duration::from_secs(1);

/// Both ways to recognise a history: exactly, and by samples.
fn both() -> [FollowOptions; 2] {
    [options(), sampling()]
}

/// A lab whose store has come to revision 6, and a follower of it that has seen everything.
async fn seeded(options: FollowOptions) -> (Lab, keyval::Follow<Lab>) {
    let lab = Lab::new();
    seed(&lab.store(), &["a/1=one", "a/2=two"]).await;
    let mut updates = lab.follow_opts(options);
    start(&mut updates).await;
    for pair in ["a/3=three", "a/1=ONE", "a/4=four"] {
        seed(&lab.store(), &[pair]).await;
        next_changes(&mut updates).await;
    }
    (lab, updates)
}

/// What `seeded` does to a store.
const SEED: [&str; 5] = ["a/1=one", "a/2=two", "a/3=three", "a/1=ONE", "a/4=four"];

/// Puts these; `x` is a put elsewhere, `-key` a delete.
async fn seed(store: &Memory, pairs: &[&str]) {
    for pair in pairs {
        if let Some(key) = pair.strip_prefix('-') {
            store.delete(key).await.unwrap();
        } else if let Some((key, value)) = pair.split_once('=') {
            store.put(key, value.to_owned()).await.unwrap();
        } else {
            store.put(format!("b/{pair}"), "").await.unwrap();
        }
    }
}

async fn new_store(pairs: &[&str]) -> Memory {
    let store = Memory::new();
    seed(&store, pairs).await;
    store
}

/// One resync with this cause, then the watch goes on, and nothing else comes.
async fn resyncs_once(
    lab: &Lab,
    updates: &mut keyval::Follow<Lab>,
    cause: ResyncCause,
    expected: &[&str],
) {
    let snapshot = next_resync(updates).await;
    assert_eq!(snapshot.cause, cause);
    assert_eq!(snapshot.after, Some(Revision::new(6)));
    assert_eq!(keys(&snapshot), expected);
    let at = lab.store().put("a/9", "after").await.unwrap();
    assert_eq!(
        words(&next_changes(updates).await),
        [format!("+a/9=after@{at}")]
    );
    nothing_for(updates, 3_600 * SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn a_wiped_store_below_the_delivered_revision_is_found_out() {
    for options in both() {
        let (lab, mut updates) = seeded(options).await;
        lab.replace(new_store(&["a/1=one"]).await);
        resyncs_once(&lab, &mut updates, ResyncCause::HistoryChanged, &["a/1"]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_wiped_store_above_the_delivered_revision_is_found_out() {
    for options in both() {
        let (lab, mut updates) = seeded(options).await;
        let other = ["a/1=one", "a/2=two", "x", "y", "z", "a/3=three", "u"];
        lab.replace(new_store(&other).await);
        let keys = ["a/1", "a/2", "a/3"];
        resyncs_once(&lab, &mut updates, ResyncCause::HistoryChanged, &keys).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_wiped_store_at_the_very_revision_is_found_out() {
    for options in both() {
        let (lab, mut updates) = seeded(options).await;
        lab.replace(new_store(&["x", "y", "z", "u", "v"]).await);
        resyncs_once(&lab, &mut updates, ResyncCause::HistoryChanged, &[]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_range_in_an_empty_store_is_a_resync_too() {
    for options in both() {
        let (lab, mut updates) = seeded(options).await;
        lab.replace(Memory::new());
        resyncs_once(&lab, &mut updates, ResyncCause::HistoryChanged, &[]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_history_with_the_same_last_change_and_another_number_of_keys_is_found_out() {
    for options in both() {
        let (lab, mut updates) = seeded(options).await;
        let other = ["a/1=one", "x", "a/3=three", "a/1=ONE", "a/4=four", "y"];
        lab.replace(new_store(&other).await);
        let keys = ["a/1", "a/3", "a/4"];
        resyncs_once(&lab, &mut updates, ResyncCause::HistoryChanged, &keys).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_history_with_the_same_last_change_and_another_key_is_found_out() {
    for options in both() {
        let (lab, mut updates) = seeded(options).await;
        let other = [
            "a/1=one",
            "a/0=two",
            "a/3=three",
            "a/1=ONE",
            "a/4=four",
            "y",
        ];
        lab.replace(new_store(&other).await);
        let keys = ["a/0", "a/1", "a/3", "a/4"];
        resyncs_once(&lab, &mut updates, ResyncCause::HistoryChanged, &keys).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_history_with_one_other_value_is_found_out() {
    for options in both() {
        let (lab, mut updates) = seeded(options).await;
        let other = [
            "a/1=one",
            "a/2=TWO",
            "a/3=three",
            "a/1=ONE",
            "a/4=four",
            "y",
        ];
        lab.replace(new_store(&other).await);
        let keys = ["a/1", "a/2", "a/3", "a/4"];
        resyncs_once(&lab, &mut updates, ResyncCause::HistoryChanged, &keys).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_history_that_differs_in_a_later_change_only_goes_on_without_a_resync() {
    // What was delivered is what the new history has too: it does continue it.
    for options in both() {
        let (lab, mut updates) = seeded(options).await;
        let mut other = SEED.to_vec();
        other.push("a/5=five");
        lab.replace(new_store(&other).await);
        let changes = next_changes(&mut updates).await;
        assert_eq!(words(&changes), ["+a/5=five@7"]);
        assert_eq!(lab.count(Call::List), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_restored_backup_that_has_gone_on_differently_is_found_out() {
    // The range rested while its neighbour went on, so that the delivered revision is higher than
    // the last change. The backup was taken in between.
    for options in both() {
        let (lab, mut updates) = seeded(options).await;
        seed(&lab.store(), &["x"; 20]).await;
        let Update::Changes(progress) = next(&mut updates).await else {
            panic!("progress was expected");
        };
        assert_eq!(progress, Changes::progress(Revision::new(26)));

        // A change that keeps the number of keys, and is undone before the delivered revision.
        let mut restored = SEED.to_vec();
        restored.extend(["x", "a/2=lost", "x", "a/2=two"]);
        restored.extend(["x"; 30]);
        lab.replace(new_store(&restored).await);
        let snapshot = next_resync(&mut updates).await;
        assert_eq!(snapshot.cause, ResyncCause::HistoryChanged);
    }
}

#[tokio::test(start_paused = true)]
async fn a_replaced_key_that_is_no_witness_is_found_out_in_a_large_range() {
    let lab = Lab::new();
    let many: Vec<String> = (0..100).map(|n| format!("a/{n:03}=x")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    seed(&lab.store(), &many).await;
    let mut updates = lab.follow_opts(sampling());
    start(&mut updates).await;
    seed(&lab.store(), &["x"; 20]).await;
    next(&mut updates).await;

    let mut restored = many.clone();
    restored.extend(["x", "x", "a/005=lost", "x"]);
    restored.extend(["x"; 30]);
    lab.replace(new_store(&restored).await);
    // The count and the sixteen keys are the same at the delivered revision; the watch that is
    // opened further back brings what should not be there.
    let snapshot = next_resync(&mut updates).await;
    assert_eq!(snapshot.cause, ResyncCause::HistoryChanged);
    assert_eq!(snapshot.entries[5].value, "lost");
}

#[tokio::test(start_paused = true)]
async fn a_range_that_grows_large_is_still_recognised() {
    let lab = Lab::new();
    let mut updates = lab.follow_opts(options().with_exact_keys(3));
    start(&mut updates).await;
    for n in 0..40 {
        lab.store().put(format!("a/{n}"), "x").await.unwrap();
        next_changes(&mut updates).await;
        lab.cut();
        if n % 3 == 2 {
            lab.store().delete(format!("a/{}", n - 2)).await.unwrap();
            next_changes(&mut updates).await;
        }
    }
    assert_eq!(lab.count(Call::List), 1, "no resync but the first");
    assert!(lab.count(Call::Commit) > 0 && lab.count(Call::Past) > 0);

    lab.replace(Memory::new());
    assert_eq!(
        next_resync(&mut updates).await.cause,
        ResyncCause::HistoryChanged
    );
}

#[tokio::test(start_paused = true)]
async fn whole_transactions_and_large_values_are_recognised() {
    for options in both() {
        let lab = Lab::new();
        let mut updates = lab.follow_opts(options);
        start(&mut updates).await;
        let large = vec![b'x'; 100_000];
        let mut txn = Txn::new();
        for n in 0..50 {
            txn = txn.then(Op::put(format!("a/{n}"), "x"));
        }
        txn = txn.then(Op::put("a/large", large));
        lab.store().commit(txn).await.unwrap();
        assert_eq!(next_changes(&mut updates).await.changes.len(), 51);
        lab.store().delete_prefix("a/1").await.unwrap();
        assert_eq!(next_changes(&mut updates).await.changes.len(), 11);
        for n in 0..3 {
            lab.cut();
            lab.store().put("a/1", n.to_string()).await.unwrap();
            next_changes(&mut updates).await;
        }
        assert_eq!(lab.count(Call::List), 1, "no resync but the first");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_goes_backwards_is_found_out() {
    for options in both() {
        let (lab, mut updates) = seeded(options).await;
        lab.inject(Changes::progress(Revision::new(6)));
        lab.inject(Changes::progress(Revision::new(3)));
        let keys = ["a/1", "a/2", "a/3", "a/4"];
        resyncs_once(&lab, &mut updates, ResyncCause::HistoryChanged, &keys).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_known_revision_with_other_changes_is_found_out() {
    for options in both() {
        let (lab, mut updates) = seeded(options).await;
        lab.store().put("a/5", "five").await.unwrap();
        let mut changes = next_changes(&mut updates).await;
        changes.changes.clear();
        changes.changes.push(keyval::Change::Delete {
            key: "a/4".into(),
            prev: None,
        });
        lab.inject(changes);
        let snapshot = next_resync(&mut updates).await;
        assert_eq!(snapshot.cause, ResyncCause::HistoryChanged);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wipe_that_a_proxy_hides_is_found_out_in_time() {
    for options in both() {
        let (lab, mut updates) = seeded(options.with_verify_every(600 * SECOND)).await;
        let other = ["a/1=one", "x", "y", "z", "u", "v", "w"];
        lab.replace_behind_a_proxy(new_store(&other).await);
        let wait = async {
            loop {
                if let Update::Resync(snapshot) = next(&mut updates).await {
                    break snapshot;
                }
            }
        };
        let snapshot = tokio::time::timeout(700 * SECOND, wait).await.unwrap();
        assert_eq!(snapshot.cause, ResyncCause::HistoryChanged);
        assert_eq!(keys(&snapshot), ["a/1"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_check_from_time_to_time_disturbs_nothing() {
    let (lab, mut updates) = seeded(options().with_verify_every(60 * SECOND)).await;
    let checks = lab.count(Call::Past);
    for n in 0..100 {
        nothing_for(&mut updates, 30 * SECOND).await;
        let at = lab.store().put("a/1", n.to_string()).await.unwrap();
        assert_eq!(next_changes(&mut updates).await.revision, at);
    }
    let checks = lab.count(Call::Past) - checks;
    assert!((40..60).contains(&checks), "{checks}");
    assert_eq!((lab.count(Call::List), lab.count(Call::Watch)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_contradicts_itself_for_ever_is_not_a_hot_loop() {
    let lab = Lab::new();
    lab.fail_always(Call::Past, || Error::FutureRevision {
        requested: Revision::new(2),
        current: None,
    });
    let mut updates = lab.follow();
    let run = async {
        loop {
            next(&mut updates).await;
        }
    };
    assert!(tokio::time::timeout(100 * SECOND, run).await.is_err());
    let lists = lab.count(Call::List);
    assert!((10..100).contains(&lists), "{lists}");
}
