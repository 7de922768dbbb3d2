//! Reads what `cargo test` prints, and adds it up.

/// How many tests ran, over all programs of one or more `cargo test` runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    passed: u64,
    failed: u64,
    ignored: u64,
    /// The names of those that failed or were ignored.
    named: Vec<String>,
}

impl Summary {
    /// Takes one line of a test program's output into account.
    pub(crate) fn read(&mut self, line: &str) {
        if let Some(counts) = line.strip_prefix("test result: ") {
            self.passed += count(counts, "passed");
            self.failed += count(counts, "failed");
            self.ignored += count(counts, "ignored");
        } else if let Some((name, outcome)) = outcome(line) {
            let outcome = outcome.trim();
            if outcome == "FAILED" || outcome == "ignored" || outcome.starts_with("ignored,") {
                let word = if outcome == "FAILED" {
                    "failed"
                } else {
                    "ignored"
                };
                self.named.push(format!("{word}: {name}"));
            }
        }
    }

    /// Adds another run to this one.
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
        self.named.extend(other.named);
    }

    /// What keeps this from being a success, if anything.
    pub(crate) fn complaint(&self) -> Option<String> {
        let mut complaint = if self.failed > 0 {
            format!(
                "{} of {} tests failed",
                self.failed,
                self.passed + self.failed
            )
        } else if self.ignored > 0 {
            format!(
                "{} ignored, and an ignored test proves nothing",
                self.ignored
            )
        } else {
            return None;
        };
        for name in &self.named {
            complaint.push_str("\n  ");
            complaint.push_str(name);
        }
        Some(complaint)
    }

    /// Whether not one test ran.
    pub(crate) fn is_empty(&self) -> bool {
        self.passed + self.failed == 0
    }

    /// The one line that ends a test run.
    pub(crate) fn line(&self) -> String {
        format!(
            "tests: {} passed, {} failed, {} skipped",
            self.passed, self.failed, self.ignored
        )
    }
}

/// The number before a word, as in `3 passed; 0 failed`.
fn count(counts: &str, word: &str) -> u64 {
    let part = counts
        .split([';', '.'])
        .map(str::trim)
        .find(|part| part.ends_with(word));
    part.and_then(|part| part.split_whitespace().next())
        .and_then(|n| n.parse().ok())
        .unwrap_or(0)
}

/// The name and outcome in `test NAME ... OUTCOME`.
fn outcome(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("test ")?.split_once(" ... ")
}

#[cfg(test)]
mod tests {
    use super::Summary;

    fn read(output: &str) -> Summary {
        let mut summary = Summary::default();
        output.lines().for_each(|line| summary.read(line));
        summary
    }

    #[test]
    fn the_counts_of_all_programs_are_added_up() {
        let summary = read(
            "running 2 tests\n\
             test key::tests::a_key_is_never_empty ... ok\n\
             test wide ... ok\n\
             test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.03s\n\
             test src/lib.rs - Key (line 12) ... ok\n\
             test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.13s\n",
        );
        assert_eq!(summary.line(), "tests: 3 passed, 0 failed, 0 skipped");
        assert_eq!(summary.complaint(), None);
    }

    #[test]
    fn a_failed_test_is_named() {
        let summary = read(
            "test quick ... ok\ntest broken::promise ... FAILED\n\
             test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out\n",
        );
        assert_eq!(
            summary.complaint().as_deref(),
            Some("1 of 2 tests failed\n  failed: broken::promise")
        );
    }

    #[test]
    fn an_ignored_test_is_a_complaint_that_names_it() {
        let summary = read(
            "test quick ... ok\ntest slow ... ignored, takes an hour\n\
             test result: ok. 1 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out\n",
        );
        let complaint = summary.complaint().unwrap();
        assert_eq!(
            complaint,
            "1 ignored, and an ignored test proves nothing\n  ignored: slow"
        );
    }

    #[test]
    fn a_run_without_tests_is_empty() {
        let nothing = "running 0 tests\n\
             test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n";
        assert!(read(nothing).is_empty());
        assert!(!read("test result: ok. 1 passed; 0 failed; 0 ignored\n").is_empty());
    }
}
