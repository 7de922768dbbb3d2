//! Promises about lists: order, ranges, limits, pages, and that all of a list is of one revision.

use bytes::Bytes;
use futures::StreamExt;

use crate::broker::{Broker, BrokerExt};
use crate::error::{Error, Result};
use crate::key::Key;
use crate::options::{DeleteOptions, GetOptions, ListOptions, WatchOptions};
use crate::range::KeyRange;
use crate::revision::Revision;
use crate::testing::conformance::gate::has_watches;
use crate::testing::conformance::subject::{Subject, refused, refused_as_invalid};
use crate::watcher::Watcher;

/// A list is in the order of the keys' bytes, however they came to be.
pub async fn a_list_is_in_key_order(s: &Subject) -> Result<()> {
    let names: [&[u8]; 8] = [
        b"b",
        b"a",
        b"a\0",
        b"\xff",
        b"a/",
        b"B",
        b"\x00",
        b"\xc3\xa9",
    ];
    for name in names {
        s.put(name, "x").await?;
    }
    let mut expected: Vec<Key> = names.into_iter().map(|name| s.key(name)).collect();
    expected.sort();
    let entries = s.list(&s.all(), ListOptions::default()).await?;
    let listed: Vec<Key> = entries.into_iter().map(|entry| entry.key).collect();
    assert_eq!(listed, expected);
    Ok(())
}

/// A list has the entries that a get has.
pub async fn a_list_has_whole_entries(s: &Subject) -> Result<()> {
    s.put("a", "1").await?;
    s.put("b", "").await?;
    s.put("a", "2").await?;
    let listed = s.list(&s.all(), ListOptions::default()).await?;
    assert_eq!(listed, [s.entry("a").await?, s.entry("b").await?]);
    Ok(())
}

/// A list sees every write that ended before it began, and says a revision at least as new.
pub async fn a_list_sees_every_earlier_write(s: &Subject) -> Result<()> {
    for i in 0..10 {
        let written = s.put(format!("key {i}"), "x").await?;
        let listing = s.store().list(s.all()).await?;
        assert!(listing.revision >= written);
        assert_eq!(listing.count, None, "nobody asked for the count");
        assert_eq!(listing.collect().await?.len(), i + 1);
    }
    Ok(())
}

/// A range without keys lists as nothing, which is no error.
pub async fn a_range_without_keys_lists_nothing(s: &Subject) -> Result<()> {
    let before = s.put("a", "x").await?;
    let listing = s.store().list(s.prefix("b")).await?;
    assert!(listing.revision >= before);
    assert!(listing.collect().await?.is_empty());
    assert_eq!(s.store().count(s.prefix("b")).await?, 0);
    let below = s.store().keys(s.prefix("a/x")).await?;
    assert!(below.collect().await?.is_empty());
    Ok(())
}

/// A span whose end is not above its start is refused, and never taken for one without an end.
pub async fn a_span_that_can_hold_no_key_is_refused(s: &Subject) -> Result<()> {
    s.put("a", "x").await?;
    s.put("b", "x").await?;
    let empty_end = KeyRange::span(s.key("a"), "");
    for range in [s.span("b", "a"), s.span("a", "a"), empty_end] {
        refused_as_invalid(s.list(&range, ListOptions::default()).await);
        let options = DeleteOptions::default();
        refused_as_invalid(s.store().delete_opts(&range, options).await);
        if has_watches(s).await {
            let options = WatchOptions::default();
            refused_as_invalid(s.store().watch_opts(&range, options).await);
        }
    }
    assert_eq!(s.names().await?, ["a", "b"]);
    Ok(())
}

