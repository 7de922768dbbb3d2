//! Promises about single keys: reading, putting, deleting, and conditions.

use std::time::Duration;

use bytes::Bytes;

use crate::broker::{Broker, BrokerExt};
use crate::error::{Error, Result};
use crate::key::Key;
use crate::options::{Condition, Consistency, DeleteOptions, GetOptions, ListOptions, PutOptions};
use crate::range::KeyRange;
use crate::revision::Revision;
use crate::testing::conformance::gate::{has_history, has_previous, has_transactions};
use crate::testing::conformance::subject::{Subject, refused, refused_as_invalid};
use crate::txn::{Compare, Op, Txn};

/// Names that somebody, somewhere, might take for something else than bytes.
fn odd_names() -> Vec<Key> {
    let mut names: Vec<Key> = [
        "/",
        "//",
        "a",
        "a/",
        "a//b",
        "a/b",
        "/a",
        "a/../b",
        "..",
        ".",
        "*",
        "a*",
        "%2F",
        " ",
        "a ",
        "a\nb",
        "\t",
        "A",
        "\u{e9}",
        "e\u{301}",
        "\u{10ffff}",
        "a\0",
        "\0",
        "\0\0",
    ]
    .into_iter()
    .map(Key::from)
    .collect();
    names.extend((0..=u8::MAX).step_by(17).map(|byte| Key::from(&[byte][..])));
    names.push(Key::from(&[0xFF, 0xFF][..]));
    names.push(Key::from(&[0xFF, 0x00][..]));
    names.push(Key::from(&[b'a', 0xFF][..]));
    names.push(Key::from(&[0xC3, 0x28][..]));
    names.sort();
    names.dedup();
    names
}

/// A key that does not exist reads as nothing, which is no error.
pub async fn a_missing_key_is_none(s: &Subject) -> Result<()> {
    assert_eq!(s.get("nothing").await?, None);
    s.put("other", "x").await?;
    assert_eq!(s.get("nothing").await?, None);
    Ok(())
}

/// A value is read back byte for byte.
pub async fn a_value_is_read_back_byte_for_byte(s: &Subject) -> Result<()> {
    let value: Vec<u8> = (0..=u8::MAX).chain((0..=u8::MAX).rev()).collect();
    s.put("bytes", value.clone()).await?;
    assert_eq!(s.entry("bytes").await?.value, value);
    Ok(())
}

/// An empty value is a value: the key is there.
pub async fn an_empty_value_is_a_value(s: &Subject) -> Result<()> {
    s.put("empty", "").await?;
    let entry = s.entry("empty").await?;
    assert!(entry.value.is_empty());
    assert_eq!(s.store().count(s.all()).await?, 1);
    Ok(())
}

/// A large value, of half of what the store accepts but at most 1 MiB, is read back.
pub async fn a_large_value_is_read_back(s: &Subject) -> Result<()> {
    let limit = s.capabilities().max_request_bytes.unwrap_or(1 << 20);
    let size = (limit / 2).min(1 << 20);
    let value: Bytes = (0..size).map(|i| (i % 251) as u8).collect();
    s.put("large", value.clone()).await?;
    assert!(s.entry("large").await?.value == value, "the value differs");
    Ok(())
}

/// A get matches the whole key: neither a longer nor a shorter one.
pub async fn a_get_matches_the_whole_key(s: &Subject) -> Result<()> {
    s.put("name/first", "x").await?;
    assert_eq!(s.get("name").await?, None);
    assert_eq!(s.get("name/").await?, None);
    assert_eq!(s.get("name/first/").await?, None);
    assert_eq!(s.get("name/*").await?, None);
    Ok(())
}

