//! The name somebody probably meant, for "did you mean".

/// The candidate closest to `given`, if one is close enough to be a slip of the fingers.
///
/// Case and the choice between `-` and `_` cost nothing; a third of the letters may be wrong.
pub(crate) fn closest<'a>(given: &str, candidates: &[&'a str]) -> Option<&'a str> {
    // Longer names than any real key are noise, and would cost quadratic time.
    const LONGEST: usize = 64;
    if given.len() > LONGEST {
        return None;
    }
    let given = folded(given);
    let allowed = (given.len() / 3).max(1);
    candidates
        .iter()
        .filter(|candidate| candidate.len() <= LONGEST)
        .map(|candidate| (distance(&given, &folded(candidate)), *candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn folded(name: &str) -> Vec<char> {
    name.chars()
        .map(|c| {
            if c == '_' {
                '-'
            } else {
                c.to_ascii_lowercase()
            }
        })
        .collect()
}

/// How many letters must be added, removed, changed or swapped with their neighbour.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let changed = usize::from(a[i - 1] != b[j - 1]);
            row[j] = (above[j] + 1)
                .min(row[j - 1] + 1)
                .min(above[j - 1] + changed);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_counts_slips_of_the_fingers() {
        let cases = [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("timeout", "timeout", 0),
            ("timout", "timeout", 1),
            ("tiemout", "timeout", 1),
            ("kitten", "sitting", 3),
        ];
        for (a, b, expected) in cases {
            assert_eq!(distance(&folded(a), &folded(b)), expected, "{a} and {b}");
        }
    }

    #[test]
    fn the_closest_name_is_suggested_and_a_strange_one_is_not() {
        let keys = [
            "endpoints",
            "dial-timeout",
            "operation-timeout",
            "ca-file",
            "key-file",
        ];
        let cases = [
            ("dial_timeout", Some("dial-timeout")),
            ("DialTimeout", Some("dial-timeout")),
            ("endpoint", Some("endpoints")),
            ("ca-flie", Some("ca-file")),
            ("compression", None),
            ("x", None),
            ("", None),
        ];
        for (given, expected) in cases {
            assert_eq!(closest(given, &keys), expected, "{given}");
        }
        assert_eq!(closest(&"dial-timeout".repeat(100), &keys), None);
    }
}
