//! What the history checker must reject: good histories with one thing spoilt, each by its rule.

#![cfg(feature = "testing")]
#![allow(clippy::unwrap_used)] // In helpers too, which are not seen as tests.

mod history_support;

use std::collections::BTreeSet;

use fastrand::Rng;
use history_support::good;
use keyval::testing::history::{
    Answer, Call, Delivery, FollowedUpdate, History, Moment, Reply, Request, Rule, WatchRecord,
    check,
};
use keyval::{
    Bytes, Change, Changes, Entry, Key, KeyRange, OpReply, PutOptions, PutReply, ResyncCause,
    Revision, Update,
};

/// Spoils good histories, and wants each rejected by the first of these rules, and by no other than
/// these.
async fn rejected_by(rules: &[Rule], spoil: impl Fn(&mut History, &mut Rng)) {
    for seed in 0..12 {
        let mut history = good(seed).await;
        assert!(check(&history).is_ok(), "seed {seed}");
        spoil(&mut history, &mut Rng::with_seed(seed));
        let Err(violations) = check(&history) else {
            panic!("seed {seed}: the spoilt history passes");
        };
        let broken: BTreeSet<Rule> = violations.iter().map(|violation| violation.rule).collect();
        assert!(broken.contains(&rules[0]), "seed {seed}: {violations:#?}");
        assert!(
            broken.iter().all(|rule| rules.contains(rule)),
            "seed {seed}: {violations:#?}"
        );
    }
}

/// Where the items are that satisfy this.
fn places<T>(items: &[T], wanted: impl Fn(&T) -> bool) -> Vec<usize> {
    let all = items.iter().enumerate();
    let found: Vec<usize> = all
        .filter(|(_, item)| wanted(item))
        .map(|(at, _)| at)
        .collect();
    assert!(!found.is_empty(), "the history has nothing of this kind");
    found
}

/// One of the items that satisfy this.
fn pick<T>(random: &mut Rng, items: &[T], wanted: impl Fn(&T) -> bool) -> usize {
    *random.choice(&places(items, wanted)).unwrap()
}

/// The watch of everything, which began first.
fn watch(history: &mut History) -> &mut WatchRecord {
    let all = |watch: &&mut WatchRecord| watch.range == KeyRange::all();
    history.watches.iter_mut().find(all).unwrap()
}

/// The watch of `a/`, which began in the past.
fn late_watch(history: &mut History) -> &mut WatchRecord {
    let late = |watch: &&mut WatchRecord| watch.from.is_some();
    history.watches.iter_mut().find(late).unwrap()
}

fn is_event(item: &Delivery<Changes>) -> bool {
    matches!(item, Delivery::Item(changes) if !changes.is_progress())
}

fn is_event_of(item: &Delivery<Changes>, many: usize) -> bool {
    matches!(item, Delivery::Item(changes) if changes.changes.len() >= many)
}

fn changes(item: &mut Delivery<Changes>) -> &mut Changes {
    match item {
        Delivery::Item(changes) => changes,
        Delivery::Ended(_) => panic!("no changes"),
    }
}

/// An event between two others, so that each has a neighbour.
fn inner_event(watch: &WatchRecord, random: &mut Rng) -> usize {
    let events = places(&watch.items, is_event);
    *random.choice(&events[1..events.len() - 1]).unwrap()
}

fn written(call: &Call) -> bool {
    call.reply().is_some_and(|reply| reply.wrote_at().is_some())
}

fn is_plain_put(call: &Call) -> bool {
    matches!(&call.request, Request::Put(_, _, options) if *options == PutOptions::default())
        && written(call)
}

