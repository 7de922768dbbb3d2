//! Whether a server's word on its progress can be taken.

/// Whether an etcd of this version answers a request for progress only behind the changes up to
/// that point. Older ones answer past them: <https://github.com/etcd-io/etcd/issues/15220>.
///
/// A version that is not understood counts as old.
pub(crate) fn requested_progress_is_exact(version: &str) -> bool {
    let mut numbers = version
        .split(['.', '-', '+'])
        .map_while(|part| part.parse::<u64>().ok());
    let (Some(major), Some(minor)) = (numbers.next(), numbers.next()) else {
        return false;
    };
    let patch = numbers.next().unwrap_or(0);
    match (major, minor) {
        (3, ..4) => false,
        (3, 4) => patch >= 25,
        (3, 5) => patch >= 8,
        _ => major >= 3,
    }
}

#[cfg(test)]
mod tests {
    use super::requested_progress_is_exact;

    #[test]
    fn only_servers_with_the_fix_are_trusted() {
        for (version, exact) in [
            ("3.3.27", false),
            ("3.4.23", false),
            ("3.4.25", true),
            ("3.4.36", true),
            ("3.5.1", false),
            ("3.5.7", false),
            ("3.5.8", true),
            ("3.5.16", true),
            ("3.6.0-rc.1", true),
            ("3.7.0-alpha.0", true),
            ("4.0.0", true),
            ("2.3.8", false),
            ("", false),
            ("next", false),
        ] {
            assert_eq!(requested_progress_is_exact(version), exact, "{version}");
        }
    }
}
