//! Promises of a listing of one level.

#![allow(clippy::unwrap_used)] // In helpers too, which are not seen as tests.

mod wrap_support;

use futures::StreamExt;
use keyval::{
    Broker, BrokerExt, Capabilities, Child, Error, Key, Memory, Op, StoreExt, Txn, children,
};
use proptest::prelude::*;

use crate::wrap_support::{Scripted, Step, refused};

async fn filled(keys: impl IntoIterator<Item: Into<Key>>) -> Memory {
    let store = Memory::new();
    fill(&store, keys).await;
    store
}

async fn fill(store: &impl Broker, keys: impl IntoIterator<Item: Into<Key>>) {
    for key in keys {
        store.put(key.into(), "").await.unwrap();
    }
}

async fn shown(store: impl Broker, prefix: &str) -> Vec<String> {
    let found = children(store, prefix, b'/').await.unwrap();
    found.collect().await.unwrap().iter().map(show).collect()
}

/// `name` for a key, `name/` for a branch, `name+` for both.
fn show(child: &Child) -> String {
    let mark = match (child.leaf, child.branch) {
        (true, false) => "",
        (false, true) => "/",
        (true, true) => "+",
        (false, false) => panic!("neither key nor branch: {child:?}"),
    };
    format!("{}{mark}", child.name)
}

#[tokio::test]
async fn names_are_keys_branches_or_both_and_each_comes_once() {
    let store = filled([
        "r/a", "r/b", "r/b/1", "r/b/2/x", "r/c/1", "r/c/2", "r/d", "s/e",
    ])
    .await;
    assert_eq!(shown(store, "r/").await, ["a", "b+", "c/", "d"]);
}

#[tokio::test]
async fn a_branch_far_from_the_key_of_its_name_is_one_child_with_it() {
    // '!' is below '/', so between "a" and "a/" there may be any number of keys.
    let store = filled(["a", "a!", "a!/x", "a!b", "a/b", "b"]).await;
    assert_eq!(shown(store.clone(), "").await, ["a+", "a!+", "a!b", "b"]);
    for n in 0..1000 {
        store.put(format!("a!{n:04}"), "").await.unwrap();
    }
    let all = shown(store, "").await;
    assert_eq!(all.len(), 1004);
    assert_eq!(all.iter().filter(|name| name.starts_with("a+")).count(), 1);
    assert!(!all.contains(&"a/".to_owned()));
}

#[tokio::test]
async fn a_branch_without_a_key_comes_where_its_first_key_is() {
    let store = filled(["a!", "a/b"]).await;
    assert_eq!(shown(store, "").await, ["a!", "a/"]);
}

#[tokio::test]
async fn empty_names_and_the_prefix_itself() {
    let store = filled(["r/", "r//", "r//x", "r/a", "/", "/y"]).await;
    assert_eq!(shown(store.clone(), "r/").await, ["/", "a"]);
    assert_eq!(shown(store.clone(), "r//").await, ["x"]);
    assert_eq!(shown(store.clone(), "").await, ["/", "r/"]);
    assert_eq!(shown(store, "nothing/").await, Vec::<String>::new());
}

#[tokio::test]
async fn any_byte_may_stand_in_names_and_separate_them() {
    let store = filled([
        &b"\xff"[..],
        b"\xff\xff",
        b"\xff\xff\xff",
        b"\xff\x00",
        b"a\xffb",
    ])
    .await;
    let found = children(store.clone(), "", 0xFF).await.unwrap();
    let found: Vec<_> = found.collect().await.unwrap().iter().map(show).collect();
    assert_eq!(found, ["a/", "/"]);
    let found = children(store, &b"\xff"[..], b'/').await.unwrap();
    let found: Vec<_> = found.collect().await.unwrap().iter().map(show).collect();
    assert_eq!(found, [r"\0", r"\xff", r"\xff\xff"]);
}

#[tokio::test]
async fn what_lies_below_a_branch_is_skipped_not_read() {
    let store = Scripted::new([]);
    for branch in 0..20 {
        for batch in 0..50 {
            let puts = (0..100).map(|n| Op::put(format!("r/{branch:02}/{batch}/{n}"), ""));
            let txn = puts.fold(Txn::new(), Txn::then);
            store.commit(txn).await.unwrap();
        }
        store.put(format!("r/{branch:02}"), "").await.unwrap();
    }
    store.forget_calls();
    assert_eq!(shown(store.clone(), "r/").await.len(), 20);
    let reads = store.calls().len();
    assert!(
        reads <= 3 * 20 + 1,
        "{reads} reads for 20 children of 5000 keys each"
    );
}

#[tokio::test]
async fn many_plain_names_take_few_reads() {
    let store = Scripted::new([]);
    for batch in 0..100 {
        let puts = (0..100).map(|n| Op::put(format!("r/{batch:03}-{n:02}"), ""));
        store
            .commit(puts.fold(Txn::new(), Txn::then))
            .await
            .unwrap();
    }
    store.forget_calls();
    assert_eq!(shown(store.clone(), "r/").await.len(), 10_000);
    let reads = store.calls().len();
    assert!(reads <= 30, "{reads} reads for 10000 names");
}