/// Any bytes can be a key, and no two spellings are one key.
pub async fn a_key_is_bytes_and_never_normalised(s: &Subject) -> Result<()> {
    let names = odd_names();
    for (i, name) in names.iter().enumerate() {
        s.put(name, format!("value {i}")).await?;
    }
    for (i, name) in names.iter().enumerate() {
        let entry = s.get(name).await?;
        let entry = entry.unwrap_or_else(|| panic!("the key \"{name}\" is not there"));
        assert_eq!(entry.key, s.key(name));
        assert_eq!(entry.value, format!("value {i}"), "the value of \"{name}\"");
        assert_eq!(
            entry.version, 1,
            "\"{name}\" was put under another name too"
        );
    }
    let entries = s.list(&s.all(), ListOptions::default()).await?;
    let listed: Vec<_> = entries.into_iter().map(|entry| entry.key).collect();
    let put: Vec<_> = names.iter().map(|name| s.key(name)).collect();
    assert_eq!(listed, put);
    for name in &names {
        assert!(s.store().delete(s.key(name)).await?, "deleting \"{name}\"");
    }
    assert_eq!(s.store().count(s.all()).await?, 0);
    Ok(())
}

/// A key of 4 KiB is a key like any other.
pub async fn a_long_key_is_a_key(s: &Subject) -> Result<()> {
    let name = "n".repeat(4096);
    let longer = format!("{name}x");
    s.put(&name, "long").await?;
    assert_eq!(s.entry(&name).await?.value, "long");
    assert_eq!(s.get(&longer).await?, None);
    assert_eq!(s.names().await?, [name]);
    Ok(())
}

/// The empty key is refused wherever a key can stand.
pub async fn an_empty_key_is_refused(s: &Subject) -> Result<()> {
    let store = s.store();
    refused_as_invalid(store.get("").await);
    refused_as_invalid(store.put("", "x").await);
    refused_as_invalid(store.put_if_absent("", "x").await);
    refused_as_invalid(store.delete("").await);
    if has_transactions(s).await {
        refused_as_invalid(store.commit(Txn::new().then(Op::put("", "x"))).await);
        refused_as_invalid(store.commit(Txn::new().when(Compare::absent(""))).await);
    }
    Ok(())
}

/// A new key has version 1, and was created and modified by its put.
pub async fn a_new_key_has_version_one(s: &Subject) -> Result<()> {
    let revision = s.put("new", "x").await?;
    let entry = s.entry("new").await?;
    assert!(revision > Revision::ZERO);
    assert_eq!((entry.created, entry.modified), (revision, revision));
    assert_eq!((entry.version, entry.lease), (1, None));
    assert!(entry.is_new());
    Ok(())
}

/// Overwriting raises the version and the revision, and keeps the revision of creation; the same
/// value again is a put too.
pub async fn overwriting_raises_version_and_revision(s: &Subject) -> Result<()> {
    let first = s.put("key", "a").await?;
    let second = s.put("key", "b").await?;
    let third = s.put("key", "b").await?;
    assert!(first < second && second < third);
    let entry = s.entry("key").await?;
    assert_eq!(entry.value, "b");
    assert_eq!((entry.created, entry.modified), (first, third));
    assert_eq!(entry.version, 3);
    Ok(())
}

/// A key that was deleted and put again is a new key.
pub async fn a_deleted_key_begins_anew(s: &Subject) -> Result<()> {
    s.put("key", "a").await?;
    let second = s.put("key", "b").await?;
    assert!(s.store().delete(s.key("key")).await?);
    let third = s.put("key", "c").await?;
    assert!(third > second);
    let entry = s.entry("key").await?;
    assert_eq!((entry.created, entry.modified), (third, third));
    assert_eq!(entry.version, 1);
    Ok(())
}

/// A delete says whether the key existed, and the key is gone.
pub async fn a_delete_says_whether_the_key_existed(s: &Subject) -> Result<()> {
    s.put("key", "").await?;
    s.put("key/below", "x").await?;
    assert!(s.store().delete(s.key("key")).await?, "it existed");
    assert_eq!(s.get("key").await?, None);
    assert!(!s.store().delete(s.key("key")).await?, "it was gone");
    assert_eq!(s.names().await?, ["key/below"], "a delete takes one key");
    Ok(())
}