/// A prefix is plain bytes: `key/` covers neither `keyx` nor `xkey/`, `agents/1` covers
/// `agents/10`.
pub async fn a_prefix_is_plain_bytes(s: &Subject) -> Result<()> {
    for name in [
        "agents/1",
        "agents/1/a",
        "agents/10",
        "agents/2",
        "key/a",
        "keyx",
        "xkey/a",
    ] {
        s.put(name, "x").await?;
    }
    for (prefix, expected) in [
        ("key/", &["key/a"][..]),
        ("key", &["key/a", "keyx"]),
        ("agents/1", &["agents/1", "agents/1/a", "agents/10"]),
        ("agents/1/", &["agents/1/a"]),
        ("agents/3", &[]),
    ] {
        let entries = s.list(&s.prefix(prefix), ListOptions::default()).await?;
        assert_eq!(s.names_of(&entries), expected, "below \"{prefix}\"");
    }
    Ok(())
}

/// A prefix that ends in 0xFF bytes covers its keys, and ends where they end.
pub async fn a_prefix_of_high_bytes_has_an_end(s: &Subject) -> Result<()> {
    let names: [&[u8]; 6] = [
        b"a",
        b"a\xfe",
        b"a\xff",
        b"a\xff\xff",
        b"a\xff\xff\xff",
        b"b",
    ];
    for name in names {
        s.put(name, "x").await?;
    }
    for (prefix, expected) in [
        (&b"a\xff"[..], 3),
        (b"a\xff\xff", 2),
        (b"a", 5),
        (b"\xff", 0),
    ] {
        let range = s.prefix(prefix);
        assert_eq!(s.store().count(range).await?, expected, "{prefix:?}");
    }
    Ok(())
}

/// A span begins at its start and ends before its end.
pub async fn a_span_is_half_open(s: &Subject) -> Result<()> {
    for name in ["a", "b", "b0", "c", "d"] {
        s.put(name, "x").await?;
    }
    let entries = s.list(&s.span("b", "d"), ListOptions::default()).await?;
    assert_eq!(s.names_of(&entries), ["b", "b0", "c"]);
    let entries = s.list(&s.span("a0", "b\0"), ListOptions::default()).await?;
    assert_eq!(s.names_of(&entries), ["b"]);
    Ok(())
}

/// The range of one key holds that key alone.
pub async fn the_range_of_a_key_is_that_key(s: &Subject) -> Result<()> {
    for name in ["a", "a\0", "a0", "a/"] {
        s.put(name, "x").await?;
    }
    let range = KeyRange::key(s.key("a"));
    let entries = s.list(&range, ListOptions::default()).await?;
    assert_eq!(s.names_of(&entries), ["a"]);
    Ok(())
}

/// A list of keys has empty values, and all else of the entries.
pub async fn a_list_of_keys_has_no_values(s: &Subject) -> Result<()> {
    s.put("a", "1").await?;
    s.put("a", "2").await?;
    s.put("b", "3").await?;
    let mut expected = s.list(&s.all(), ListOptions::default()).await?;
    for entry in &mut expected {
        entry.value = Bytes::new();
    }
    let keys = s.store().keys(s.all()).await?.collect().await?;
    assert_eq!(keys, expected);
    Ok(())
}

/// A count counts the whole range, whatever the limit, and brings no entries.
pub async fn a_count_is_of_the_whole_range(s: &Subject) -> Result<()> {
    s.fill(7, |i| format!("a/{i}")).await?;
    s.put("b", "x").await?;
    let range = s.prefix("a/");
    for options in [ListOptions::default(), ListOptions::default().with_limit(3)] {
        let listing = s.store().list_opts(&range, options.count_only()).await?;
        assert_eq!(listing.count, Some(7));
        assert!(listing.collect().await?.is_empty());
    }
    assert_eq!(s.store().count(s.all()).await?, 8);
    Ok(())
}

/// A limit takes the first entries of the order that was asked for.
pub async fn a_limit_takes_the_first_entries(s: &Subject) -> Result<()> {
    s.fill(5, |i| i.to_string()).await?;
    let first = ListOptions::default().with_limit(2);
    assert_eq!(s.names_of(&s.list(&s.all(), first).await?), ["0", "1"]);
    let last = first.reverse();
    assert_eq!(s.names_of(&s.list(&s.all(), last).await?), ["4", "3"]);
    for limit in [5, 6, usize::MAX] {
        let options = ListOptions::default().with_limit(limit);
        assert_eq!(s.list(&s.all(), options).await?.len(), 5, "limit {limit}");
    }
    Ok(())
}

