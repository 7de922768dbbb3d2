//! Properties of scopes: the arithmetic of prefixes, and that a scope is a store of its own.

#![allow(clippy::unwrap_used)] // In helpers too, which are not seen as tests.

use std::collections::BTreeSet;

use futures::StreamExt;
use keyval::{
    BrokerExt, Bytes, Changes, Compare, Condition, DeleteOptions, Key, KeyRange, ListOptions,
    Memory, Op, Prefix, PutOptions, Relation, Revision, Store, StoreExt, Target, Txn, WatchOptions,
};
use proptest::prelude::*;
use proptest::sample::select;

/// The bytes at which prefix arithmetic can go wrong: the least, the greatest, and those between.
fn byte() -> impl Strategy<Value = u8> {
    select(vec![0u8, 1, b'/', b'0', b'a', 0xFE, 0xFF])
}

fn bytes(len: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(byte(), len)
}

fn key() -> impl Strategy<Value = Key> {
    bytes(1..4).prop_map(Key::from)
}

fn prefix() -> impl Strategy<Value = Prefix> {
    bytes(0..4).prop_map(Prefix::new)
}

fn range() -> impl Strategy<Value = KeyRange> {
    prop_oneof![
        key().prop_map(KeyRange::key),
        prefix().prop_map(KeyRange::prefix),
        (key(), key()).prop_map(|(a, b)| KeyRange::span(a, b)),
        bytes(0..4).prop_map(|end| KeyRange::span("", Key::from(end))),
        (prefix(), key()).prop_map(|(p, k)| KeyRange::prefix(p).starting_at(k)),
        (prefix(), key()).prop_map(|(p, k)| KeyRange::prefix(p).ending_at(k)),
        Just(KeyRange::all()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn a_key_comes_back_as_it_went_in(scope in prefix(), key in key()) {
        let whole = scope.join(&key);
        prop_assert!(whole.as_bytes().starts_with(scope.as_bytes()));
        prop_assert_eq!(scope.strip(&whole), Some(key.clone()));
        prop_assert!(KeyRange::prefix(scope.clone()).contains(&whole));
        if let Some(short) = scope.strip(&key) {
            prop_assert_eq!(scope.join(&short), key);
        }
    }

    #[test]
    fn a_key_is_in_a_shifted_range_if_it_is_in_the_range(
        scope in prefix(),
        range in range(),
        key in key(),
    ) {
        let shifted = scope.shift(&range);
        prop_assert_eq!(shifted.contains(&scope.join(&key)), range.contains(&key));
        prop_assert_eq!(shifted.is_empty(), range.is_empty());
    }

    #[test]
    fn nothing_of_a_shifted_range_lies_outside(
        scope in prefix(),
        range in range(),
        other in bytes(1..8),
    ) {
        let shifted = scope.shift(&range);
        let other = Key::from(other);
        // As bytes on the wire too: the bounds themselves stay within.
        prop_assert!(shifted.start().as_bytes().starts_with(scope.as_bytes()));
        if let (Some(end), Some(last)) = (shifted.end(), scope.end()) {
            prop_assert!(*end <= last);
        }
        prop_assert_eq!(shifted.end().is_none(), scope.end().is_none() && range.end().is_none());
        if shifted.contains(&other) {
            prop_assert!(scope.strip(&other).is_some_and(|short| range.contains(&short)));
        }
    }

    #[test]
    fn a_range_comes_back_as_it_went_in(scope in prefix(), range in range(), key in key()) {
        if range.check().is_err() {
            return Ok(());
        }
        let back = scope.unshift(&scope.shift(&range));
        // The same set of keys, if not the same words: some ranges end where their scope ends.
        prop_assert!(back.is_some_and(|back| back.contains(&key) == range.contains(&key)));
    }

    #[test]
    fn scopes_within_scopes_are_the_joined_scope(
        outer in prefix(),
        inner in prefix(),
        range in range(),
        key in key(),
    ) {
        let joined = outer.nest(&inner);
        prop_assert_eq!(outer.join(&inner.join(&key)), joined.join(&key));
        prop_assert_eq!(outer.shift(&inner.shift(&range)), joined.shift(&range));
        let short = outer.strip(&key).and_then(|key| inner.strip(&key));
        prop_assert_eq!(short, joined.strip(&key));
    }

    #[test]
    fn a_prefix_ends_right_above_its_last_key(prefix in prefix(), key in bytes(1..8)) {
        let key = Key::from(key);
        let range = KeyRange::prefix(prefix.clone());
        prop_assert_eq!(range.contains(&key), key.as_bytes().starts_with(prefix.as_bytes()));
        if let Some(end) = prefix.end() {
            prop_assert!(!end.as_bytes().starts_with(prefix.as_bytes()));
            prop_assert!(!range.contains(&end));
        }
    }

    #[test]
    fn the_parts_of_a_range_are_the_range(range in range(), at in key(), key in key()) {
        let below = range.ending_at(at.clone());
        let above = range.starting_at(at);
        prop_assert_eq!(below.contains(&key) || above.contains(&key), range.contains(&key));
        prop_assert!(!(below.contains(&key) && above.contains(&key)));
    }

    #[test]
    fn one_key_is_known_as_one_key(key in key(), range in range(), other in key()) {
        let one = KeyRange::key(key.clone());
        prop_assert_eq!(one.single(), Some(&key));
        if let Some(single) = range.single() {
            prop_assert!(range.contains(single));
            prop_assert_eq!(range.contains(&other), other == *single);
        }
    }
}

/// One thing done to a store.
#[derive(Clone, Debug)]
enum Action {
    Get(Key),
    List(KeyRange, ListOptions),
    Put(Key, Bytes, PutOptions),
    Delete(KeyRange, DeleteOptions),
    Commit(Txn),
}

fn value() -> impl Strategy<Value = Bytes> {
    select(vec!["", "1", "2"]).prop_map(Bytes::from)
}

fn list_options() -> impl Strategy<Value = ListOptions> {
    (any::<bool>(), 0..3u8, prop::option::of(1..4usize)).prop_map(|(reverse, what, limit)| {
        let mut options = ListOptions::default();
        if reverse {
            options = options.reverse();
        }
        options = match what {
            0 => options,
            1 => options.keys_only(),
            _ => options.count_only(),
        };
        options.limit = limit;
        options
    })
}

fn delete_options() -> impl Strategy<Value = DeleteOptions> {
    any::<bool>().prop_map(|previous| {
        let mut options = DeleteOptions::default();
        options.previous = previous;
        options
    })
}

fn put_options() -> impl Strategy<Value = PutOptions> {
    let condition = prop_oneof![
        4 => Just(None),
        1 => Just(Some(Condition::Absent)),
        1 => Just(Some(Condition::Exists)),
        1 => value().prop_map(|value| Some(Condition::Value(value))),
        1 => (1..9u64).prop_map(|at| Some(Condition::Modified(Revision::new(at)))),
    ];
    (any::<bool>(), condition).prop_map(|(previous, only_if)| {
        let mut options = PutOptions::default();
        options.previous = previous;
        options.only_if = only_if;
        options
    })
}

fn compare() -> impl Strategy<Value = Compare> {
    let target = prop_oneof![
        (0..3u64).prop_map(Target::Version),
        (0..9u64).prop_map(|at| Target::Modified(Revision::new(at))),
        (0..9u64).prop_map(|at| Target::Created(Revision::new(at))),
        value().prop_map(Target::Value),
    ];
    let relation = select(vec![
        Relation::Equal,
        Relation::NotEqual,
        Relation::Greater,
        Relation::Less,
    ]);
    (key(), relation, target)
        .prop_map(|(key, relation, target)| Compare::new(key, relation, target))
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (range(), list_options()).prop_map(|(range, options)| Op::Get(range, options)),
        (key(), value(), any::<bool>()).prop_map(|(key, value, previous)| {
            let mut options = PutOptions::default();
            options.previous = previous;
            Op::Put(key, value, options)
        }),
        (range(), delete_options()).prop_map(|(range, options)| Op::Delete(range, options)),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    let ops = || prop::collection::vec(op(), 0..4);
    let txn = (prop::collection::vec(compare(), 0..3), ops(), ops()).prop_map(
        |(compares, then, otherwise)| Txn {
            compares,
            then,
            otherwise,
        },
    );
    prop_oneof![
        1 => prop_oneof![Just(Key::default()), key()].prop_map(Action::Get),
        2 => (range(), list_options()).prop_map(|(range, options)| Action::List(range, options)),
        4 => (key(), value(), put_options())
            .prop_map(|(key, value, options)| Action::Put(key, value, options)),
        1 => (range(), delete_options()).prop_map(|(range, options)| Action::Delete(range, options)),
        3 => txn.prop_map(Action::Commit),
    ]
}

/// Does it, and says all that came back, errors too.
async fn act(store: &dyn Store, action: &Action) -> String {
    match action.clone() {
        Action::Get(key) => format!("{:?}", store.get(key).await),
        Action::List(range, options) => match store.list_opts(&range, options).await {
            Ok(listing) => {
                let (revision, count) = (listing.revision, listing.count);
                format!("{revision} {count:?} {:?}", listing.collect().await)
            }
            Err(error) => format!("{error:?}"),
        },
        Action::Put(key, value, options) => {
            format!("{:?}", store.put_opts(&key, value, options).await)
        }
        Action::Delete(range, options) => {
            format!("{:?}", store.delete_opts(&range, options).await)
        }
        Action::Commit(txn) => format!("{:?}", store.commit(txn).await),
    }
}

/// Everything that happened to a range, with what stood there before.
async fn watched(store: &dyn Store, range: &KeyRange) -> Vec<Changes> {
    let now = store.list(KeyRange::all()).await.unwrap().revision;
    let options = WatchOptions::default()
        .starting_at(Revision::new(1))
        .with_previous();
    let mut watch = store.watch_opts(range, options).await.unwrap();
    let mut seen = Vec::new();
    // A last change that is in every range, to know where to stop.
    let stop = range.start().clone();
    store.put(stop, "stop").await.unwrap();
    loop {
        let changes = watch.next().await.unwrap().unwrap();
        if changes.revision > now {
            return seen;
        }
        if !changes.changes.is_empty() {
            seen.push(changes);
        }
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime starts").block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_scope_is_a_store_of_its_own_and_scopes_within_scopes_are_the_joined_scope(
        outer in prefix(),
        inner in prefix(),
        actions in prop::collection::vec(action(), 1..25),
        range in range(),
    ) {
        block_on(async {
            // No scope at all, the joined scope, and a scope within a scope.
            let joined = Prefix::new(Key::from([outer.as_bytes(), inner.as_bytes()].concat()));
            let bare = Memory::new();
            let one = Memory::new().prefixed(joined);
            let two = Memory::new().prefixed(outer.clone()).prefixed(inner.clone());
            for action in &actions {
                let expected = act(&bare, action).await;
                prop_assert_eq!(&act(&one, action).await, &expected);
                prop_assert_eq!(&act(&two, action).await, &expected);
            }
            if range.check().is_ok() {
                let expected = watched(&bare, &range).await;
                prop_assert_eq!(&watched(&one, &range).await, &expected);
                prop_assert_eq!(&watched(&two, &range).await, &expected);
            }
            let all = |store: Memory| async move {
                let listing = store.list(KeyRange::all()).await.unwrap();
                listing.collect().await.unwrap()
            };
            let (one, two) = (one.into_inner(), two.into_inner().into_inner());
            prop_assert_eq!(all(one).await, all(two).await);
            Ok(())
        })?;
    }

    #[test]
    fn neighbours_never_see_each_other(
        names in prop::collection::btree_set(bytes(1..4), 2..5),
        actions in prop::collection::vec((any::<prop::sample::Index>(), action()), 1..40),
    ) {
        // Neighbours: no prefix begins with another.
        let mut scopes: Vec<Vec<u8>> = Vec::new();
        for name in &names {
            if scopes.iter().all(|scope| !name.starts_with(scope)) {
                scopes.push(name.clone());
            }
        }
        block_on(async {
            let store = Memory::new();
            let scoped: Vec<_> = scopes.iter().map(|scope| store.prefixed(&scope[..])).collect();
            let mut touched = BTreeSet::new();
            for (index, action) in &actions {
                let actor = index.index(scoped.len());
                touched.insert(actor);
                let mut before = Vec::new();
                for scope in &scoped {
                    before.push(pictures(scope).await);
                }
                let begin = store.list(KeyRange::all()).await.unwrap().revision;
                act(&scoped[actor], action).await;
                for (position, scope) in scoped.iter().enumerate() {
                    if position == actor {
                        continue;
                    }
                    prop_assert_eq!(&pictures(scope).await, &before[position]);
                    let seen = watched_quietly(scope, begin).await;
                    prop_assert_eq!(seen, Vec::new());
                }
            }
            // And what is there outside of every scope is nothing.
            let mut inside = 0;
            for scope in &scoped {
                inside += scope.count(KeyRange::all()).await.unwrap();
            }
            prop_assert_eq!(store.count(KeyRange::all()).await.unwrap(), inside);
            Ok(())
        })?;
    }
}

async fn pictures(store: &dyn Store) -> Vec<keyval::Entry> {
    let listing = store.list(KeyRange::all()).await.unwrap();
    listing.collect().await.unwrap()
}

/// What a watch of everything brings from what happened after this revision.
async fn watched_quietly(store: &dyn Store, after: Revision) -> Vec<Changes> {
    let options = WatchOptions::default().starting_at(after.next());
    let mut watch = store.watch_opts(&KeyRange::all(), options).await.unwrap();
    // What is there already is there at once: the store lives in this very process.
    let mut seen = Vec::new();
    while let Some(Some(item)) = futures::FutureExt::now_or_never(watch.next()) {
        let changes = item.unwrap();
        if !changes.changes.is_empty() {
            seen.push(changes);
        }
    }
    seen
}
