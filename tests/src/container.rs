//! An etcd in a container, where the tests are given an image instead of a program.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use testcontainers::core::{IntoContainerPort, WaitFor};
use testcontainers::runners::SyncRunner;
use testcontainers::{Container, GenericImage, ImageExt};

const CLIENT: u16 = 2379;

/// A server in a container of its own, removed with it.
#[derive(Debug)]
pub(crate) struct Contained {
    container: Container<GenericImage>,
    address: SocketAddr,
}

impl Contained {
    /// Starts a server of this name from an image, `name:tag`.
    pub(crate) fn start(image: &str, name: &str, extra: &[&str]) -> Self {
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
        command.extend(extra.iter().map(|&argument| argument.to_owned()));
        let container = GenericImage::new(repository, tag)
            .with_exposed_port(CLIENT.tcp())
            .with_wait_for(WaitFor::Nothing)
            .with_cmd(command)
            .start()
            .unwrap_or_else(|error| panic!("cannot start a container of {image}: {error}"));
        let port = container
            .get_host_port_ipv4(CLIENT)
            .expect("the port is mapped");
        Self {
            container,
            address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port),
        }
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The last lines that the server wrote.
    pub(crate) fn tail(&self) -> String {
        let log = self.container.stderr_to_vec().unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}
