//! The last calls of a promise, shown when it is not kept.

use std::collections::VecDeque;
use std::fmt::{self, Debug, Write};

use parking_lot::Mutex;

/// How many calls are remembered.
const CALLS: usize = 40;
/// How much of a call and its answer is shown, in bytes.
const WIDTH: usize = 300;

/// Remembers the last calls.
#[derive(Debug, Default)]
pub(crate) struct Log {
    lines: Mutex<VecDeque<String>>,
}

impl Log {
    /// Remembers a call and its answer.
    pub(crate) fn push(&self, call: &str, answer: &dyn Debug) {
        let mut line = Short(String::new());
        // Only the shortening fails, and it is meant to.
        let _ = write!(line, "{call} -> {answer:?}");
        let mut lines = self.lines.lock();
        if lines.len() == CALLS {
            lines.pop_front();
        }
        lines.push_back(line.0);
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        self.lines.lock().clear();
    }

    /// Prints what is remembered, oldest first.
    pub(crate) fn print(&self) {
        eprintln!("the last calls of the promise:");
        for line in &*self.lines.lock() {
            eprintln!("  {line}");
        }
    }
}

/// Takes text up to a width and then refuses more, so that nobody formats a megabyte in vain.
struct Short(String);

impl Write for Short {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = WIDTH.saturating_sub(self.0.len());
        if text.len() <= room {
            self.0.push_str(text);
            return Ok(());
        }
        let end = (0..=room).rev().find(|at| text.is_char_boundary(*at));
        self.0.push_str(&text[..end.unwrap_or(0)]);
        self.0.push_str("...");
        Err(fmt::Error)
    }
}
