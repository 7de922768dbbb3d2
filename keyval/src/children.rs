//! One level of a tree of keys, without reading what lies below it.

use std::collections::VecDeque;
use std::fmt;

use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};

use crate::broker::Broker;
use crate::error::{Error, Outcome, Result};
use crate::key::Key;
use crate::options::ListOptions;
use crate::range::{KeyRange, Prefix};
use crate::revision::Revision;

/// How many keys are asked for at first, at least and at most.
const FIRST_PAGE: usize = 64;
const MIN_PAGE: usize = 8;
const MAX_PAGE: usize = 1024;

/// One name below a prefix, up to the next separator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// What stands between the prefix and the separator, or the end of the key. Empty where the
    /// prefix is followed by a separator at once.
    pub name: Key,
    /// Whether there is a key with this very name.
    pub leaf: bool,
    /// Whether there are keys below this name: with the separator behind it.
    pub branch: bool,
}

/// The answer to [`children`]: names of one revision, as a stream.
///
/// The first error item ends the stream. Dropping it stops the reading.
pub struct Children {
    /// The revision at which the names were so; watch from the next one on to stay in step.
    pub revision: Revision,
    /// The children, each once, in the order of their first keys.
    pub entries: BoxStream<'static, Result<Child>>,
}

impl Children {
    /// Reads the children to the end.
    ///
    /// # Errors
    /// The first error of the stream.
    ///
    /// # Cancel safety
    /// Dropping the future stops the reading.
    pub async fn collect(self) -> Result<Vec<Child>> {
        self.entries.try_collect().await
    }
}

impl fmt::Debug for Children {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Children")
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}

/// Lists one level below a prefix, as a file system lists a directory.
///
/// What lies below a branch is skipped, not read: at most three reads are made for each child, and
/// usually one for many, each of keys without values and all at one revision. A name that is both
/// a key and a branch is reported once. The key that is the prefix itself is not below it.
///
/// The order is that of each child's first key, so a branch `a` comes behind a key `a!`, because
/// `a/` is above `a!`; if `a` is also a key, it comes before.
///
/// # Errors
/// Those of [`Broker::list_opts`], here or as an item of the stream;
/// [`Error::NotSupported`] if the store cannot read at a past revision.
///
/// # Cancel safety
/// Dropping the future or the stream stops the reading.
///
/// # Examples
/// ```
/// use keyval::{BrokerExt, Memory, children};
///
/// # tokio_test::block_on(async {
/// let store = Memory::new();
/// for key in ["net/eth0", "net/eth0/mtu", "net/lo/mtu", "net/lo/up"] {
///     store.put(key, "").await?;
/// }
/// let children = children(store, "net/", b'/').await?.collect().await?;
/// let names: Vec<_> = children.iter().map(|child| child.name.to_string()).collect();
/// assert_eq!(names, ["eth0", "lo"]);
/// assert!(children[0].leaf && children[0].branch);
/// assert!(!children[1].leaf && children[1].branch);
/// # Ok::<_, keyval::Error>(()) }).unwrap();
/// ```
pub async fn children<B: Broker>(
    broker: B,
    prefix: impl Into<Prefix> + Send,
    separator: u8,
) -> Result<Children> {
    if !broker.capabilities().history {
        return Err(Error::NotSupported {
            operation: "children",
            store: broker.to_string(),
        });
    }
    let prefix = prefix.into();
    let below = Key::from(prefix.as_bytes()).successor();
    let mut level = Level {
        rest: part(KeyRange::prefix(prefix.clone()).starting_at(below)),
        broker,
        prefix,
        separator,
        at: None,
        keys: VecDeque::new(),
        page: FIRST_PAGE,
        reported: Vec::new(),
    };
    // A prefix of 0xFF bytes only has no end, and is never empty; so there is always a first page.
    level.read_page().await?;
    let revision = level.at.unwrap_or_default();
    let entries = stream::try_unfold(level, |mut level| async move {
        Ok(level.next().await?.map(|child| (child, level)))
    });
    Ok(Children {
        revision,
        entries: entries.boxed(),
    })
}

