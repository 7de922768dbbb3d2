//! Promises about scopes: what a handle that is limited to a prefix shows, and what it cannot do.

use bytes::Bytes;

use crate::broker::{Broker, BrokerExt};
use crate::entry::Change;
use crate::error::{Error, Result};
use crate::key::Key;
use crate::lease::Leases;
use crate::options::{Condition, DeleteOptions, ListOptions, PutOptions, WatchOptions};
use crate::range::KeyRange;
use crate::reply::OpReply;
use crate::testing::conformance::gate::{
    has_history, has_leases, has_previous, has_transactions, has_watches, has_watches_from,
};
use crate::testing::conformance::lease::grant;
use crate::testing::conformance::subject::{Subject, refused, refused_as_invalid};
use crate::txn::{Compare, Op, Txn};

/// Keys go in short and come out short, and lie in the store under their full names.
pub async fn keys_go_in_short_and_come_out_short(s: &Subject) -> Result<()> {
    let one = s.scoped("agents/1/");
    let revision = one.put("name", "left").await?;
    let entry = one.entry("name").await?;
    assert_eq!(entry.key, "name");
    let full = s.entry("agents/1/name").await?;
    assert_eq!((full.modified, &full.value), (revision, &entry.value));
    s.put("agents/1/other", "x").await?;
    assert_eq!(one.names().await?, ["name", "other"]);
    assert_eq!(one.entry("other").await?.key, "other");
    let lost = one.store().put_if_absent("name", "x").await?;
    assert_eq!(lost.prev.map(|entry| entry.key), Some(Key::from("name")));
    if has_previous(s).await {
        let options = PutOptions::default().with_previous();
        let reply = one.put_opts("name", "new", options).await?;
        assert_eq!(reply.prev, Some(entry));
        let options = DeleteOptions::default().with_previous();
        let reply = one.store().delete_opts(&one.all(), options).await?;
        assert_eq!(one.names_of(&reply.prev), ["name", "other"]);
    }
    Ok(())
}

/// A scope shows nothing of a neighbour whose name begins alike, and touches nothing of it.
pub async fn a_scope_never_shows_its_neighbour(s: &Subject) -> Result<()> {
    let names = [
        "agents/0/x",
        "agents/1",
        "agents/1/",
        "agents/10/x",
        "agents/1\x30",
        "agents/2/x",
    ];
    for name in names {
        s.put(name, "neighbour").await?;
    }
    let outside = s.list(&s.all(), ListOptions::default()).await?;
    let one = s.scoped("agents/1/");
    assert!(one.names().await?.is_empty());
    one.put("a", "mine").await?;
    one.put("z", "mine").await?;
    assert_eq!(one.names().await?, ["a", "z"]);
    assert_eq!(one.store().count(KeyRange::all()).await?, 2);
    assert_eq!(one.get("x").await?, None);
    let paged = ListOptions::default().with_page(1);
    for options in [paged, paged.reverse()] {
        assert_eq!(one.list(&KeyRange::all(), options).await?.len(), 2);
    }
    let high = KeyRange::span("\0", &[0xFF; 8][..]);
    assert_eq!(one.store().count(high.clone()).await?, 2);
    let reply = one.store().delete_opts(&high, DeleteOptions::default());
    assert_eq!(reply.await?.deleted, 2);
    let after = s.list(&s.all(), ListOptions::default()).await?;
    assert_eq!(after, outside, "no neighbour was touched");
    Ok(())
}

/// All keys, inside a scope, are all keys of the scope: listed, deleted, watched.
pub async fn all_inside_a_scope_is_the_scope(s: &Subject) -> Result<()> {
    let one = s.scoped("one/");
    s.put("before", "x").await?;
    s.put("two", "x").await?;
    for name in [&b"\0"[..], b"a", b"\xff", b"\xff\xff"] {
        one.put(name, "x").await?;
    }
    assert_eq!(one.store().count(KeyRange::all()).await?, 4);
    let all = KeyRange::all();
    let deleted = one.store().delete_opts(&all, DeleteOptions::default());
    assert_eq!(deleted.await?.deleted, 4);
    assert_eq!(s.names().await?, ["before", "two"]);
    Ok(())
}

/// A scope whose prefix ends in 0xFF bytes ends where its keys end.
pub async fn a_scope_of_high_bytes_has_an_end(s: &Subject) -> Result<()> {
    let high = s.scoped(&b"a\xff\xff"[..]);
    for name in [&b"a\xff"[..], b"a\xff\xff", b"b"] {
        s.put(name, "outside").await?;
    }
    high.put("x", "inside").await?;
    high.put(&b"\xff"[..], "inside").await?;
    assert_eq!(high.store().count(KeyRange::all()).await?, 2);
    assert_eq!(high.store().delete_prefix("").await?, 2);
    assert_eq!(s.store().count(s.all()).await?, 3);
    Ok(())
}