/// Deleting a range takes all of its keys and no other, and says how many there were.
pub async fn deleting_a_range_takes_its_keys_and_counts_them(s: &Subject) -> Result<()> {
    for name in ["a", "b", "b/1", "b/2", "b/2/3", "b0", "ba", "c"] {
        s.put(name, "x").await?;
    }
    assert_eq!(s.store().delete_prefix(s.key("b/")).await?, 3);
    assert_eq!(s.names().await?, ["a", "b", "b0", "ba", "c"]);
    let span = s.span("b", "ba");
    let reply = s
        .store()
        .delete_opts(&span, DeleteOptions::default())
        .await?;
    assert_eq!(reply.deleted, 2, "a span ends before its end");
    assert_eq!(s.names().await?, ["a", "ba", "c"]);
    Ok(())
}

/// Deleting what is not there deletes nothing, and is no error.
pub async fn deleting_nothing_is_no_error(s: &Subject) -> Result<()> {
    let before = s.put("key", "x").await?;
    let range = s.prefix("other/");
    let reply = s
        .store()
        .delete_opts(&range, DeleteOptions::default())
        .await?;
    assert_eq!(reply.deleted, 0);
    assert!(reply.prev.is_empty());
    assert!(reply.revision >= before, "it tells the present revision");
    Ok(())
}

/// A put returns the entry that stood there before if it was asked for, and only then.
pub async fn a_put_returns_the_previous_entry_on_request(s: &Subject) -> Result<()> {
    let asking = PutOptions::default().with_previous();
    let call = s.put_opts("key", "", asking.clone());
    if !s
        .can(s.capabilities().previous, "previous entries", call)
        .await
    {
        return Ok(());
    }
    s.store().delete(s.key("key")).await?;
    let reply = s.put_opts("key", "a", asking.clone()).await?;
    assert!(reply.written);
    assert_eq!(reply.prev, None, "nothing stood there");
    let before = s.entry("key").await?;
    let reply = s.put_opts("key", "b", asking).await?;
    assert_eq!(reply.prev, Some(before));
    let reply = s.put_opts("key", "c", PutOptions::default()).await?;
    assert_eq!(reply.prev, None, "nobody asked");
    Ok(())
}

/// A delete returns the entries that went, in key order, if they were asked for, and only then.
pub async fn a_delete_returns_the_previous_entries_on_request(s: &Subject) -> Result<()> {
    let asking = DeleteOptions::default().with_previous();
    let range = s.all();
    let call = s.store().delete_opts(&range, asking);
    if !s
        .can(s.capabilities().previous, "previous entries", call)
        .await
    {
        return Ok(());
    }
    for name in ["c", "a", "b"] {
        s.put(name, format!("value of {name}")).await?;
    }
    let before = s.list(&range, ListOptions::default()).await?;
    let reply = s.store().delete_opts(&range, asking).await?;
    assert_eq!(reply.deleted, 3);
    assert_eq!(reply.prev, before);
    s.put("a", "x").await?;
    let reply = s
        .store()
        .delete_opts(&range, DeleteOptions::default())
        .await?;
    assert!(reply.prev.is_empty(), "nobody asked");
    Ok(())
}

/// A put that keeps the value renews the revision alone.
pub async fn a_put_can_keep_the_value(s: &Subject) -> Result<()> {
    let first = s.put("key", "kept").await?;
    let reply = s
        .put_opts("key", "", PutOptions::default().keep_value())
        .await?;
    assert!(reply.revision > first);
    let entry = s.entry("key").await?;
    assert_eq!(entry.value, "kept");
    assert_eq!((entry.created, entry.modified), (first, reply.revision));
    assert_eq!(entry.version, 2);
    Ok(())
}

/// There is no value to keep of a key that does not exist, nor beside a new one.
pub async fn keeping_the_value_of_nothing_is_refused(s: &Subject) -> Result<()> {
    let keep = PutOptions::default().keep_value();
    refused_as_invalid(s.put_opts("key", "", keep.clone()).await);
    assert_eq!(s.get("key").await?, None);
    s.put("key", "old").await?;
    refused_as_invalid(s.put_opts("key", "new", keep).await);
    assert_eq!(s.entry("key").await?.value, "old");
    Ok(())
}