fn moment(order: u64) -> Moment {
    Moment {
        order,
        ..Moment::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_delivery() {
    rejected_by(&[Rule::Unique], |history, random| {
        let watch = watch(history);
        let at = pick(random, &watch.items, is_event);
        watch.items.insert(at, watch.items[at].clone());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_gap() {
    rejected_by(&[Rule::Reliable], |history, random| {
        let watch = watch(history);
        let at = inner_event(watch, random);
        watch.items.remove(at);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_end_that_never_came() {
    rejected_by(&[Rule::Reliable], |history, _| {
        let watch = watch(history);
        let last = *places(&watch.items, is_event).last().unwrap();
        watch.items.truncate(last);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn swapped_events() {
    rejected_by(&[Rule::Ordered, Rule::Reliable], |history, random| {
        let watch = watch(history);
        let events = places(&watch.items, is_event);
        let at = random.usize(1..events.len() - 1);
        watch.items.swap(events[at], events[at + 1]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_event_from_before_the_start_that_was_asked_for() {
    rejected_by(&[Rule::Resumable], |history, _| {
        let early = history.truth[0].clone();
        let watch = late_watch(history);
        let from = early.revision.next().next();
        watch.from = Some(from);
        watch.after = from.previous();
        watch.items.retain(|item| match item {
            Delivery::Item(changes) => changes.revision >= from,
            Delivery::Ended(_) => true,
        });
        watch.range = KeyRange::all();
        watch.items.truncate(0);
        watch.until = None;
        watch.items.push(Delivery::Item(early));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_first_event_that_is_not_the_first() {
    rejected_by(&[Rule::Resumable], |history, _| {
        let watch = late_watch(history);
        let first = places(&watch.items, is_event)[0];
        watch.items.remove(first);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn time_travel() {
    rejected_by(&[Rule::Ordered], |history, random| {
        let watch = watch(history);
        let at = inner_event(watch, random);
        let mut old = changes(&mut watch.items[at]).clone();
        // As of a member that lags behind: with a revision that had no event.
        old.revision = Revision::new(1);
        watch.items.insert(at + 1, Delivery::Item(old));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_revision_in_two_parts() {
    rejected_by(&[Rule::Atomic], |history, random| {
        let watch = watch(history);
        let at = pick(random, &watch.items, |item| is_event_of(item, 2));
        let whole = changes(&mut watch.items[at]);
        let rest = Changes {
            revision: whole.revision,
            changes: whole.changes.split_off(1),
        };
        watch.items.insert(at + 1, Delivery::Item(rest));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_delete_lost_from_its_revision() {
    rejected_by(&[Rule::Atomic], |history, random| {
        let watch = watch(history);
        let at = pick(random, &watch.items, |item| {
            is_event_of(item, 2)
                && matches!(item, Delivery::Item(changes)
                    if changes.changes.iter().any(|change| change.entry().is_none()))
        });
        let whole = &mut changes(&mut watch.items[at]).changes;
        let delete = pick(random, whole, |change| change.entry().is_none());
        whole.remove(delete);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_event_outside_of_the_range() {
    rejected_by(&[Rule::Filter], |history, random| {
        let truth = history.truth.clone();
        let watch = late_watch(history);
        let begin = watch.after;
        let outside = |changes: &Changes| {
            let keys = changes.changes.iter().map(Change::key);
            changes.revision > begin && keys.clone().all(|key| key.as_bytes()[0] == b'b')
        };
        let stray = truth[pick(random, &truth, outside)].clone();
        let behind = |item: &Delivery<Changes>| matches!(item, Delivery::Item(changes) if changes.revision > stray.revision);
        let at = watch.items.iter().position(behind);
        watch.items.insert(at.unwrap_or(watch.items.len()), Delivery::Item(stray));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_wrong_previous_entry() {
    rejected_by(&[Rule::PrevKv], |history, random| {
        let watch = watch(history);
        let has_prev = |item: &Delivery<Changes>| matches!(item, Delivery::Item(changes) if changes.changes.first().is_some_and(|change| change.prev().is_some()));
        let at = pick(random, &watch.items, has_prev);
        let first = &mut changes(&mut watch.items[at]).changes[0];
        let (Change::Put { prev, .. } | Change::Delete { prev, .. }) = first;
        prev.as_mut().unwrap().value = Bytes::from_static(b"another");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_wrong_sign_of_creation() {
    rejected_by(&[Rule::IsCreate], |history, random| {
        let watch = watch(history);
        let is_put = |item: &Delivery<Changes>| matches!(item, Delivery::Item(changes) if changes.changes.first().is_some_and(|change| change.entry().is_some()));
        let at = pick(random, &watch.items, is_put);
        if let Change::Put { entry, .. } = &mut changes(&mut watch.items[at]).changes[0] {
            entry.version += 1;
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn another_value_than_was_put() {
    rejected_by(&[Rule::Reliable], |history, random| {
        let watch = watch(history);
        let is_put = |item: &Delivery<Changes>| matches!(item, Delivery::Item(changes) if changes.changes.first().is_some_and(|change| change.entry().is_some()));
        let at = pick(random, &watch.items, is_put);
        if let Change::Put { entry, .. } = &mut changes(&mut watch.items[at]).changes[0] {
            entry.value = Bytes::from_static(b"another");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn progress_beyond_what_was_delivered() {
    rejected_by(&[Rule::Bookmarkable], |history, random| {
        let watch = watch(history);
        let at = inner_event(watch, random);
        let revision = changes(&mut watch.items[at]).revision;
        watch
            .items
            .insert(at, Delivery::Item(Changes::progress(revision)));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn progress_that_goes_back() {
    rejected_by(&[Rule::Bookmarkable], |history, random| {
        let watch = watch(history);
        let at = inner_event(watch, random);
        let back = changes(&mut watch.items[at]).revision.previous();
        watch
            .items
            .insert(at + 1, Delivery::Item(Changes::progress(back)));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_event_after_the_end() {
    rejected_by(&[Rule::AfterEnd], |history, random| {
        let watch = watch(history);
        let at = inner_event(watch, random);
        watch
            .items
            .insert(at, Delivery::Ended("the connection broke".to_owned()));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_stale_read() {
    rejected_by(&[Rule::Stale], |history, random| {
        let mut old: Vec<(usize, Option<Entry>)> = Vec::new();
        for (at, call) in history.calls.iter().enumerate() {
            let (Request::Get(key, options), Some(Reply::Get(Some(entry)))) =
                (&call.request, call.reply())
            else {
                continue;
            };
            // What stood there before the last change, as of the truth.
            let changes = history.truth.iter().flat_map(|changes| &changes.changes);
            let change = changes
                .clone()
                .find(|change| change.key() == key && change.entry() == Some(entry));
            if options.at.is_none()
                && let Some(change) = change
            {
                old.push((at, change.prev().cloned()));
            }
        }
        let (at, entry) = random.choice(old).unwrap();
        history.calls[at].answer = Answer::Done(Reply::Get(entry));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_read_of_what_never_was() {
    rejected_by(&[Rule::Read], |history, random| {
        let hit = |call: &Call| matches!(call.reply(), Some(Reply::Get(Some(_))));
        let at = pick(random, &history.calls, hit);
        if let Answer::Done(Reply::Get(Some(entry))) = &mut history.calls[at].answer {
            entry.value = Bytes::from_static(b"never");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_list_without_one_of_its_entries() {
    rejected_by(&[Rule::Read], |history, random| {
        let found = |call: &Call| matches!(call.reply(), Some(Reply::List(listed)) if listed.whole && !listed.entries.is_empty());
        let at = pick(random, &history.calls, found);
        if let Answer::Done(Reply::List(listed)) = &mut history.calls[at].answer {
            listed.entries.remove(0);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_list_of_a_revision_that_had_passed() {
    rejected_by(&[Rule::Stale, Rule::Read], |history, random| {
        let found = |call: &Call| matches!(call.reply(), Some(Reply::List(listed)) if listed.revision > Revision::new(3));
        let at = pick(random, &history.calls, found);
        let last = history.calls.iter().map(|call| call.ended.order).max();
        if let Answer::Done(Reply::List(listed)) = &mut history.calls[at].answer {
            listed.revision = Revision::new(1);
            listed.entries.clear();
            listed.count = listed.count.map(|_| 0);
        }
        history.calls[at].begun = moment(last.unwrap() + 1);
        history.calls[at].ended = moment(last.unwrap() + 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_write_in_the_past() {
    // A read that saw the write cannot have been right either.
    rejected_by(&[Rule::RealTime, Rule::Read], |history, random| {
        let last = history
            .calls
            .iter()
            .map(|call| call.ended.order)
            .max()
            .unwrap();
        let half = history.calls.len() / 2;
        let at = pick(random, &history.calls[..half], written);
        history.calls[at].begun = moment(last + 1);
        history.calls[at].ended = moment(last + 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_acknowledged_write_that_is_missing() {
    rejected_by(&[Rule::Lost], |history, _| {
        let last = history
            .calls
            .iter()
            .map(|call| call.ended.order)
            .max()
            .unwrap();
        let end = history.truth.last().unwrap().revision;
        history.calls.push(Call {
            client: 99,
            begun: moment(last + 1),
            ended: moment(last + 2),
            request: Request::Put(Key::from("a/9"), Bytes::new(), PutOptions::default()),
            answer: Answer::Done(Reply::Put(PutReply {
                revision: end.next(),
                written: true,
                prev: None,
                lease: None,
            })),
        });
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_acknowledged_write_in_whose_place_something_else_happened() {
    rejected_by(&[Rule::Lost], |history, random| {
        let at = pick(random, &history.calls, is_plain_put);
        if let Request::Put(_, value, _) = &mut history.calls[at].request {
            *value = Bytes::from_static(b"another");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn two_writes_at_one_revision() {
    rejected_by(&[Rule::Distinct], |history, random| {
        let at = pick(random, &history.calls, is_plain_put);
        let again = history.calls[at].clone();
        history.calls.push(again);
    })
    .await;
}

/// Lets the last plain put that was done be done again at the end of the truth.
fn repeat_a_put(history: &mut History, random: &mut Rng) -> usize {
    let at = pick(random, &history.calls, is_plain_put);
    let Request::Put(key, value, _) = &history.calls[at].request else {
        unreachable!("it is a put");
    };
    let revision = history.truth.last().unwrap().revision.next();
    let of_key = history.truth.iter().flat_map(|changes| &changes.changes);
    let before = of_key.filter(|change| change.key() == key).last();
    let prev = before.and_then(Change::entry).cloned();
    let entry = Entry {
        key: key.clone(),
        value: value.clone(),
        created: prev.as_ref().map_or(revision, |prev| prev.created),
        modified: revision,
        version: prev.as_ref().map_or(1, |prev| prev.version + 1),
        lease: None,
    };
    let changes = vec![Change::Put { entry, prev }];
    history.truth.push(Changes { revision, changes });
    at
}

#[tokio::test(start_paused = true)]
async fn a_write_applied_twice() {
    rejected_by(&[Rule::AppliedTwice], |history, random| {
        repeat_a_put(history, random);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_write_of_unknown_outcome_applied_twice() {
    rejected_by(&[Rule::AppliedTwice], |history, random| {
        let at = repeat_a_put(history, random);
        history.calls[at].answer = Answer::Unknown("the answer was lost".to_owned());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_write_that_certainly_was_not_applied_and_was() {
    rejected_by(&[Rule::Refused], |history, random| {
        let at = pick(random, &history.calls, is_plain_put);
        history.calls[at].answer = Answer::Refused("the store is full".to_owned());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_change_that_nobody_asked_for() {
    rejected_by(&[Rule::Unexplained], |history, random| {
        let at = pick(random, &history.calls, is_plain_put);
        history.calls.remove(at);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_took_the_wrong_branch() {
    rejected_by(&[Rule::Branch], |history, random| {
        let is_txn = |call: &Call| matches!(call.reply(), Some(Reply::Commit(_)));
        let at = pick(random, &history.calls, is_txn);
        if let Answer::Done(Reply::Commit(reply)) = &mut history.calls[at].answer {
            reply.succeeded = !reply.succeeded;
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_condition_that_held_and_was_said_not_to() {
    // What was put all the same is then nobody's, and looks as if it was put a second time.
    rejected_by(&[Rule::Branch, Rule::AppliedTwice], |history, random| {
        let held = |call: &Call| {
            matches!(&call.request, Request::Put(_, _, options) if options.only_if.is_some())
                && written(call)
        };
        let at = pick(random, &history.calls, held);
        if let Answer::Done(Reply::Put(reply)) = &mut history.calls[at].answer {
            reply.written = false;
            reply.revision = reply.revision.previous();
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_counts_wrong() {
    rejected_by(&[Rule::Reply], |history, random| {
        let deleted =
            |call: &Call| matches!(call.reply(), Some(Reply::Delete(reply)) if reply.deleted > 0);
        let at = pick(random, &history.calls, deleted);
        if let Answer::Done(Reply::Delete(reply)) = &mut history.calls[at].answer {
            reply.deleted += 1;
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_read_within_a_transaction_that_misses_its_own_write() {
    rejected_by(&[Rule::Reply], |history, random| {
        let reads = |call: &Call| matches!(call.reply(), Some(Reply::Commit(reply)) if matches!(reply.replies.last(), Some(OpReply::Get(read)) if !read.entries.is_empty()));
        let at = pick(random, &history.calls, reads);
        if let Answer::Done(Reply::Commit(reply)) = &mut history.calls[at].answer
            && let Some(OpReply::Get(read)) = reply.replies.last_mut()
        {
            read.entries.pop();
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_truth_with_a_gap() {
    rejected_by(&[Rule::Truth], |history, random| {
        let at = random.usize(1..history.truth.len() - 1);
        history.truth.remove(at);
    })
    .await;
}

/// A resync that was not the first one, and the follower whose it is.
fn resync(history: &mut History) -> (usize, usize) {
    for (number, follow) in history.follows.iter().enumerate() {
        let again = |item: &Delivery<FollowedUpdate>| matches!(item, Delivery::Item(FollowedUpdate { update: Update::Resync(snapshot), .. }) if snapshot.cause != ResyncCause::Initial);
        if let Some(at) = follow.items.iter().position(again) {
            return (number, at);
        }
    }
    panic!("there is a resync");
}

fn followed(item: &mut Delivery<FollowedUpdate>) -> &mut FollowedUpdate {
    match item {
        Delivery::Item(update) => update,
        Delivery::Ended(_) => panic!("no update"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_resync_without_one_of_the_keys() {
    rejected_by(&[Rule::Snapshot], |history, random| {
        let (follow, at) = resync(history);
        if let Update::Resync(snapshot) =
            &mut followed(&mut history.follows[follow].items[at]).update
        {
            let one = random.usize(..snapshot.entries.len());
            snapshot.entries.remove(one);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_delete_lost_in_a_resync() {
    rejected_by(&[Rule::Implied], |history, _| {
        let (follow, at) = resync(history);
        let update = followed(&mut history.follows[follow].items[at]);
        let applied = &mut update.applied.as_mut().unwrap().changes;
        let doomed = applied
            .iter()
            .position(|change| *change.key() == "a/doomed");
        applied.remove(doomed.unwrap());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn two_resyncs_for_one_loss() {
    rejected_by(&[Rule::Resync], |history, _| {
        let (follow, at) = resync(history);
        let mut again = history.follows[follow].items[at].clone();
        let update = followed(&mut again);
        if let Update::Resync(snapshot) = &mut update.update {
            snapshot.after = Some(snapshot.revision);
        }
        update.applied.as_mut().unwrap().changes.clear();
        history.follows[follow].items.insert(at + 1, again);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_loss_without_a_resync() {
    rejected_by(&[Rule::Resync], |history, _| {
        for follow in &mut history.follows {
            follow.losses = 2..=2;
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_change_that_comes_again_after_the_resync_that_had_it() {
    rejected_by(&[Rule::Unique, Rule::Bookmarkable], |history, random| {
        let (follow, at) = resync(history);
        let items = &mut history.follows[follow].items;
        let is_change = |item: &Delivery<FollowedUpdate>| matches!(item, Delivery::Item(FollowedUpdate { update: Update::Changes(changes), .. }) if !changes.is_progress());
        let old = items[pick(random, &items[..at], is_change)].clone();
        items.insert(at + 1, old);
    })
    .await;
    rejected_by(&[Rule::Bookmarkable], |history, random| {
        let (follow, at) = resync(history);
        let record = &mut history.follows[follow];
        let Update::Resync(snapshot) = &followed(&mut record.items[at]).update else {
            unreachable!("it is a resync");
        };
        let (after, until) = (snapshot.after.unwrap(), snapshot.revision);
        let missed = |changes: &Changes| {
            changes.revision > after
                && changes.revision <= until
                && changes
                    .changes
                    .iter()
                    .any(|change| record.range.contains(change.key()))
        };
        let changes = history.truth[pick(random, &history.truth, missed)].clone();
        let again = FollowedUpdate {
            update: Update::Changes(changes),
            applied: None,
        };
        record.items.insert(at + 1, Delivery::Item(again));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn something_after_the_close_of_a_follower() {
    rejected_by(&[Rule::AfterEnd], |history, random| {
        let items = &mut history.follows[0].items;
        let at = random.usize(1..items.len());
        items.insert(at, Delivery::Ended("closed".to_owned()));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_mirror_that_is_not_the_store_in_the_end() {
    rejected_by(&[Rule::Converged], |history, _| {
        let copy = history.follows[0].copy.as_mut().unwrap();
        copy.entries.pop().unwrap();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_stopped_in_silence() {
    rejected_by(&[Rule::Converged], |history, _| {
        let follow = &mut history.follows[0];
        let is_change = |item: &Delivery<FollowedUpdate>| matches!(item, Delivery::Item(FollowedUpdate { update: Update::Changes(changes), .. }) if !changes.is_progress());
        let last = *places(&follow.items, is_change).last().unwrap();
        follow.items.truncate(last);
        follow.copy = None;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_was_ended_and_kept_its_key() {
    rejected_by(&[Rule::Stale], |history, _| {
        let last = history
            .calls
            .iter()
            .map(|call| call.ended.order)
            .max()
            .unwrap();
        let leased = |entry: &Entry| entry.lease;
        let mut state = std::collections::BTreeMap::new();
        for change in history.truth.iter().flat_map(|changes| &changes.changes) {
            state.insert(change.key().clone(), change.entry().and_then(leased));
        }
        // Some key of some lease is there to the end, or a new one is put.
        let lease = state.values().find_map(|lease| *lease).unwrap_or_else(|| {
            let lease = keyval::LeaseId::new(77).unwrap();
            let (key, value) = (Key::from("a/leased"), Bytes::new());
            let revision = history.truth.last().unwrap().revision.next();
            history.truth.push(Changes {
                revision,
                changes: vec![Change::Put {
                    entry: Entry {
                        key: key.clone(),
                        value: value.clone(),
                        created: revision,
                        modified: revision,
                        version: 1,
                        lease: Some(lease),
                    },
                    prev: None,
                }],
            });
            history.calls.push(Call {
                client: 98,
                begun: moment(last + 1),
                ended: moment(last + 2),
                request: Request::Put(key, value, PutOptions::default().with_lease(lease)),
                answer: Answer::Unknown("the answer was lost".to_owned()),
            });
            lease
        });
        history.calls.push(Call {
            client: 99,
            begun: moment(last + 3),
            ended: moment(last + 4),
            request: Request::Revoke(lease),
            answer: Answer::Done(Reply::Revoke),
        });
    })
    .await;
}