/// Names that look like ways out are names.
pub async fn no_name_leads_out_of_a_scope(s: &Subject) -> Result<()> {
    let one = s.scoped("agents/1/");
    for name in ["..", "../2/x", "/", "//x", "/etc", "\0", "a/../../../b"] {
        one.put(name, "x").await?;
        let full = s.entry(&format!("agents/1/{name}")).await?;
        assert_eq!(full.value, "x");
        assert!(one.store().delete(name).await?);
    }
    assert!(s.names().await?.is_empty());
    for empty in [
        KeyRange::key(""),
        KeyRange::span("a", ""),
        KeyRange::span("b", "a"),
    ] {
        refused_as_invalid(one.list(&empty, ListOptions::default()).await);
        let options = DeleteOptions::default();
        refused_as_invalid(one.store().delete_opts(&empty, options).await);
    }
    refused_as_invalid(one.store().get("").await);
    refused_as_invalid(one.store().put("", "x").await);
    Ok(())
}

/// The key that is the scope's prefix itself is not in the scope.
pub async fn the_prefix_itself_is_outside_the_scope(s: &Subject) -> Result<()> {
    let one = s.scoped("one/");
    s.put("one/", "outside").await?;
    assert!(one.names().await?.is_empty());
    assert_eq!(one.store().delete_prefix("").await?, 0);
    assert_eq!(s.entry("one/").await?.value, "outside");
    Ok(())
}

/// Scopes nest: a scope in a scope is the scope of both prefixes.
pub async fn scopes_nest(s: &Subject) -> Result<()> {
    let outer = s.scoped("a/");
    let inner = outer.scoped("b/");
    let direct = s.scoped("a/b/");
    inner.put("c", "x").await?;
    outer.put("c", "y").await?;
    assert_eq!(s.names().await?, ["a/b/c", "a/c"]);
    assert_eq!(outer.names().await?, ["b/c", "c"]);
    assert_eq!(inner.entry("c").await?, direct.entry("c").await?);
    assert_eq!(inner.store().delete_prefix("").await?, 1);
    assert_eq!(outer.names().await?, ["c"]);
    Ok(())
}

/// The compares, the operations and the answers of a transaction stay in the scope.
pub async fn a_transaction_stays_in_its_scope(s: &Subject) -> Result<()> {
    if !has_transactions(s).await {
        return Ok(());
    }
    let one = s.scoped("one/");
    s.put("guard", "outside").await?;
    s.put("two/x", "outside").await?;
    one.put("old/1", "x").await?;
    one.put("old/2", "x").await?;
    let txn = Txn::new()
        .when(Compare::absent("guard"))
        .then(Op::put("new", "y"))
        .then(Op::delete_prefix("old/"))
        .then(Op::list(KeyRange::all()))
        .then(Op::get("guard"));
    let reply = one.store().commit(txn).await?;
    assert!(
        reply.succeeded,
        "the guard of the scope is not that of the store"
    );
    let [
        OpReply::Put(_),
        OpReply::Delete(gone),
        OpReply::Get(all),
        OpReply::Get(guard),
    ] = &reply.replies[..]
    else {
        panic!("{reply:?}")
    };
    assert_eq!(gone.deleted, 2);
    assert_eq!(one.names_of(&all.entries), ["new"]);
    assert!(guard.entries.is_empty());
    let txn = Txn::new()
        .when(Compare::exists("guard"))
        .otherwise(Op::Delete(KeyRange::all(), DeleteOptions::default()));
    let reply = one.store().commit(txn).await?;
    assert!(!reply.succeeded);
    assert_eq!(s.names().await?, ["guard", "two/x"]);
    Ok(())
}

/// Compare-and-swap and compare-and-delete look at the key of the scope.
pub async fn conditions_look_at_the_key_of_the_scope(s: &Subject) -> Result<()> {
    let one = s.scoped("one/");
    s.put("key", "outside").await?;
    one.put("key", "inside").await?;
    let value = |value: &'static str| Condition::Value(Bytes::from(value));
    let lost = one
        .store()
        .compare_and_swap("key", value("outside"), "x")
        .await?;
    assert!(!lost.written);
    let won = one
        .store()
        .compare_and_swap("key", value("inside"), "changed")
        .await?;
    assert!(won.written);
    if has_transactions(s).await {
        let deleted = one.store().compare_and_delete("key", value("changed"));
        assert!(deleted.await?);
        assert_eq!(one.get("key").await?, None);
    }
    assert_eq!(s.entry("key").await?.value, "outside");
    Ok(())
}

/// Errors name keys as the caller of the scope does.
pub async fn errors_name_short_keys(s: &Subject) -> Result<()> {
    if !has_transactions(s).await {
        return Ok(());
    }
    let one = s.scoped("secret/place/");
    let txn = Txn::new().then(Op::put("k", "x")).then(Op::delete("k"));
    let error = refused(one.store().commit(txn).await);
    let told = matches!(&error, Error::DuplicateKey { key } if *key == "k");
    assert!(told, "{error:?}");
    let keep = PutOptions::default().keep_value();
    let error = refused(one.put_opts("k", "x", keep).await);
    assert!(!error.to_string().contains("secret"), "{error}");
    Ok(())
}