/// Put-if-absent writes where nothing stands, and otherwise tells what does.
pub async fn put_if_absent_writes_only_where_nothing_stands(s: &Subject) -> Result<()> {
    let key = s.key("key");
    let reply = s.store().put_if_absent(&key, "mine").await?;
    assert!(reply.written);
    let entry = s.entry("key").await?;
    assert_eq!(entry.modified, reply.revision);
    let lost = s.store().put_if_absent(&key, "yours").await?;
    assert!(!lost.written);
    assert!(lost.revision >= reply.revision);
    assert_eq!(lost.prev, Some(entry), "it tells what stands there");
    assert_eq!(s.entry("key").await?.value, "mine");
    s.store().delete(&key).await?;
    assert!(s.store().put_if_absent(&key, "again").await?.written);
    Ok(())
}

/// Compare-and-swap by value replaces exactly that value.
pub async fn compare_and_swap_by_value_replaces_that_value(s: &Subject) -> Result<()> {
    let key = s.key("key");
    s.put("key", "a").await?;
    let value = |value: &'static str| Condition::Value(Bytes::from(value));
    assert!(
        s.store()
            .compare_and_swap(&key, value("a"), "b")
            .await?
            .written
    );
    let now = s.entry("key").await?;
    let lost = s.store().compare_and_swap(&key, value("a"), "c").await?;
    assert!(!lost.written);
    assert_eq!(lost.prev, Some(now), "a lost race tells what stands there");
    assert_eq!(s.entry("key").await?.value, "b");
    assert!(
        s.store()
            .compare_and_swap(&key, value("b"), "c")
            .await?
            .written
    );
    assert_eq!(s.entry("key").await?.value, "c");
    Ok(())
}

/// Compare-and-swap by revision is not deceived by a value that came back.
pub async fn compare_and_swap_by_revision_sees_a_value_that_came_back(s: &Subject) -> Result<()> {
    let key = s.key("key");
    let seen = s.put("key", "a").await?;
    s.put("key", "b").await?;
    let back = s.put("key", "a").await?;
    let lost = s
        .store()
        .compare_and_swap(&key, Condition::Modified(seen), "c")
        .await?;
    assert!(!lost.written);
    let won = s
        .store()
        .compare_and_swap(&key, Condition::Modified(back), "c")
        .await?;
    assert!(won.written);
    assert_eq!(s.entry("key").await?.modified, won.revision);
    Ok(())
}

/// A condition on a key that does not exist: it neither exists nor has a value nor a revision, and
/// the reply tells that nothing stands there.
pub async fn absent_is_not_equal_to_empty(s: &Subject) -> Result<()> {
    let key = s.key("key");
    for condition in [
        Condition::Value(Bytes::new()),
        Condition::Exists,
        Condition::Modified(Revision::new(1)),
    ] {
        let reply = s
            .store()
            .compare_and_swap(&key, condition.clone(), "x")
            .await?;
        assert!(!reply.written, "{condition:?} held for a missing key");
        assert_eq!(reply.prev, None);
        assert_eq!(s.get("key").await?, None);
    }
    s.put("key", "").await?;
    assert!(!s.store().put_if_absent(&key, "x").await?.written);
    let empty = Condition::Value(Bytes::new());
    assert!(s.store().compare_and_swap(&key, empty, "x").await?.written);
    let exists = Condition::Exists;
    assert!(s.store().compare_and_swap(&key, exists, "y").await?.written);
    assert_eq!(s.entry("key").await?.value, "y");
    Ok(())
}

/// A conditional put that takes place returns the previous entry on request.
pub async fn a_conditional_put_returns_the_previous_entry_on_request(s: &Subject) -> Result<()> {
    if !has_previous(s).await {
        return Ok(());
    }
    s.put("key", "a").await?;
    let before = s.entry("key").await?;
    let options = PutOptions::default().only_if(Condition::Exists);
    let reply = s
        .put_opts("key", "b", options.clone().with_previous())
        .await?;
    assert!(reply.written);
    assert_eq!(reply.prev, Some(before));
    let reply = s.put_opts("key", "c", options).await?;
    assert!(reply.written);
    assert_eq!(reply.prev, None, "nobody asked");
    Ok(())
}