/// How far the reading of one level has come.
struct Level<B> {
    broker: B,
    prefix: Prefix,
    separator: u8,
    /// The revision of the first read, at which all others are made.
    at: Option<Revision>,
    /// Keys that were read and not yet looked at, in order.
    keys: VecDeque<Key>,
    /// What has not been read yet, if anything.
    rest: Option<KeyRange>,
    /// How many keys to ask for next.
    page: usize,
    /// Branches that were reported together with the key of the same name, and are not reached yet,
    /// the next one last: `a!/` lies between `a` and `a/`. The name of each begins with the name of
    /// the one before, so there are never more than a key has bytes.
    reported: Vec<Prefix>,
}

impl<B: Broker> Level<B> {
    async fn next(&mut self) -> Result<Option<Child>> {
        loop {
            if self.keys.is_empty() && self.rest.is_some() {
                self.read_page().await?;
            }
            let Some(key) = self.keys.pop_front() else {
                if self.rest.is_some() {
                    continue;
                }
                return Ok(None);
            };
            // What lies before this key cannot be met again.
            self.reported.truncate(
                self.reported
                    .iter()
                    .rposition(|group| group.as_bytes() >= key.as_bytes() || is_in(&key, group))
                    .map_or(0, |last| last + 1),
            );
            let name = self.prefix.strip(&key).ok_or_else(|| {
                Error::backend(
                    format!("a list of {}* held a key outside", self.prefix),
                    Outcome::NotApplied,
                )
            })?;
            let cut = name.as_bytes().iter().position(|b| *b == self.separator);
            let Some(cut) = cut else {
                let branch = self.has_branch(&key).await?;
                return Ok(Some(Child {
                    name,
                    leaf: true,
                    branch,
                }));
            };
            let group = Prefix::new(key.to_bytes().slice(..key.len() - name.len() + cut + 1));
            self.skip(&group);
            if self.reported.last() != Some(&group) {
                return Ok(Some(Child {
                    name: Key::from(name.into_bytes().slice(..cut)),
                    leaf: false,
                    branch: true,
                }));
            }
        }
    }

    /// Reads the next page of keys.
    async fn read_page(&mut self) -> Result<()> {
        let Some(rest) = self.rest.take() else {
            return Ok(());
        };
        let keys = self.read(&rest, self.page).await?;
        if keys.len() >= self.page
            && let Some(last) = keys.last()
        {
            self.rest = part(rest.starting_at(last.successor()));
        }
        // Grows while all that is read is of use; skipping makes it smaller again.
        self.page = (self.page * 2).min(MAX_PAGE);
        self.keys.extend(keys);
        Ok(())
    }

    async fn read(&mut self, range: &KeyRange, limit: usize) -> Result<Vec<Key>> {
        let mut options = ListOptions::default()
            .keys_only()
            .with_limit(limit)
            .with_page(limit);
        options.at = self.at;
        let listing = self.broker.list_opts(range, options).await?;
        self.at.get_or_insert(listing.revision);
        listing
            .entries
            .map_ok(|entry| entry.key)
            .try_collect()
            .await
    }

    /// Whether there are keys below this one; if so, they are not to be reported again.
    async fn has_branch(&mut self, key: &Key) -> Result<bool> {
        let mut group = key.as_bytes().to_vec();
        group.push(self.separator);
        let group = Prefix::new(group);
        let first = Key::from(group.as_bytes());
        let known = self.keys.partition_point(|other| *other < first);
        let branch = match self.keys.get(known) {
            Some(other) => is_in(other, &group),
            None if self.rest.is_none() => false,
            // The page ends between the key and what lies below it.
            None => !self
                .read(&KeyRange::prefix(group.clone()), 1)
                .await?
                .is_empty(),
        };
        if branch {
            self.reported.push(group);
        }
        Ok(branch)
    }

    /// Leaves out the rest of a group, read or not.
    fn skip(&mut self, group: &Prefix) {
        let count = self.keys.partition_point(|key| is_in(key, group));
        self.keys.drain(..count);
        if self.keys.is_empty()
            && let Some(rest) = self.rest.take()
        {
            self.rest = group.end().and_then(|end| part(rest.starting_at(end)));
            self.page = (self.page / 4).max(MIN_PAGE);
        }
    }
}

fn is_in(key: &Key, group: &Prefix) -> bool {
    key.as_bytes().starts_with(group.as_bytes())
}

/// The range, if a key can be in it.
fn part(range: KeyRange) -> Option<KeyRange> {
    (!range.is_empty()).then_some(range)
}
