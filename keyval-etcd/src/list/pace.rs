//! How many entries to ask for at a time. etcd can be given a number of entries and not of bytes, so
//! that a page is bounded by what the ones before it held, and begins small where nothing is known.

use keyval::Entry;

/// How many entries the first page has at most, unless the caller says so: even of the largest values
/// that etcd takes, they are no more than a list may hold.
pub(crate) const FIRST: usize = 16;
/// How many entries any other page has at most, unless the caller says so.
pub(crate) const PAGE: usize = 2000;
/// How many bytes a page should have at most, as far as those before it tell.
const BYTES: usize = 768 * 1024;
/// What an entry takes besides its key and its value.
const SURPLUS: usize = 64;
/// How many times larger than one before it a page is at most, and how many times smaller it is than
/// one that did not come.
pub(crate) const STEP: usize = 4;
/// After so many times without an answer, one behind the other, no smaller page is tried.
const PATIENCE: u32 = 3;

/// How many entries to ask for, by what became of the pages so far.
#[derive(Debug)]
pub(crate) struct Pace {
    /// How many to ask for now, and at most.
    page: usize,
    most: usize,
    /// How many bytes an entry has; large ones are remembered for a while, as several ranges are read
    /// at once, and the last page is not always the last of the list.
    entry: usize,
    /// How often in a row there was no answer.
    late: u32,
    /// Whether one request at a time is made, as even single entries were late.
    alone: bool,
    /// Whether pages are still to grow: where the next ones lie is guessed from too little yet, and to
    /// look for them beyond a wrong guess takes a server as long as to read them.
    grows: bool,
}

impl Pace {
    /// Of a list of which nothing is known: with a first page of so many entries, and others of so many
    /// at most.
    pub(crate) fn new(first: usize, most: usize) -> Self {
        Self {
            page: first,
            most,
            entry: 0,
            late: 0,
            alone: false,
            grows: false,
        }
    }

    /// How many entries to ask for.
    pub(crate) fn page(&self) -> usize {
        self.page
    }

    /// Whether no other request is to be made while one is under way.
    pub(crate) fn is_alone(&self) -> bool {
        self.alone || self.grows
    }

    /// Notes what came of a request for so many entries.
    pub(crate) fn arrived(&mut self, asked: usize, entries: usize, bytes: usize) {
        self.late = 0;
        if entries > 0 {
            self.entry = bytes.div_ceil(entries).max(self.entry / 2);
        }
        let fitting = (BYTES / self.entry.max(1)).min(self.most).max(1);
        let grown = self.page.max(asked.saturating_mul(STEP));
        self.page = grown.min(fitting);
        self.grows = self.page < fitting;
    }

    /// Notes that so many entries were more than one answer may hold.
    pub(crate) fn too_large(&mut self, asked: usize) {
        self.most = self.most.min(asked / STEP).max(1);
        self.page = self.page.min(self.most);
    }

    /// Notes that a request for so many entries, made while no other was or beside others, was not
    /// answered in time; whether to try with less at a time: fewer entries, or one of them and
    /// nothing else.
    pub(crate) fn is_worth_less(&mut self, asked: usize, alone: bool) -> bool {
        // One that was sent together with another says nothing new.
        if asked > self.most || (self.alone && !alone) {
            return true;
        }
        self.late += 1;
        self.too_large(asked);
        // Also where it was alone: what is on its way of those given up comes before it.
        self.alone |= asked == 1;
        self.late < PATIENCE
    }
}

/// How many bytes entries take.
pub(crate) fn bytes(entries: &[Entry]) -> usize {
    let size = |entry: &Entry| entry.key.len() + entry.value.len() + SURPLUS;
    entries.iter().map(size).sum()
}

#[cfg(test)]
mod tests {
    use super::{BYTES, FIRST, PAGE, Pace};

    #[test]
    fn pages_of_small_entries_grow_within_four_answers() {
        let mut pace = Pace::new(FIRST, PAGE);
        let mut pages = vec![pace.page()];
        while pace.page() < PAGE {
            let asked = pace.page();
            // Several that were asked for together count as one.
            pace.arrived(asked, asked, asked * 80);
            pace.arrived(asked, asked, asked * 80);
            assert_eq!(pace.is_alone(), pace.page() < PAGE);
            pages.push(pace.page());
        }
        assert_eq!(pages, [FIRST, 64, 256, 1024, PAGE]);
    }

    #[test]
    fn the_larger_the_entries_the_shorter_the_page_and_large_ones_are_remembered() {
        let mut pace = Pace::new(FIRST, PAGE);
        pace.arrived(FIRST, FIRST, FIRST * BYTES / 8);
        assert_eq!(pace.page(), 8);
        pace.arrived(8, 8, 8 * BYTES * 2);
        assert_eq!(pace.page(), 1, "one at least");
        pace.arrived(1, 1, 80);
        assert_eq!(pace.page(), 1, "others may be as large");
        pace.arrived(1, 1, 80);
        assert_eq!(pace.page(), 2);
    }

    #[test]
    fn what_does_not_come_is_asked_for_in_smaller_pages_a_few_times() {
        let mut pace = Pace::new(FIRST, PAGE);
        pace.arrived(64, 64, 64 * 80);
        assert!(pace.is_worth_less(256, false));
        assert!(
            pace.is_worth_less(256, false) && pace.page() == 64,
            "counted once"
        );
        assert!(pace.is_worth_less(64, false));
        assert!(!pace.is_worth_less(16, false), "nobody answers");

        let mut pace = Pace::new(FIRST, PAGE);
        for asked in [64, 16, 4] {
            assert!(pace.is_worth_less(asked, false));
            pace.arrived(1, 1, 80);
            assert!(pace.page() <= asked / 4, "it stays small");
        }
    }

    #[test]
    fn single_entries_that_do_not_come_are_asked_for_alone_a_few_times() {
        let mut pace = Pace::new(1, PAGE);
        assert!(!pace.is_alone());
        assert!(pace.is_worth_less(1, false) && pace.is_alone());
        for _ in 0..5 {
            assert!(pace.is_worth_less(1, false), "it was sent with the first");
        }
        pace.arrived(1, 1, BYTES);
        assert!(pace.is_alone(), "the line is not faster for that");
        assert!(pace.is_worth_less(1, true));
        assert!(pace.is_worth_less(1, true));
        assert!(!pace.is_worth_less(1, true), "nobody answers");
    }
}