/// Compare-and-delete deletes exactly what is expected, by value or by revision.
pub async fn compare_and_delete_deletes_only_what_is_expected(s: &Subject) -> Result<()> {
    let key = s.key("key");
    let value = |value: &'static str| Condition::Value(Bytes::from(value));
    let call = s.store().compare_and_delete(&key, value("x"));
    if !s.can(s.capabilities().txn, "transactions", call).await {
        return Ok(());
    }
    let store = s.store();
    let old = s.put("key", "a").await?;
    let new = s.put("key", "b").await?;
    assert!(!store.compare_and_delete(&key, value("a")).await?);
    assert!(
        !store
            .compare_and_delete(&key, Condition::Modified(old))
            .await?
    );
    assert_eq!(s.entry("key").await?.value, "b");
    assert!(
        store
            .compare_and_delete(&key, Condition::Modified(new))
            .await?
    );
    assert_eq!(s.get("key").await?, None);
    assert!(!store.compare_and_delete(&key, value("b")).await?);
    s.put("key", "c").await?;
    assert!(store.compare_and_delete(&key, value("c")).await?);
    assert_eq!(s.get("key").await?, None);
    Ok(())
}

/// The past can be read as it was.
pub async fn the_past_is_read_as_it_was(s: &Subject) -> Result<()> {
    let key = s.key("key");
    let at = |revision| GetOptions::default().at(revision);
    let before = s.put("other", "x").await?;
    if !has_history(s).await {
        return Ok(());
    }
    let first = s.put("key", "a").await?;
    let entry_a = s.entry("key").await?;
    let second = s.put("key", "b").await?;
    let entry_b = s.entry("key").await?;
    let range = KeyRange::key(&key);
    let third = s
        .store()
        .delete_opts(&range, DeleteOptions::default())
        .await?
        .revision;
    s.put("key", "c").await?;
    let store = s.store();
    assert_eq!(store.get_opts(&key, at(before)).await?, None);
    assert_eq!(
        store.get_opts(&key, at(first)).await?,
        Some(entry_a.clone())
    );
    assert_eq!(
        store.get_opts(&key, at(second)).await?,
        Some(entry_b.clone())
    );
    let between = second.previous();
    assert_eq!(store.get_opts(&key, at(between)).await?, Some(entry_a));
    assert_eq!(
        store.get_opts(&key, at(third.previous())).await?,
        Some(entry_b)
    );
    assert_eq!(store.get_opts(&key, at(third)).await?, None);
    Ok(())
}

/// A revision that the store has not reached yet cannot be read.
pub async fn the_future_cannot_be_read(s: &Subject) -> Result<()> {
    let now = s.put("key", "x").await?;
    let requested = Revision::new(now.get() + (1 << 40));
    let key = s.key("key");
    let options = GetOptions::default().at(requested);
    if !has_history(s).await {
        return Ok(());
    }
    let error = refused(s.store().get_opts(&key, options).await);
    let told =
        matches!(&error, Error::FutureRevision { requested: told, .. } if *told == requested);
    assert!(told, "{error:?}");
    let options = ListOptions::default().at(requested);
    let error = refused(s.list(&s.all(), options).await);
    assert!(matches!(error, Error::FutureRevision { .. }), "{error:?}");
    Ok(())
}