/// A list can be in descending order.
pub async fn a_list_can_run_backwards(s: &Subject) -> Result<()> {
    s.fill(5, |i| i.to_string()).await?;
    let mut forwards = s.list(&s.all(), ListOptions::default()).await?;
    let backwards = s.list(&s.all(), ListOptions::default().reverse()).await?;
    forwards.reverse();
    assert_eq!(backwards, forwards);
    Ok(())
}

/// A limit or a page of nothing is refused.
pub async fn a_limit_of_zero_is_refused(s: &Subject) -> Result<()> {
    s.put("a", "x").await?;
    let options = ListOptions::default();
    refused_as_invalid(s.list(&s.all(), options.with_limit(0)).await);
    refused_as_invalid(s.list(&s.all(), options.with_page(0)).await);
    Ok(())
}

/// Pages are invisible: whatever their size, the order and the limit, the entries are the same.
pub async fn pages_are_invisible(s: &Subject) -> Result<()> {
    let count = 23;
    s.fill(count, |i| format!("{i:02}")).await?;
    s.put("neighbour", "x").await?;
    let range = s.span("00", "99");
    for options in [ListOptions::default(), ListOptions::default().reverse()] {
        let whole = s.list(&range, options).await?;
        assert_eq!(whole.len(), count);
        for page in [1, 2, 7, count - 1, count, count + 1, 1000] {
            let paged = options.with_page(page);
            assert_eq!(s.list(&range, paged).await?, whole, "{paged:?}");
            let keys = s.list(&range, paged.keys_only()).await?;
            assert_eq!(s.names_of(&keys), s.names_of(&whole), "{paged:?}");
            for limit in [1, 2, 7, 8, count - 1, count, count + 1] {
                let limited = paged.with_limit(limit);
                let expected = &whole[..limit.min(count)];
                assert_eq!(s.list(&range, limited).await?, expected, "{limited:?}");
            }
        }
    }
    Ok(())
}

/// All of a list is of one revision, however many pages it takes and whatever is written
/// meanwhile.
pub async fn a_list_is_of_one_revision_while_it_is_read(s: &Subject) -> Result<()> {
    for reverse in [false, true] {
        s.fill(10, |i| i.to_string()).await?;
        let expected = s.list(&s.all(), ListOptions::default()).await?;
        let mut options = ListOptions::default().with_page(2);
        if reverse {
            options = options.reverse();
        }
        let mut listing = s.store().list_opts(&s.all(), options).await?;
        let mut listed = Vec::new();
        for _ in 0..3 {
            let entry = listing.entries.next().await;
            listed.push(entry.expect("ten entries were put")?);
        }
        // Everything that is still to come changes: one new, one overwritten, the others gone.
        s.store().delete_prefix(s.scope().clone()).await?;
        s.put("3x", "new").await?;
        s.put("5", "overwritten").await?;
        while let Some(entry) = listing.entries.next().await {
            listed.push(entry?);
        }
        if reverse {
            listed.reverse();
        }
        assert_eq!(listed, expected);
        assert!(
            expected
                .iter()
                .all(|entry| entry.modified <= listing.revision)
        );
        assert_eq!(s.names().await?, ["3x", "5"]);
        s.store().delete_prefix(s.scope().clone()).await?;
    }
    Ok(())
}

