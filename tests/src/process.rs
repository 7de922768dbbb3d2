//! An etcd as a child process that never outlives the tests.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::port::Port;
use crate::watchdog::Watchdog;

/// Where in its folder the server stores.
const DATA: &str = "data";
/// Kills the server and removes its data.
const CLEAN_UP: &str = "kill -9 \"$1\"; rm -rf -- \"$2\"";
/// Removes the data of a server that does not run.
const TIDY_UP: &str = "rm -rf -- \"$1\"";

/// The name of a server and the ports on which it listens.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) client: Port,
    pub(crate) peer: Port,
}

impl Place {
    /// A place on ports that are free.
    pub(crate) fn free(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            client: Port::free(),
            peer: Port::free(),
        }
    }
}

/// The cluster to which a server belongs.
#[derive(Clone, Debug)]
pub(crate) struct Join {
    token: String,
    members: String,
    existing: bool,
}

impl Join {
    /// A new cluster of these members; servers of two clusters never talk if their tokens differ.
    pub(crate) fn found<'a>(token: &str, members: impl IntoIterator<Item = &'a Place>) -> Self {
        let members: Vec<String> = members
            .into_iter()
            .map(|place| format!("{}=http://{}", place.name, place.peer.address()))
            .collect();
        Self {
            token: token.to_owned(),
            members: members.join(","),
            existing: false,
        }
    }

    /// The same cluster, for a member that comes later.
    pub(crate) fn existing(self) -> Self {
        Self {
            existing: true,
            ..self
        }
    }
}

/// A server of its own process, on free ports of the loopback, with its data in a folder of its
/// own.
#[derive(Debug)]
pub(crate) struct Process {
    program: PathBuf,
    arguments: Vec<String>,
    folder: TempDir,
    place: Place,
    running: Option<Running>,
    /// For the time after it was killed: it may be in a static, which nobody drops.
    tidy: Option<Watchdog>,
}

#[derive(Debug)]
struct Running {
    server: Child,
    watchdog: Watchdog,
}

impl Process {
    /// Prepares a server without starting it.
    pub(crate) fn new(program: &Path, place: &Place, join: &Join, extra: &[&str]) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("keyval-etcd-")
            .tempdir()
            .expect("the temporary folder is writable");
        let Place { name, client, peer } = place;
        let (client, peer) = (client.address(), peer.address());
        let state = if join.existing { "existing" } else { "new" };
        let mut arguments = vec![
            format!("--name={name}"),
            format!("--data-dir={}", folder.path().join(DATA).display()),
            format!("--listen-client-urls=http://{client}"),
            format!("--advertise-client-urls=http://{client}"),
            format!("--listen-peer-urls=http://{peer}"),
            format!("--initial-advertise-peer-urls=http://{peer}"),
            format!("--initial-cluster={}", join.members),
            format!("--initial-cluster-token={}", join.token),
            format!("--initial-cluster-state={state}"),
            "--logger=zap".to_owned(),
            "--log-level=warn".to_owned(),
        ];
        if knows(program, "unsafe-no-fsync") {
            arguments.push("--unsafe-no-fsync".to_owned());
        }
        // An argument may name the address that is known only here.
        let address = client.to_string();
        arguments.extend(
            extra
                .iter()
                .map(|extra| extra.replace("{client}", &address)),
        );
        Self {
            program: program.to_owned(),
            arguments,
            folder,
            place: place.clone(),
            running: None,
            tidy: None,
        }
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.place.client.address()
    }

    /// Starts the server, on the data that it left if it ran before.
    pub(crate) fn start(&mut self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log())
            .expect("the server's folder is writable");
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os() {
            // Each of its flags can be set by such a variable.
            if name.to_string_lossy().starts_with("ETCD_") {
                command.env_remove(name);
            }
        }
        let server = command
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", self.program.display()));
        let folder = self.folder.path().to_string_lossy();
        let watchdog = Watchdog::new(CLEAN_UP, &[&server.id().to_string(), &folder]);
        self.running = Some(Running { server, watchdog });
        self.tidy = None;
    }

    /// Whether the server has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.running
            .as_mut()
            .is_none_or(|running| !matches!(running.server.try_wait(), Ok(None)))
    }

    /// Ends the server at once, as a crash would.
    pub(crate) fn kill(&mut self) {
        if self.end() {
            let folder = self.folder.path().to_string_lossy();
            self.tidy = Some(Watchdog::new(TIDY_UP, &[&folder]));
        }
    }

    /// Ends the server, if it runs; says whether it did.
    fn end(&mut self) -> bool {
        let Some(mut running) = self.running.take() else {
            return false;
        };
        // The watchdog first: afterwards the number could belong to another process.
        drop(running.watchdog);
        drop(running.server.kill());
        drop(running.server.wait());
        true
    }

    /// Removes all that the server stored. It must not run.
    pub(crate) fn remove_data(&self) {
        assert!(self.running.is_none(), "the server still runs");
        std::fs::remove_dir_all(self.data()).expect("the data is there");
    }

    /// Keeps a copy of all that the server stored, in place of an earlier one. It must not run.
    pub(crate) fn copy_data(&self) {
        assert!(self.running.is_none(), "the server still runs");
        drop(std::fs::remove_dir_all(self.backup()));
        copy(&self.data(), &self.backup()).expect("the data can be copied");
    }

    /// Puts the copy back in the place of all that the server stored since. It must not run.
    pub(crate) fn put_back_data(&self) {
        self.remove_data();
        copy(&self.backup(), &self.data()).expect("there is a copy");
    }

    /// Sends the server a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let running = self.running.as_ref().expect("the server runs");
        let sent = Command::new("kill")
            .args(["-s", name, &running.server.id().to_string()])
            .status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -s {name}");
    }

    /// The last lines that the server wrote.
    pub(crate) fn tail(&self) -> String {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join(DATA)
    }

    fn backup(&self) -> PathBuf {
        self.folder.path().join("backup")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for item in std::fs::read_dir(from)? {
        let item = item?;
        let to = to.join(item.file_name());
        if item.file_type()?.is_dir() {
            copy(&item.path(), &to)?;
        } else {
            std::fs::copy(item.path(), to)?;
        }
    }
    Ok(())
}

fn knows(program: &Path, flag: &str) -> bool {
    Command::new(program)
        .arg("--help")
        .output()
        .is_ok_and(|help| {
            let said = [help.stdout, help.stderr].concat();
            String::from_utf8_lossy(&said).contains(flag)
        })
}
