//! Reading a queue: who stands in it, and in which order.

use crate::entry::Entry;
use crate::key::Key;
use crate::range::Prefix;
use crate::revision::Revision;

/// The prefix of the keys of everyone in the queue of this name.
pub(in crate::recipes) fn prefix(name: &Key) -> Prefix {
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(b'/');
    Prefix::new(bytes)
}

/// Whether a key stands in the queue, rather than in one whose name only begins like this one's:
/// `jobs/nightly/1f` is of the queue `jobs/nightly`, and not of `jobs`.
pub(in crate::recipes) fn is_member(prefix: &Prefix, key: &Key) -> bool {
    prefix
        .strip(key)
        .is_some_and(|rest| !rest.as_bytes().contains(&b'/'))
}

/// The one whose turn it is: the key that came to be first.
pub(in crate::recipes) fn first<'a>(
    prefix: &Prefix,
    entries: impl IntoIterator<Item = &'a Entry>,
) -> Option<&'a Entry> {
    entries
        .into_iter()
        .filter(|entry| is_member(prefix, &entry.key))
        .min_by_key(|entry| (entry.created, &entry.key))
}

/// What one in the queue has to know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::recipes) struct View {
    /// When the queue was seen so.
    pub(in crate::recipes) revision: Revision,
    /// When our own key came to be, if it is there.
    pub(in crate::recipes) own: Option<Revision>,
    /// The one just before ours, if there is one.
    pub(in crate::recipes) ahead: Option<Ahead>,
}

/// One who has to leave before it is our turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::recipes) struct Ahead {
    pub(in crate::recipes) key: Key,
    pub(in crate::recipes) created: Revision,
}

impl View {
    /// The queue as the one with this key sees it.
    pub(in crate::recipes) fn new(
        revision: Revision,
        prefix: &Prefix,
        key: &Key,
        entries: &[Entry],
    ) -> Self {
        let own = entries
            .iter()
            .find(|entry| entry.key == *key)
            .map(|entry| entry.created);
        let ahead = entries
            .iter()
            .filter(|entry| is_member(prefix, &entry.key) && entry.key != *key)
            // One transaction can make several keys at one revision; then their names decide.
            .filter(|entry| own.is_some_and(|own| (entry.created, &entry.key) < (own, key)))
            .max_by_key(|entry| (entry.created, &entry.key))
            .map(|entry| Ahead {
                key: entry.key.clone(),
                created: entry.created,
            });
        Self {
            revision,
            own,
            ahead,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn entry(key: &str, created: u64) -> Entry {
        Entry {
            key: Key::from(key),
            value: Bytes::new(),
            created: Revision::new(created),
            modified: Revision::new(created + 100),
            version: 1,
            lease: None,
        }
    }

    fn view(key: &str, entries: &[Entry]) -> (Option<u64>, Option<String>) {
        let prefix = prefix(&Key::from("jobs"));
        let view = View::new(Revision::new(9), &prefix, &Key::from(key), entries);
        (
            view.own.map(Revision::get),
            view.ahead.map(|ahead| ahead.key.to_string()),
        )
    }

    #[test]
    fn the_one_ahead_came_just_before() {
        let entries = [
            entry("jobs/1", 7),
            entry("jobs/2", 3),
            entry("jobs/3", 5),
            entry("jobs/4", 8),
        ];
        let ahead = |key| view(key, &entries).1;
        assert_eq!(ahead("jobs/2"), None);
        assert_eq!(ahead("jobs/3").as_deref(), Some("jobs/2"));
        assert_eq!(ahead("jobs/1").as_deref(), Some("jobs/3"));
        assert_eq!(ahead("jobs/4").as_deref(), Some("jobs/1"));
    }

    #[test]
    fn one_who_is_gone_has_nobody_ahead() {
        assert_eq!(view("jobs/2", &[entry("jobs/1", 7)]), (None, None));
    }

    #[test]
    fn a_queue_below_another_is_not_of_it() {
        let entries = [
            entry("jobs/nightly/1", 3),
            entry("jobs/1", 5),
            entry("jobsworth/1", 2),
        ];
        assert_eq!(view("jobs/1", &entries), (Some(5), None));
        let first = first(&prefix(&Key::from("jobs")), &entries);
        assert_eq!(first.map(|entry| entry.created.get()), Some(5));
    }

    #[test]
    fn keys_of_one_revision_are_in_order_of_their_names() {
        let entries = [entry("jobs/2", 3), entry("jobs/1", 3)];
        assert_eq!(view("jobs/1", &entries).1, None);
        assert_eq!(view("jobs/2", &entries).1.as_deref(), Some("jobs/1"));
    }
}
