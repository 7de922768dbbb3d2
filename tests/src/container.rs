//! An etcd in a container, where the tests are given an image instead of a program.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc;
use std::thread::JoinHandle;

use testcontainers::core::{IntoContainerPort, WaitFor};
use testcontainers::runners::SyncRunner;
use testcontainers::{Container, GenericImage, ImageExt};

use crate::watchdog::Watchdog;

const CLIENT: u16 = 2379;

/// Removes the container.
const CLEAN_UP: &str = "docker rm --force --volumes \"$1\"";

/// A server in a container of its own, removed with it.
///
/// A thread owns the container: its client blocks, which threads that run tests must not.
#[derive(Debug)]
pub(crate) struct Contained {
    address: SocketAddr,
    id: String,
    log: mpsc::Sender<mpsc::Sender<String>>,
    owner: Option<JoinHandle<()>>,
}

impl Contained {
    /// Starts a server of this name from an image, `name:tag`.
    pub(crate) fn start(image: &str, name: &str, extra: &[&str]) -> Self {
        let (started, running) = mpsc::channel();
        let (log, asked) = mpsc::channel::<mpsc::Sender<String>>();
        let (image, name) = (image.to_owned(), name.to_owned());
        let extra: Vec<String> = extra.iter().map(|&argument| argument.to_owned()).collect();
        let owner = std::thread::spawn(move || {
            let container = run(&image, &name, extra);
            let _watchdog = Watchdog::new(CLEAN_UP, &[container.id()]);
            let port = container
                .get_host_port_ipv4(CLIENT)
                .expect("the port is mapped");
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            started
                .send((address, container.id().to_owned()))
                .expect("it is waited for");
            for reader in asked {
                let log = container.stderr_to_vec().unwrap_or_default();
                drop(reader.send(String::from_utf8_lossy(&log).into_owned()));
            }
        });
        let (address, id) = running.recv().expect("the container starts");
        Self {
            address,
            id,
            log,
            owner: Some(owner),
        }
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The container, as Docker knows it.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The last lines that the server wrote.
    pub(crate) fn tail(&self) -> String {
        let (reader, log) = mpsc::channel();
        drop(self.log.send(reader));
        let log = log.recv().unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

impl Drop for Contained {
    fn drop(&mut self) {
        // The owner goes on until there is nobody left to ask for the log.
        self.log = mpsc::channel().0;
        if let Some(owner) = self.owner.take() {
            drop(owner.join());
        }
    }
}

fn run(image: &str, name: &str, extra: Vec<String>) -> Container<GenericImage> {
    let (repository, tag) = image.rsplit_once(':').unwrap_or((image, "latest"));
    let mut command = vec![
        "etcd".to_owned(),
        format!("--name={name}"),
        "--listen-client-urls=http://0.0.0.0:2379".to_owned(),
        "--advertise-client-urls=http://0.0.0.0:2379".to_owned(),
        "--listen-peer-urls=http://127.0.0.1:2380".to_owned(),
        "--initial-advertise-peer-urls=http://127.0.0.1:2380".to_owned(),
        format!("--initial-cluster={name}=http://127.0.0.1:2380"),
        format!("--initial-cluster-token={name}"),
    ];
    command.extend(extra);
    GenericImage::new(repository, tag)
        .with_exposed_port(CLIENT.tcp())
        .with_wait_for(WaitFor::Nothing)
        .with_cmd(command)
        .start()
        .unwrap_or_else(|error| panic!("cannot start a container of {image}: {error}"))
}
