//! A whole process against plugins that do not behave: what it says, and how it ends.
//!
//! They run the example `stubborn`, which `cargo test -p plugin-runtime` builds beforehand; see
//! `agent.rs` for when it does not.

#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Once, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// More than any of these needs by far, and far less than what blocks.
const PATIENCE: Duration = Duration::from_secs(30);

/// The example at work.
struct Stubborn {
    child: Child,
    /// What it says, a line at a time, with its end.
    said: mpsc::Receiver<String>,
}

impl Stubborn {
    fn start(act: &str) -> Self {
        Self::start_with(act, |_| {})
    }

    fn start_with(act: &str, prepare: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new(program());
        command
            .arg(act)
            .env_remove("NOTIFY_SOCKET")
            .env("RUST_BACKTRACE", "0")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        prepare(&mut command);
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (tell, said) = mpsc::channel();
        thread::spawn(move || {
            for line in lines {
                // If nobody waits for it any more, the test is over.
                let _ = tell.send(line.unwrap() + "\n");
            }
        });
        Self { child, said }
    }

    /// Waits for a line that begins so.
    fn said(&mut self, beginning: &str) {
        loop {
            let line = self.said.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|gone| panic!("it never said {beginning:?}: {gone}"));
            if line.starts_with(beginning) {
                return;
            }
        }
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits for its end; returns how it ended and what it said after that, of errors all.
    fn end(mut self) -> (ExitStatus, String, String) {
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(began.elapsed() < PATIENCE, "it does not end");
            thread::sleep(Duration::from_millis(5));
        };
        let out = self.said.iter().collect();
        let mut errors = String::new();
        let stderr = self.child.stderr.as_mut().unwrap();
        stderr.read_to_string(&mut errors).unwrap();
        (status, out, errors)
    }
}

/// One that a failed test leaves behind is not left running.
impl Drop for Stubborn {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program() -> PathBuf {
    // Tests are in target/debug/deps, examples in target/debug/examples.
    let mut program = std::env::current_exe().unwrap();
    program.pop();
    program.pop();
    let program = program.join("examples").join("stubborn");
    static BUILT: Once = Once::new();
    BUILT.call_once(|| {
        if !program.exists() {
            let build = ["build", "-p", "plugin-runtime", "--example", "stubborn"];
            let built = Command::new(env!("CARGO")).args(build).status();
            assert!(built.unwrap().success());
        }
    });
    program
}

#[test]
fn a_signal_shuts_down_in_order_with_code_0() {
    for signal in ["-INT", "-TERM"] {
        let mut agent = Stubborn::start("behave");
        agent.said("agent ");
        agent.signal(signal);
        let (status, out, errors) = agent.end();
        assert_eq!(status.code(), Some(0), "{errors}");
        assert_eq!(out, "shutting down\nneighbour is closed\n");
    }
}

#[test]
fn a_second_signal_ends_the_process_at_once_with_code_130() {
    for act in [
        "block-close",
        "hang-close",
        "block-task",
        "block-all",
        "block-main",
    ] {
        for (first, second) in [("-TERM", "-INT"), ("-INT", "-INT"), ("-TERM", "-TERM")] {
            // The first signal must not have its effect before the second comes.
            let mut agent = Stubborn::start_with(act, |command| {
                command.env("STUBBORN_DEADLINE", "60");
            });
            agent.said("agent ");
            agent.signal(first);
            agent.said("shutting down");
            agent.signal(second);
            let (status, out, _) = agent.end();
            assert_eq!(status.code(), Some(130), "{act} {first} {second}");
            assert_eq!(out, "", "it was too late to close the neighbour");
        }
    }
}

#[test]
fn the_first_signal_ends_a_process_whose_every_worker_is_blocked() {
    for signal in ["-INT", "-TERM"] {
        let mut agent = Stubborn::start("block-all");
        agent.said("every worker is blocked");
        agent.said("agent ");
        agent.signal(signal);
        let (status, out, errors) = agent.end();
        assert_eq!(status.code(), Some(1), "{errors}");
        assert_eq!(out, "shutting down\nneighbour is closed\n");
        let told =
            "plugin stubborn failed in close: these tasks did not end within 1s: task, blocks 0, ";
        assert!(errors.contains(told), "{errors}");
    }
}

#[test]
fn an_init_that_never_ends_ends_the_start_and_not_the_process() {
    for (act, told) in [
        ("block-init", "it did not end within 1s"),
        ("hang-init", "it did not end within 1s"),
        ("panic-init", "it panicked: as asked"),
    ] {
        let (status, out, errors) = Stubborn::start(act).end();
        assert_eq!(status.code(), Some(1), "{act}: {errors}");
        assert!(out.ends_with("neighbour is closed\n"), "{act}: {out}");
        let told = format!("plugin stubborn failed in init: {told}");
        assert!(errors.contains(&told), "{act}: {errors}");
    }
}

#[test]
fn a_task_that_never_ends_does_not_keep_the_process_up() {
    for act in ["block-task", "hang-task"] {
        let mut agent = Stubborn::start(act);
        agent.said("agent ");
        agent.signal("-TERM");
        let (status, out, errors) = agent.end();
        assert_eq!(status.code(), Some(1), "{act}: {errors}");
        assert!(out.ends_with("neighbour is closed\n"), "{act}: {out}");
        let told = "these tasks did not end within 1s: task";
        assert!(errors.contains(told), "{act}: {errors}");
    }
}

#[test]
fn a_close_that_never_ends_does_not_keep_the_process_up() {
    for (act, told) in [
        ("block-close", "it did not end within 1s"),
        ("hang-close", "it did not end within 1s"),
        ("panic-close", "it panicked: as asked"),
        ("panic-drop", "it panicked: as asked"),
    ] {
        let mut agent = Stubborn::start(act);
        agent.said("agent ");
        agent.signal("-TERM");
        let (status, out, errors) = agent.end();
        assert_eq!(status.code(), Some(1), "{act}: {errors}");
        assert!(out.ends_with("neighbour is closed\n"), "{act}: {out}");
        let told = format!("plugin stubborn failed in close: {told}");
        assert!(errors.contains(&told), "{act}: {errors}");
    }
}

#[test]
fn a_panicking_task_takes_no_process_down() {
    let mut agent = Stubborn::start("panic-task");
    agent.said("agent ");
    agent.signal("-TERM");
    let (status, out, errors) = agent.end();
    assert_eq!(status.code(), Some(0), "{errors}");
    assert!(out.ends_with("neighbour is closed\n"), "{out}");
}

/// What systemd hears, a datagram at a time.
#[cfg(feature = "systemd")]
struct Systemd {
    socket: std::os::unix::net::UnixDatagram,
    folder: tempfile::TempDir,
}

#[cfg(feature = "systemd")]
impl Systemd {
    fn new() -> Self {
        Self::listen(tempfile::tempdir().unwrap())
    }