/// A watch in a scope tells short keys, and nothing of its neighbours.
pub async fn a_scoped_watch_tells_short_keys_of_the_scope(s: &Subject) -> Result<()> {
    if !has_watches(s).await {
        return Ok(());
    }
    let one = s.scoped("agents/1/");
    let mut options = WatchOptions::default();
    if has_previous(s).await {
        options = options.with_previous();
    }
    let mut all = one.watch_opts(&KeyRange::all(), options).await?;
    let mut single = one.watch_opts(&KeyRange::key("a"), options).await?;
    let first = one.put("a", "1").await?;
    s.put("agents/10/a", "x").await?;
    s.put("agents/1", "x").await?;
    s.put("agents/1/", "x").await?;
    s.put("agents/1/a", "2").await?;
    one.store().delete("a").await?;
    let last = one.put("a", "3").await?;
    let expected = ["put a=1", "put a=2", "delete a", "put a=3"];
    for events in [&mut all, &mut single] {
        let changes = events.until(last).await?;
        let told: Vec<_> = changes
            .iter()
            .flat_map(|changes| one.told(changes))
            .collect();
        assert_eq!(told, expected);
        if options.previous {
            let Change::Delete { prev, .. } = &changes[2].changes[0] else {
                panic!("{changes:?}")
            };
            assert_eq!(prev.as_ref().map(|prev| &prev.key), Some(&Key::from("a")));
        }
    }
    if has_watches_from(s).await {
        let options = options.starting_at(first);
        let mut late = one.watch_opts(&KeyRange::prefix(""), options).await?;
        assert_eq!(late.until(last).await?.len(), 4);
    }
    Ok(())
}

/// Lists of the past, limits, counts and keys work in a scope as they do outside.
pub async fn lists_in_a_scope_have_all_options(s: &Subject) -> Result<()> {
    let one = s.scoped("one/");
    one.fill(7, |i| i.to_string()).await?;
    let listing = one.store().list(KeyRange::all()).await?;
    let revision = listing.revision;
    let expected = listing.collect().await?;
    s.put("one0", "neighbour").await?;
    one.store().delete("3").await?;
    let options = ListOptions::default();
    let all = KeyRange::all();
    if has_history(s).await {
        let past = options.at(revision).with_page(2);
        assert_eq!(one.list(&all, past).await?, expected);
    }
    let last = options.reverse().with_limit(2);
    assert_eq!(one.names_of(&one.list(&all, last).await?), ["6", "5"]);
    let span = KeyRange::span("2", "5");
    assert_eq!(one.names_of(&one.list(&span, options).await?), ["2", "4"]);
    let keys = one.list(&all, options.keys_only().with_page(1)).await?;
    assert_eq!(one.names_of(&keys), ["0", "1", "2", "4", "5", "6"]);
    Ok(())
}

/// A lease that was granted outside the scope is refused by it, whatever is asked, and lives on.
pub async fn a_foreign_lease_is_refused(s: &Subject) -> Result<()> {
    if !has_leases(s).await {
        return Ok(());
    }
    let (one, two) = (s.scoped("one/"), s.scoped("two/"));
    let foreign = grant(&two, 60).await?;
    let options = PutOptions::default().with_lease(foreign);
    two.put_opts("key", "x", options.clone()).await?;
    let not_mine = |error: Error| {
        // Lost it is not, and whoever took it for lost would grant anew and go on.
        assert!(matches!(error, Error::Denied { .. }), "{error:?}");
    };
    not_mine(refused(one.store().revoke(foreign).await));
    not_mine(refused(one.store().keep_alive(foreign).await));
    not_mine(refused(one.store().time_to_live(foreign).await));
    not_mine(refused(one.put_opts("key", "x", options.clone()).await));
    if has_transactions(s).await {
        let put = Op::Put(Key::from("key"), Bytes::from("x"), options);
        not_mine(refused(one.store().commit(Txn::new().then(put)).await));
    }
    assert!(one.names().await?.is_empty());
    assert_eq!(two.store().time_to_live(foreign).await?.keys, ["key"]);
    two.store().revoke(foreign).await?;
    assert!(two.names().await?.is_empty());
    Ok(())
}

/// A lease shows a scope its own keys alone, in short.
pub async fn a_lease_shows_only_the_keys_of_the_scope(s: &Subject) -> Result<()> {
    if !has_leases(s).await {
        return Ok(());
    }
    let one = s.scoped("one/");
    let lease = grant(&one, 60).await?;
    let options = PutOptions::default().with_lease(lease);
    one.put_opts("mine", "x", options.clone()).await?;
    s.put_opts("two/theirs", "x", options).await?;
    assert_eq!(one.store().time_to_live(lease).await?.keys, ["mine"]);
    one.store().revoke(lease).await
}