#[tokio::test]
async fn all_names_are_of_one_revision_whatever_happens_meanwhile() {
    let names: Vec<_> = (0..300).map(|n| format!("{n:03}/x")).collect();
    let store = filled(names.iter().map(String::as_str)).await;
    let mut found = children(store.clone(), "", b'/').await.unwrap();
    let mut count = 0;
    while let Some(child) = found.entries.next().await {
        assert_eq!(child.unwrap().name, format!("{count:03}").as_str());
        count += 1;
        store.delete(format!("{:03}/x", 299 - count)).await.unwrap();
        store.put(format!("{count:03}/new"), "").await.unwrap();
        store.put(format!("{count:03}-new"), "").await.unwrap();
    }
    assert_eq!(count, 300);
}

#[tokio::test]
async fn a_scope_has_children_of_its_own() {
    let store = filled(["t/1/a", "t/1/b/c", "t/1", "t/1/", "t/10/z", "t/0/z"]).await;
    let scoped = store.prefixed("t/1/");
    assert_eq!(shown(scoped.clone(), "").await, ["a", "b/"]);
    assert_eq!(shown(scoped, "b/").await, ["c"]);
}

#[tokio::test]
async fn a_failure_is_an_item_that_ends_the_listing_never_a_short_list() {
    let store = Scripted::new([]);
    fill(&store, (0..100).map(|n| format!("{n:02}/x"))).await;
    store.then(Step::Pass);
    store.then(Step::Fail(refused()));
    let mut found = children(store.clone(), "", b'/').await.unwrap();
    let mut names = 0;
    let error = loop {
        match found
            .entries
            .next()
            .await
            .expect("an error comes before the end")
        {
            Ok(_) => names += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Unavailable { .. }));
    assert!((1..100).contains(&names));
    assert!(found.entries.next().await.is_none());

    store.then(Step::Fail(refused()));
    assert!(children(store, "", b'/').await.is_err());
}

#[tokio::test]
async fn history_that_is_compacted_meanwhile_is_told() {
    use keyval::Maintenance;
    let store = filled((0..100).map(|n| format!("{n:02}/x"))).await;
    let found = children(store.clone(), "", b'/').await.unwrap();
    let now = store.put("zz", "").await.unwrap();
    store.compact(now).await.unwrap();
    assert!(matches!(
        found.collect().await,
        Err(Error::Compacted { .. })
    ));
}

#[tokio::test]
async fn a_store_without_history_is_told_beforehand() {
    let mut capabilities = Capabilities::all();
    capabilities.history = false;
    let store = Scripted::new([]).with_capabilities(capabilities);
    let error = children(store, "", b'/').await.unwrap_err();
    assert!(matches!(
        error,
        Error::NotSupported {
            operation: "children",
            ..
        }
    ));
}

/// What `children` shall say, from all the keys.
fn expected(keys: &[Vec<u8>], prefix: &[u8], separator: u8) -> Vec<Child> {
    let mut keys = keys.to_vec();
    keys.sort();
    let mut found: Vec<Child> = Vec::new();
    for key in &keys {
        let Some(rest) = key.strip_prefix(prefix).filter(|rest| !rest.is_empty()) else {
            continue;
        };
        let cut = rest.iter().position(|byte| *byte == separator);
        let name = Key::from(&rest[..cut.unwrap_or(rest.len())]);
        let at = found
            .iter()
            .position(|child| child.name == name)
            .unwrap_or_else(|| {
                found.push(Child {
                    name,
                    leaf: false,
                    branch: false,
                });
                found.len() - 1
            });
        found[at].leaf |= cut.is_none();
        found[at].branch |= cut.is_some();
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn children_are_what_all_the_keys_say(
        keys in prop::collection::btree_set(
            prop::collection::vec(prop::sample::select(vec![0u8, b'!', b'/', b'a', 0xFF]), 1..6),
            0..300,
        ),
        prefix in prop::collection::vec(prop::sample::select(vec![b'/', b'a', 0xFF]), 0..3),
        separator in prop::sample::select(vec![b'/', b'a', 0u8, 0xFF]),
    ) {
        let keys: Vec<_> = keys.into_iter().collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (found, reads) = runtime.block_on(async {
            let store = Scripted::new([]);
            fill(&store, keys.iter().map(|key| Key::from(&key[..]))).await;
            store.forget_calls();
            let found = children(store.clone(), &prefix[..], separator).await.unwrap();
            (found.collect().await.unwrap(), store.calls().len())
        });
        prop_assert_eq!(&found, &expected(&keys, &prefix, separator));
        prop_assert!(reads <= 3 * found.len() + 1);
    }
}