/// A read that may lag behind is answered, and comes to see what was written.
pub async fn a_serializable_read_comes_to_see_what_was_written(s: &Subject) -> Result<()> {
    let revision = s.put("key", "x").await?;
    let key = s.key("key");
    let options = GetOptions::default().with_consistency(Consistency::Serializable);
    let seen = async {
        loop {
            if let Some(entry) = s.store().get_opts(&key, options).await? {
                return Ok(entry);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let entry = s
        .within("a serializable read of a key that was put", seen)
        .await;
    assert_eq!(entry.map(|entry| entry.modified)?, revision);
    let options = ListOptions::default().with_consistency(Consistency::Serializable);
    let entries = s.list(&s.all(), options).await?;
    assert_eq!(s.names_of(&entries), ["key"]);
    Ok(())
}

/// A value beyond the limit is refused with the numbers, and nothing is stored.
pub async fn an_oversized_value_is_refused_with_the_numbers(s: &Subject) -> Result<()> {
    let Some(limit) = s.capabilities().max_request_bytes else {
        println!("{} tells no limit of a write", s.store());
        return Ok(());
    };
    s.put("key", "small").await?;
    let oversized = Bytes::from(vec![0; limit + 1]);
    for name in ["key", "new"] {
        match refused(s.put(name, oversized.clone()).await) {
            Error::TooLarge { size, limit: told } => {
                assert_eq!(told, Some(limit));
                assert!(size > limit, "{size} bytes are not beyond {limit}");
            }
            error => panic!("{error:?}"),
        }
    }
    assert_eq!(s.entry("key").await?.value, "small");
    assert_eq!(s.get("new").await?, None);
    Ok(())
}

/// A delete whose key or bounds are beyond the limit is refused with the numbers.
pub async fn an_oversized_delete_is_refused_with_the_numbers(s: &Subject) -> Result<()> {
    let Some(limit) = s.capabilities().max_request_bytes else {
        println!("{} tells no limit of a write", s.store());
        return Ok(());
    };
    let long = vec![b'k'; limit / 2 + 1];
    s.store().delete(s.key(long.clone())).await?;
    let end = [&long[..], b"l"].concat();
    let key = s.key(vec![b'k'; limit + 1]);
    for range in [KeyRange::key(key), s.span(long, end)] {
        match refused(
            s.store()
                .delete_opts(&range, DeleteOptions::default())
                .await,
        ) {
            Error::TooLarge { size, limit: told } => {
                assert_eq!(told, Some(limit));
                assert!(size > limit, "{size} bytes are not beyond {limit}");
            }
            error => panic!("{error:?}"),
        }
    }
    Ok(())
}

/// Revision zero is before everything: reading at it shows nothing or is refused, and is never
/// taken for reading the present.
pub async fn revision_zero_is_not_the_present(s: &Subject) -> Result<()> {
    if !has_history(s).await {
        return Ok(());
    }
    s.put("key", "x").await?;
    let key = s.key("key");
    let options = GetOptions::default().at(Revision::ZERO);
    match s.store().get_opts(&key, options).await {
        Ok(found) => assert_eq!(found, None),
        Err(Error::Compacted { .. } | Error::Invalid { .. }) => {}
        Err(error) => return Err(error),
    }
    let options = ListOptions::default().at(Revision::ZERO);
    match s.list(&s.all(), options).await {
        Ok(listed) => assert!(listed.is_empty(), "{listed:?}"),
        Err(Error::Compacted { .. } | Error::Invalid { .. }) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// No error shows a value, neither in its text nor for those who debug; every one says what to do.
pub async fn errors_show_no_value_and_say_what_to_do(s: &Subject) -> Result<()> {
    const SECRET: &str = "s3cr3t-v4lue";
    let mut errors = Vec::new();
    let keep = PutOptions::default().keep_value();
    errors.push(refused(s.put_opts("key", SECRET, keep).await));
    errors.push(refused(s.store().put("", SECRET).await));
    if let Some(limit) = s.capabilities().max_request_bytes {
        let large = SECRET.repeat(limit / SECRET.len() + 1);
        errors.push(refused(s.put("key", large).await));
    }
    if has_transactions(s).await {
        let put = || Op::put(s.key("key"), SECRET);
        let txn = Txn::new().then(put()).then(put());
        errors.push(refused(s.store().commit(txn).await));
        let conditional = PutOptions::default().only_if(Condition::Value(SECRET.into()));
        let put = Op::Put(s.key("key"), SECRET.into(), conditional);
        errors.push(refused(s.store().commit(Txn::new().then(put)).await));
    }
    for error in errors {
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains(SECRET), "{} shows a value", error.code());
        assert!(!error.hint().is_empty() && !error.code().is_empty());
    }
    Ok(())
}
