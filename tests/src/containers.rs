//! An etcd cluster of containers, whose members can be cut off from each other.

use std::process::Command;
use std::time::{Duration, Instant};

use keyval_etcd::EtcdConfig;
use serde_json::json;

use crate::container::Contained;
use crate::find::image;
use crate::http;
use crate::ready::wait_until_it_serves;
use crate::watchdog::Watchdog;

/// How long the members may take to agree on a leader.
const AGREEMENT: Duration = Duration::from_secs(30);
/// Removes the network, once the containers in it are gone.
const CLEAN_UP: &str = "for _ in 1 2 3 4 5 6 7 8 9; do \
    docker network rm \"$1\" && break; sleep 1; done";

/// A cluster whose members talk to each other over a network of their own, and to clients over
/// another.
#[derive(Debug)]
pub struct Containers {
    members: Vec<Contained>,
    network: Network,
}

/// The network between the members.
#[derive(Debug)]
struct Network {
    name: String,
    _watchdog: Watchdog,
}

impl Containers {
    /// Starts a cluster of this many members, from the image that `KEYVAL_ETCD_IMAGE` names.
    ///
    /// # Panics
    /// If there is no such image or no Docker, or the cluster does not serve in time.
    #[must_use]
    pub fn start(size: usize) -> Self {
        let image = image();
        let token = format!("keyval-{}-{:08x}", std::process::id(), fastrand::u32(..));
        let network = Network::create(&token);
        let peer = |member| format!("http://{token}-{member}:2380");
        let initial: Vec<String> = (0..size)
            .map(|member| format!("{token}-{member}={}", peer(member)))
            .collect();
        let members: Vec<Contained> = (0..size)
            .map(|member| {
                let name = format!("{token}-{member}");
                // The last of a repeated flag counts.
                let arguments = [
                    "--listen-peer-urls=http://0.0.0.0:2380".to_owned(),
                    format!("--initial-advertise-peer-urls={}", peer(member)),
                    format!("--initial-cluster={}", initial.join(",")),
                    format!("--initial-cluster-token={token}"),
                    "--heartbeat-interval=50".to_owned(),
                    "--election-timeout=500".to_owned(),
                ];
                let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
                let container = Contained::start(&image, &name, &arguments);
                // Until it is in this network it does not find its own name, and tries again.
                network.connect(&container, &name);
                container
            })
            .collect();
        for member in &members {
            if let Err(why) = wait_until_it_serves(member.address(), || false) {
                panic!("a member of {token} {why}; it wrote:\n{}", member.tail());
            }
            let said = http::post(member.address(), "/v3/cluster/member/list", &json!({}))
                .expect("a member says who it is");
            let ours = said["members"].as_array().is_some_and(|members| {
                let name = |member: &serde_json::Value| member["name"].as_str().map(str::to_owned);
                members.len() == size
                    && members
                        .iter()
                        .all(|member| name(member).is_none_or(|name| name.starts_with(&token)))
            });
            assert!(ours, "not our server: {said}");
        }
        Self { members, network }
    }

    /// Where clients connect to each member: host and port.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        let members = self.members.iter();
        members.map(|member| member.address().to_string()).collect()
    }

    /// A configuration that names all members.
    #[must_use]
    pub fn config(&self) -> EtcdConfig {
        EtcdConfig::default().with_endpoints(self.endpoints())
    }

    /// Cuts a member off from the others; clients still reach it.
    ///
    /// # Panics
    /// If Docker does not do it.
    pub fn cut(&self, member: usize) {
        let id = self.members[member].id();
        docker(&["network", "disconnect", &self.network.name, id]);
    }

    /// Lets a member reach the others again.
    ///
    /// # Panics
    /// If Docker does not do it.
    pub fn join(&self, member: usize) {
        let name = format!("{}-{member}", self.network.name);
        self.network.connect(&self.members[member], &name);
    }

    /// The member that leads, once a majority says so.
    ///
    /// # Panics
    /// If they do not agree in time.
    #[must_use]
    pub fn leader(&self) -> usize {
        let deadline = Instant::now() + AGREEMENT;
        loop {
            let statuses: Vec<_> = self
                .members
                .iter()
                .map(|member| {
                    http::post(member.address(), "/v3/maintenance/status", &json!({}))
                        .unwrap_or_default()
                })
                .collect();
            let leads = |id: &serde_json::Value| {
                let followers = statuses.iter().filter(|status| status["leader"] == *id);
                id.is_string() && followers.count() > statuses.len() / 2
            };
            let leader = statuses
                .iter()
                .position(|status| leads(&status["header"]["member_id"]));
            if let Some(leader) = leader {
                return leader;
            }
            assert!(Instant::now() < deadline, "the members elect nobody");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Network {
    fn create(name: &str) -> Self {
        docker(&["network", "create", name]);
        Self {
            name: name.to_owned(),
            _watchdog: Watchdog::new(CLEAN_UP, &[name]),
        }
    }

    /// Puts a container into it, under a name by which the others find it.
    fn connect(&self, container: &Contained, alias: &str) {
        docker(&[
            "network",
            "connect",
            "--alias",
            alias,
            &self.name,
            container.id(),
        ]);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // The watchdog is dismissed with it, so this is the last chance.
        drop(
            Command::new("docker")
                .args(["network", "rm", &self.name])
                .output(),
        );
    }
}

fn docker(arguments: &[&str]) {
    let ran = Command::new("docker").args(arguments).output();
    let ran = ran.unwrap_or_else(|why| panic!("cannot run docker: {why}"));
    assert!(
        ran.status.success(),
        "docker {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&ran.stderr)
    );
}