    fn listen(folder: tempfile::TempDir) -> Self {
        let path = folder.path().join("notify");
        let socket = std::os::unix::net::UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, folder }
    }

    fn start(&self, act: &str) -> Stubborn {
        Self::start_in(&self.folder, act)
    }

    /// Starts it, whether or not anybody listens in that folder.
    fn start_in(folder: &tempfile::TempDir, act: &str) -> Stubborn {
        Stubborn::start_with(act, |command| {
            command
                .env("NOTIFY_SOCKET", folder.path().join("notify"))
                // Seldom enough that nobody has to read what is sent while the agent ends.
                .env("WATCHDOG_USEC", "1000000")
                .env_remove("WATCHDOG_PID");
        })
    }

    /// Waits until systemd hears this line, and returns the whole of that datagram.
    fn hears(&self, line: &str) -> String {
        loop {
            let mut buffer = [0; 4096];
            let length = self.socket.recv(&mut buffer).unwrap();
            let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
            if text.lines().any(|told| told == line) {
                return text;
            }
        }
    }
}

#[cfg(feature = "systemd")]
#[test]
fn systemd_hears_that_the_agent_is_ready_alive_and_stopping() {
    let systemd = Systemd::new();
    let agent = systemd.start("behave");
    assert!(systemd.hears("READY=1").contains("STATUS=ok"));
    systemd.hears("WATCHDOG=1");
    systemd.hears("WATCHDOG=1");
    agent.signal("-TERM");
    assert!(systemd.hears("STOPPING=1").contains("STATUS=stopping"));
    assert_eq!(agent.end().0.code(), Some(0));
}

#[cfg(feature = "systemd")]
#[test]
fn systemd_hears_why_an_agent_is_not_well_and_not_that_it_is_ready() {
    let systemd = Systemd::new();
    let agent = systemd.start("panic-task");
    let heard = systemd.hears("STATUS=error: stubborn: task task panicked: as asked");
    assert!(!heard.contains("READY=1"), "{heard}");
    drop(agent);
}

#[cfg(feature = "systemd")]
#[test]
fn systemd_hears_of_the_agent_although_it_could_not_be_told_at_first() {
    let folder = tempfile::tempdir().unwrap();
    let mut agent = Systemd::start_in(&folder, "behave");
    agent.said("agent ");
    let systemd = Systemd::listen(folder);
    systemd.hears("READY=1");
    systemd.hears("WATCHDOG=1");
    systemd.hears("WATCHDOG=1");
    agent.signal("-TERM");
    systemd.hears("STOPPING=1");
    assert_eq!(agent.end().0.code(), Some(0));
}