/// A list of the past is what was there, whatever came after; a list at the revision of another
/// list shows the same.
pub async fn a_list_of_the_past_is_what_was_there(s: &Subject) -> Result<()> {
    let before = s.put("a", "1").await?;
    let range = s.all();
    let at = |revision| ListOptions::default().at(revision);
    let call = s.list(&range, at(before));
    if !s.can(s.capabilities().history, "history", call).await {
        return Ok(());
    }
    s.put("b", "1").await?;
    let listing = s.store().list(range.clone()).await?;
    let revision = listing.revision;
    let expected = listing.collect().await?;
    s.put("a", "2").await?;
    s.put("c", "1").await?;
    s.store().delete(s.key("b")).await?;
    assert_eq!(s.list(&range, at(revision)).await?, expected);
    assert_eq!(s.list(&range, at(revision).with_page(1)).await?, expected);
    let backwards = s.list(&range, at(revision).reverse().with_limit(1)).await?;
    assert_eq!(s.names_of(&backwards), ["b"]);
    assert_eq!(s.names_of(&s.list(&range, at(before)).await?), ["a"]);
    let options = at(before).count_only();
    let listing = s.store().list_opts(&range, options).await?;
    assert_eq!(listing.count, Some(1));
    assert_eq!(listing.revision, before, "it says the revision it is of");
    assert_eq!(s.names().await?, ["a", "c"]);
    Ok(())
}

/// A revision before there was anything in the range lists as nothing; a revision from the future
/// is refused.
pub async fn a_list_knows_the_future_from_the_past(s: &Subject) -> Result<()> {
    let outside = s.put("other", "x").await?;
    s.put("in/a", "x").await?;
    let range = s.prefix("in/");
    let past = ListOptions::default().at(outside);
    let call = s.list(&range, past);
    if !s.can(s.capabilities().history, "history", call).await {
        return Ok(());
    }
    assert!(s.list(&range, past).await?.is_empty());
    let requested = Revision::new(outside.get() + (1 << 40));
    let future = ListOptions::default().at(requested).count_only();
    let error = refused(s.list(&range, future).await);
    assert!(matches!(error, Error::FutureRevision { .. }), "{error:?}");
    let key = s.key("in/a");
    let past = GetOptions::default().at(outside);
    assert_eq!(s.store().get_opts(&key, past).await?, None);
    Ok(())
}

/// Some hundred keys list completely, each once.
pub async fn many_keys_list_completely(s: &Subject) -> Result<()> {
    let count = 300;
    let puts = (0..count).map(|i| s.put(format!("{i:04}"), "x"));
    futures::stream::iter(puts)
        .buffer_unordered(16)
        .collect::<Vec<_>>()
        .await
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    let expected: Vec<String> = (0..count).map(|i| format!("{i:04}")).collect();
    assert_eq!(s.names().await?, expected);
    let paged = ListOptions::default().with_page(64);
    assert_eq!(s.names_of(&s.list(&s.all(), paged).await?), expected);
    assert_eq!(s.store().count(s.all()).await?, count);
    Ok(())
}

/// A list that is dropped half read disturbs nobody.
pub async fn a_list_can_be_dropped_half_read(s: &Subject) -> Result<()> {
    s.fill(10, |i| i.to_string()).await?;
    for read in 0..5 {
        let options = ListOptions::default().with_page(2);
        let mut listing = s.store().list_opts(&s.all(), options).await?;
        for _ in 0..read {
            listing.entries.next().await.expect("ten keys were put")?;
        }
    }
    assert_eq!(s.store().delete_prefix(s.scope().clone()).await?, 10);
    Ok(())
}

/// A range of many megabytes is listed like any other, whatever the pages.
pub async fn a_range_of_megabytes_is_listed(s: &Subject) -> Result<()> {
    let limit = s.capabilities().max_request_bytes.unwrap_or(1 << 20);
    let value = Bytes::from(vec![b'x'; (limit / 2).min(1 << 20)]);
    let count = 8;
    for i in 0..count {
        s.put(i.to_string(), value.clone()).await?;
    }
    let options = ListOptions::default();
    for options in [options, options.with_page(3), options.reverse()] {
        let mut listing = s.store().list_opts(&s.all(), options).await?;
        let mut read = 0;
        while let Some(entry) = listing.entries.next().await {
            assert!(entry?.value == value, "the value differs");
            read += 1;
        }
        assert_eq!(read, count);
    }
    assert_eq!(s.store().count(s.all()).await?, count);
    Ok(())
}
