//! Runs other programs: watched, bounded in time, from the root of the workspace.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// How often a bounded program is asked whether it has ended.
const POLL: Duration = Duration::from_millis(20);

/// The folder that holds the workspace's `Cargo.toml`.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// The folder for what is fetched or built to work on this workspace; `cargo clean` empties it.
pub(crate) fn tools() -> PathBuf {
    root().join("target/tools")
}

/// Makes a folder and those above it.
pub(crate) fn make_folder(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)
        .map_err(|error| Error::failed(format!("cannot make {}: {error}", folder.display())))
}

/// A command that starts in the root of the workspace.
pub(crate) fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(root())
        .stdin(Stdio::null());
    command
}

/// The cargo that runs this program, without the variables it set for this program alone.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let program = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = command(&program, arguments);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&*name);
        }
    }
    command
}

/// The command as a person would type it.
pub(crate) fn typed(command: &Command) -> String {
    let program = Path::new(command.get_program());
    // Cargo is called by its path, which says nothing and is long.
    let program = if program.ends_with("cargo") {
        Path::new("cargo")
    } else {
        program
    };
    let mut words = vec![program.to_string_lossy().into_owned()];
    words.extend(
        command
            .get_args()
            .map(|word| word.to_string_lossy().into_owned()),
    );
    words.join(" ")
}

/// Runs a command whose output goes straight to the terminal.
pub(crate) fn run(mut command: Command) -> Result<()> {
    let text = typed(&command);
    println!("$ {text}");
    let status = command
        .status()
        .map_err(|error| cannot_start(&text, &error))?;
    if status.success() {
        Ok(())
    } else {
        Err(Error::failed(format!("`{text}` ended with {status}")))
    }
}

/// Runs a command, hands every line of its output to `line` as well as to the terminal, and says
/// whether it succeeded.
pub(crate) fn run_lines(mut command: Command, mut line: impl FnMut(&str)) -> Result<bool> {
    let text = typed(&command);
    println!("$ {text}");
    command.stdout(Stdio::piped());
    let mut child = command
        .spawn()
        .map_err(|error| cannot_start(&text, &error))?;
    if let Some(stdout) = child.stdout.take() {
        let mut reader = BufReader::new(stdout);
        let mut bytes = Vec::new();
        // Bytes, because a test may print what is not UTF-8.
        while reader
            .read_until(b'\n', &mut bytes)
            .is_ok_and(|read| read > 0)
        {
            let printed = String::from_utf8_lossy(&bytes);
            print!("{printed}");
            line(printed.trim_end());
            bytes.clear();
        }
    }
    let status = child.wait().map_err(|error| cannot_start(&text, &error))?;
    Ok(status.success())
}

/// Runs a command to its end and returns what it printed; it is killed after `limit`.
///
/// # Errors
/// It cannot be started, or it does not end in time. A status other than 0 is not an error here.
pub(crate) fn capture(mut command: Command, limit: Duration) -> Result<Output> {
    let text = typed(&command);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .map_err(|error| cannot_start(&text, &error))?;
    // Both pipes are emptied from the start: a program that prints much must not wait for us.
    let stdout = drain(child.stdout.take());
    let stderr = drain(child.stderr.take());
    let started = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if started.elapsed() < limit => thread::sleep(POLL),
            Ok(None) => {
                drop(child.kill());
                drop(child.wait());
                let limit = limit.as_secs();
                return Err(Error::failed(format!(
                    "`{text}` did not end within {limit} s"
                )));
            }
            Err(error) => return Err(cannot_start(&text, &error)),
        }
    };
    Ok(Output {
        status,
        stdout: stdout.join().unwrap_or_default(),
        stderr: stderr.join().unwrap_or_default(),
    })
}

/// Like [`capture`], and a status other than 0 is an error that shows the last line of complaint.
pub(crate) fn capture_ok(command: Command, limit: Duration) -> Result<String> {
    let text = typed(&command);
    let output = capture(command, limit)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    let last = complaint
        .lines()
        .rfind(|line| !line.trim().is_empty())
        .unwrap_or("no message");
    Err(Error::failed(format!(
        "`{text}` ended with {}: {}",
        output.status,
        last.trim()
    )))
}

/// The first program of this name on PATH.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What could be read before a broken pipe is still worth showing.
            drop(pipe.read_to_end(&mut bytes));
        }
        bytes
    })
}

fn cannot_start(text: &str, error: &std::io::Error) -> Error {
    Error::failed(format!("cannot run `{text}`: {error}"))
}
