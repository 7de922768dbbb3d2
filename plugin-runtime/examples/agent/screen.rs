//! What the agent prints.

use std::fmt::Display;
use std::io::Write;

use keyval::Revision;

/// Prints a line.
pub(crate) fn line(text: impl Display) {
    // Whoever has closed the pipe does not want to read on; the agent works all the same.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Prints what went wrong, to standard error.
pub(crate) fn error(text: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "error: {text}");
}

/// Prints what happened, at which revision if it is the first thing of it.
pub(crate) fn update(revision: Option<Revision>, word: &str, text: &str) {
    let revision = revision.map(|revision| revision.to_string());
    let revision = revision.unwrap_or_default();
    line(format!("{revision:>8}  {word:<8}  {text}").trim_end());
}
