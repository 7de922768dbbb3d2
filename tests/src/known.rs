//! The known bugs of etcd's watches, version by version: they are told by name when they show.

use keyval::testing::history::{KnownBug, Rule};

/// A bug, and in which release of each line it was repaired; a line without one never had it, as
/// far as its list of changes says.
struct Repaired {
    bug: KnownBug,
    in_3_4: Option<u32>,
    in_3_5: Option<u32>,
    in_3_6: Option<u32>,
}

const LIST: &[Repaired] = &[
    Repaired {
        bug: KnownBug {
            name: "duplicated events",
            link: "https://github.com/etcd-io/etcd/blob/main/CHANGELOG/CHANGELOG-3.4.md",
            versions: "before 3.4.24 and 3.5.8",
            rules: &[Rule::Unique],
        },
        in_3_4: Some(24),
        in_3_5: Some(8),
        in_3_6: None,
    },
    Repaired {
        bug: KnownBug {
            name: "a watch travels back in time when its member takes over a snapshot",
            link: "https://github.com/etcd-io/etcd/issues/15271",
            versions: "before 3.4.25 and 3.5.8",
            rules: &[Rule::Ordered, Rule::Unique],
        },
        in_3_4: Some(25),
        in_3_5: Some(8),
        in_3_6: None,
    },
    Repaired {
        bug: KnownBug {
            name: "progress that was asked for overtakes events",
            link: "https://github.com/etcd-io/etcd/issues/15220",
            versions: "before 3.4.25 and 3.5.8",
            rules: &[Rule::Bookmarkable],
        },
        in_3_4: Some(25),
        in_3_5: Some(8),
        in_3_6: None,
    },
    Repaired {
        bug: KnownBug {
            name: "events lost after a compaction",
            link: "https://github.com/etcd-io/etcd/blob/main/CHANGELOG/CHANGELOG-3.4.md",
            versions: "before 3.4.31 and 3.5.13",
            rules: &[Rule::Reliable, Rule::Resumable],
        },
        in_3_4: Some(31),
        in_3_5: Some(13),
        in_3_6: None,
    },
    Repaired {
        bug: KnownBug {
            name: "a delete is missing from a watch opened at the revision of a compaction",
            link: "https://github.com/etcd-io/etcd/issues/19179",
            versions: "before 3.4.36 and 3.5.18",
            rules: &[Rule::Reliable, Rule::Resumable],
        },
        in_3_4: Some(36),
        in_3_5: Some(18),
        in_3_6: None,
    },
    Repaired {
        bug: KnownBug {
            name: "a watch of a future revision delivers old events",
            link: "https://github.com/etcd-io/etcd/issues/20221",
            versions: "before 3.4.38, 3.5.22 and 3.6.2",
            rules: &[Rule::Resumable],
        },
        in_3_4: Some(38),
        in_3_5: Some(22),
        in_3_6: Some(2),
    },
];

/// The known bugs of this version of etcd that a history can show. A version that cannot be read
/// has none.
#[must_use]
pub fn known_bugs(version: &str) -> Vec<KnownBug> {
    let mut numbers = version.split(['.', '-']).map(str::parse::<u32>);
    let mut number = || numbers.next().and_then(Result::ok);
    let (major, minor, patch) = (number(), number(), number().unwrap_or(0));
    let has = |repaired: &&Repaired| {
        let repaired = match (major, minor) {
            (Some(3), Some(4)) => repaired.in_3_4,
            (Some(3), Some(5)) => repaired.in_3_5,
            (Some(3), Some(6)) => repaired.in_3_6,
            _ => None,
        };
        repaired.is_some_and(|repaired| patch < repaired)
    };
    let found = LIST.iter().filter(has);
    found.map(|repaired| repaired.bug.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::known_bugs;

    #[test]
    fn each_version_has_the_bugs_that_were_repaired_later() {
        for (version, count) in [
            ("3.4.23", 6),
            ("3.4.24", 5),
            ("3.5.1", 6),
            ("3.5.16", 2),
            ("3.5.26", 0),
            ("3.6.0-rc.1", 1),
            ("3.6.2", 0),
            ("", 0),
        ] {
            assert_eq!(known_bugs(version).len(), count, "{version}");
        }
    }
}
