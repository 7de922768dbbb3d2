//! The known bugs of etcd's watches, version by version: a run tells them by name, and excuses
//! nothing by them.

use std::fmt::{self, Write as _};

/// A published bug of etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownBug {
    /// What it does, in a few words.
    pub name: &'static str,
    /// Where it is described.
    pub link: &'static str,
    /// The versions that have it, in words.
    pub versions: &'static str,
    /// What the backend does about it.
    pub answer: &'static str,
    repaired: Repaired,
}

/// In which release of each line a bug was repaired; a line without one never had it, as far as its
/// list of changes says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Repaired {
    in_3_4: Option<u32>,
    in_3_5: Option<u32>,
    in_3_6: Option<u32>,
}

const fn repaired(in_3_4: u32, in_3_5: u32, in_3_6: Option<u32>) -> Repaired {
    Repaired {
        in_3_4: Some(in_3_4),
        in_3_5: Some(in_3_5),
        in_3_6,
    }
}

const LIST: &[KnownBug] = &[
    KnownBug {
        name: "duplicated events",
        link: "https://github.com/etcd-io/etcd/blob/main/CHANGELOG/CHANGELOG-3.4.md",
        versions: "before 3.4.24 and 3.5.8",
        answer: "what was delivered is dropped",
        repaired: repaired(24, 8, None),
    },
    KnownBug {
        name: "a watch travels back in time when its member takes over a snapshot",
        link: "https://github.com/etcd-io/etcd/issues/15271",
        versions: "before 3.4.25 and 3.5.8",
        answer: "what was delivered is dropped",
        repaired: repaired(25, 8, None),
    },
    KnownBug {
        name: "progress that was asked for overtakes events",
        link: "https://github.com/etcd-io/etcd/issues/15220",
        versions: "before 3.4.25 and 3.5.8",
        answer: "progress of these versions is taken as a sign of life only",
        repaired: repaired(25, 8, None),
    },
    KnownBug {
        name: "events lost after a compaction that a slow stream was not told",
        link: "https://github.com/etcd-io/etcd/blob/main/CHANGELOG/CHANGELOG-3.4.md",
        versions: "before 3.4.31 and 3.5.13",
        answer: "streams are always read, so that none is slow; no client can do more",
        repaired: repaired(31, 13, None),
    },
    KnownBug {
        name: "a delete is missing from a watch opened at the revision of a compaction",
        link: "https://github.com/etcd-io/etcd/issues/19179",
        versions: "before 3.4.36 and 3.5.18",
        answer: "a watch of the past is opened one revision earlier",
        repaired: repaired(36, 18, None),
    },
    KnownBug {
        name: "a watch of a future revision delivers old events",
        link: "https://github.com/etcd-io/etcd/issues/20221",
        versions: "before 3.4.38, 3.5.22 and 3.6.2",
        answer: "what lies before the start is dropped",
        repaired: repaired(38, 22, Some(2)),
    },
];

impl fmt::Display for KnownBug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            link,
            versions,
            answer,
            ..
        } = self;
        write!(f, "{name} ({versions}, {link}): {answer}")
    }
}

/// The known bugs of this version of etcd that a history could show. A version that cannot be read
/// has none.
#[must_use]
pub fn known_bugs(version: &str) -> Vec<KnownBug> {
    let mut numbers = version.split(['.', '-']).map(str::parse::<u32>);
    let mut number = || numbers.next().and_then(Result::ok);
    let (major, minor, patch) = (number(), number(), number().unwrap_or(0));
    let has = |bug: &&KnownBug| {
        let repaired = match (major, minor) {
            (Some(3), Some(4)) => bug.repaired.in_3_4,
            (Some(3), Some(5)) => bug.repaired.in_3_5,
            (Some(3), Some(6)) => bug.repaired.in_3_6,
            _ => None,
        };
        repaired.is_some_and(|repaired| patch < repaired)
    };
    LIST.iter().filter(has).copied().collect()
}

/// The known bugs of this version, a line each, for whoever reads what a run says.
#[must_use]
pub fn in_words(version: &str) -> String {
    let mut lines = String::new();
    for bug in known_bugs(version) {
        writeln!(lines, "known bug of etcd {version}: {bug}").expect("a string takes all");
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::{in_words, known_bugs};

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
            assert_eq!(in_words(version).lines().count(), count, "{version}");
        }
    }
}
