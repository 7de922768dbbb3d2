//! Cleans up behind this process, however it ends.

use std::process::{Child, ChildStdin, Command, Stdio};

/// A shell that runs a line as soon as this process is gone, and does nothing if it is dismissed.
///
/// Its standard input ends with this process: statics are not dropped, and a killed process drops
/// nothing.
#[derive(Debug)]
pub(crate) struct Watchdog {
    shell: Child,
    /// What it reads from; never written to.
    _line: ChildStdin,
}

impl Watchdog {
    /// Sets one up to run this line of shell, in which the arguments are `$1`, `$2` and so on.
    pub(crate) fn new(line: &str, arguments: &[&str]) -> Self {
        let mut shell = Command::new("sh")
            .args(["-c", &format!("read _; {line}"), "keyval-watchdog"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("there is a shell");
        let line = shell.stdin.take().expect("it was asked for");
        Self { shell, _line: line }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // Ended before its input is, so that it does nothing.
        drop(self.shell.kill());
        drop(self.shell.wait());
    }
}
