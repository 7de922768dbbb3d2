//! An etcd cluster for a test: every member a child process on the loopback.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use keyval_etcd::{EtcdConfig, EtcdStore};
use serde_json::{Value, json};

use crate::find::{Source, find};
use crate::http;
use crate::process::{Join, Place, Process};
use crate::ready::wait_until_it_serves;

/// Arguments for elections within a second, on machines that are not overloaded.
pub const SHORT_ELECTIONS: &[&str] = &["--heartbeat-interval=50", "--election-timeout=500"];

/// How often a cluster is started anew because another program took a port first.
const TRIES: usize = 5;
/// How long the members may take to agree on something.
const AGREEMENT: Duration = Duration::from_secs(30);

/// A cluster whose members serve and are certainly those that were started.
///
/// Its members are told apart by their number, from 0. They end with the value, and with the test
/// program however that ends. Its functions block.
#[derive(Debug)]
pub struct Cluster {
    name: String,
    program: PathBuf,
    arguments: Vec<String>,
    members: Vec<Member>,
    /// How many members were ever replaced: the new one needs a name of its own.
    replaced: usize,
}

#[derive(Debug)]
struct Member {
    place: Place,
    process: Process,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Serving,
    Paused,
    Ended,
}

impl Cluster {
    /// Starts one of this many members.
    ///
    /// # Panics
    /// If there is no etcd program to start, or it does not serve in time; with the last of what it
    /// wrote.
    #[must_use]
    pub fn start(size: usize) -> Self {
        Self::start_with(size, SHORT_ELECTIONS)
    }

    /// Starts one of this many members, each with exactly these arguments besides.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn start_with(size: usize, arguments: &[&str]) -> Self {
        let program = match find() {
            Source::Program(program) => program,
            Source::Image(image) => {
                panic!("a cluster of processes needs a program, not the image {image}")
            }
        };
        let mut tries = 0;
        loop {
            tries += 1;
            let mut cluster = Self::prepare(size, program.clone(), arguments);
            match cluster.come_up(0..size) {
                Ok(()) => return cluster,
                // Its ports were free a moment ago.
                Err(why) if why.contains("address already in use") && tries < TRIES => {}
                Err(why) => panic!("{why}"),
            }
        }
    }

    /// How many members there are.
    #[must_use]
    pub fn size(&self) -> usize {
        self.members.len()
    }

    /// Where clients connect to each member: host and port.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        let members = self.members.iter();
        members
            .map(|member| member.place.client.address().to_string())
            .collect()
    }

    /// Where clients connect to this member.
    #[must_use]
    pub fn address(&self, member: usize) -> SocketAddr {
        self.members[member].place.client.address()
    }

    /// A configuration that names all members.
    #[must_use]
    pub fn config(&self) -> EtcdConfig {
        EtcdConfig::default().with_endpoints(self.endpoints())
    }

    /// A store on all members, patient as a busy machine needs it.
    ///
    /// # Panics
    /// If no member answers.
    pub async fn store(&self) -> EtcdStore {
        let config = self
            .config()
            .with_dial_timeout(Duration::from_secs(10))
            .with_operation_timeout(Duration::from_secs(20));
        EtcdStore::connect(&config)
            .await
            .expect("the members have just answered")
    }

    /// Ends a member at once, as a crash would.
    pub fn kill(&mut self, member: usize) {
        let member = &mut self.members[member];
        member.process.kill();
        member.state = State::Ended;
    }

    /// Starts a member again, on the same ports and its data; waits until it serves.
    ///
    /// # Panics
    /// If it does not serve in time, as without a majority of the members.
    pub fn restart(&mut self, member: usize) {
        self.restart_all([member]);
    }

    /// Starts these members again, on the same ports and their data; waits until they serve.
    ///
    /// # Panics
    /// If they do not serve in time.
    pub fn restart_all(&mut self, members: impl IntoIterator<Item = usize>) {
        if let Err(why) = self.come_up(members) {
            panic!("{why}");
        }
    }

    /// Ends all members, removes all data, and starts them again on the same ports: the same
    /// cluster by every name and number, with another history.
    ///
    /// # Panics
    /// As [`restart`](Self::restart).
    pub fn wipe(&mut self) {
        let join = Join::found(&self.name, self.members.iter().map(|member| &member.place));
        for number in 0..self.size() {
            self.kill(number);
            self.members[number].process = self.process(&self.members[number].place, &join);
        }
        self.restart_all(0..self.size());
    }

    /// Removes a member from the cluster with its data, and adds an empty one in its place, on the
    /// same port for clients.
    ///
    /// # Panics
    /// If the other members are no majority, or the new one does not serve in time.
    pub fn replace(&mut self, member: usize) {
        let id = self.id(member).expect("a member that serves knows it");
        self.kill(member);
        self.ask("/v3/cluster/member/remove", &json!({ "ID": id }));
        let old = &self.members[member].place;
        self.replaced += 1;
        let place = Place {
            name: format!("{}-new{}", old.name, self.replaced),
            client: old.client.clone(),
            ..Place::free("")
        };
        self.members[member].place = place.clone();
        let peer = format!("http://{}", place.peer.address());
        self.ask("/v3/cluster/member/add", &json!({ "peerURLs": [peer] }));
        let places = self.members.iter().map(|member| &member.place);
        let join = Join::found(&self.name, places).existing();
        self.members[member].process = self.process(&place, &join);
        self.restart(member);
    }

    /// Makes room for one more member, which does not run yet; returns its number, and the URL by
    /// which it is to be added to the cluster before it starts.
    pub fn make_room(&mut self) -> (usize, String) {
        let number = self.size();
        let place = Place::free(&format!("{}-{number}", self.name));
        let url = format!("http://{}", place.peer.address());
        let places = self.members.iter().map(|member| &member.place);
        let join = Join::found(&self.name, places.chain([&place])).existing();
        let process = self.process(&place, &join);
        self.members.push(Member {
            place,
            process,
            state: State::Ended,
        });
        (number, url)
    }

    /// Starts a member that was added as a learner. It is not waited for, since it answers nearly
    /// nothing, and it does not count as one that serves.
    pub fn start_learner(&mut self, member: usize) {
        self.members[member].process.start();
    }

    /// Stops a member without ending it: its connections stay, and it does not answer.
    pub fn pause(&mut self, member: usize) {
        let member = &mut self.members[member];
        member.process.signal("STOP");
        member.state = State::Paused;
    }

    /// Lets a member go on.
    pub fn resume(&mut self, member: usize) {
        let member = &mut self.members[member];
        member.process.signal("CONT");
        member.state = State::Serving;
    }

    /// The member that serves and leads, once a majority of all members says so.
    ///
    /// # Panics
    /// If they do not agree in time.
    #[must_use]
    pub fn leader(&self) -> usize {
        let deadline = Instant::now() + AGREEMENT;
        loop {
            if let Some(leader) = self.elected() {
                return leader;
            }
            assert!(Instant::now() < deadline, "{} elects nobody", self.name);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// A member that serves and does not lead.
    ///
    /// # Panics
    /// If there is none, or as [`leader`](Self::leader).
    #[must_use]
    pub fn follower(&self) -> usize {
        let leader = self.leader();
        let mut serving = self.serving();
        serving
            .find(|&member| member != leader)
            .expect("a member that serves besides the leader")
    }

    /// Makes another member the leader, without an outage of any.
    ///
    /// # Panics
    /// If the members refuse, or do not agree in time.
    pub fn move_leader(&self, to: usize) {
        let from = self.leader();
        if from == to {
            return;
        }
        let id = self.id(to).expect("a member that serves knows it");
        let body = json!({ "targetID": id });
        let address = self.address(from);
        http::post(address, "/v3/maintenance/transfer-leadership", &body)
            .expect("the leader gives way");
        let deadline = Instant::now() + AGREEMENT;
        while self.elected() != Some(to) {
            assert!(Instant::now() < deadline, "{} is not followed", self.name);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn prepare(size: usize, program: PathBuf, arguments: &[&str]) -> Self {
        let name = format!("keyval-{}-{:08x}", std::process::id(), fastrand::u32(..));
        let places: Vec<Place> = (0..size)
            .map(|number| Place::free(&format!("{name}-{number}")))
            .collect();
        let join = Join::found(&name, &places);
        let mut cluster = Self {
            name,
            program,
            arguments: arguments.iter().map(|&text| text.to_owned()).collect(),
            members: Vec::new(),
            replaced: 0,
        };
        for place in places {
            let process = cluster.process(&place, &join);
            cluster.members.push(Member {
                place,
                process,
                state: State::Ended,
            });
        }
        cluster
    }

    /// A process without data.
    fn process(&self, place: &Place, join: &Join) -> Process {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        Process::new(&self.program, place, join, &arguments)
    }

    /// Starts these members and waits until they serve; then makes sure that they are ours.
    fn come_up(&mut self, members: impl IntoIterator<Item = usize>) -> Result<(), String> {
        let members: Vec<usize> = members.into_iter().collect();
        for &member in &members {
            self.members[member].process.start();
        }
        for &number in &members {
            let Member { place, process, .. } = &mut self.members[number];
            wait_until_it_serves(place.client.address(), || process.has_ended())
                .and_then(|()| identify(place, &self.name))
                .map_err(|why| format!("{} {why}; it wrote:\n{}", place.name, process.tail()))?;
            self.members[number].state = State::Serving;
        }
        Ok(())
    }

    fn serving(&self) -> impl Iterator<Item = usize> {
        (0..self.size()).filter(|&member| self.members[member].state == State::Serving)
    }

    /// The leader that a majority of all members names.
    fn elected(&self) -> Option<usize> {
        let named: Vec<String> = self
            .serving()
            .filter_map(|member| {
                let address = self.address(member);
                let status = http::post(address, "/v3/maintenance/status", &json!({})).ok()?;
                Some(status["leader"].as_str()?.to_owned())
            })
            .collect();
        self.serving().find(|&member| {
            self.id(member).is_some_and(|id| {
                named.iter().filter(|&leader| *leader == id).count() > self.size() / 2
            })
        })
    }

    /// The number by which the members know this one; `None` if no member answers.
    fn id(&self, member: usize) -> Option<String> {
        let peer = format!("http://{}", self.members[member].place.peer.address());
        let list = self.serving().find_map(|asked| {
            http::post(self.address(asked), "/v3/cluster/member/list", &json!({})).ok()
        })?;
        let members = list["members"].as_array()?;
        let found = members
            .iter()
            .find(|member| member["peerURLs"][0] == peer)?;
        Some(found["ID"].as_str()?.to_owned())
    }

    /// Asks a member that serves, again while the members have not yet settled.
    fn ask(&self, path: &str, body: &Value) {
        let deadline = Instant::now() + AGREEMENT;
        loop {
            let member = self.serving().next().expect("a member serves");
            match http::post(self.address(member), path, body) {
                Ok(_) => return,
                Err(why) => assert!(Instant::now() < deadline, "{path}: {why}"),
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Makes sure that the server at this place is the one that was started there.
fn identify(place: &Place, token: &str) -> Result<(), &'static str> {
    let ask = |path| http::post(place.client.address(), path, &json!({}));
    let list = ask("/v3/cluster/member/list").map_err(|_| "does not say who it is")?;
    let id = &list["header"]["member_id"];
    let members = list["members"].as_array().ok_or("has no members")?;
    let ours = members.iter().all(|member| {
        // One that has not started yet has no name.
        let name = member["name"].as_str().unwrap_or_default();
        name.is_empty() || name.starts_with(token)
    });
    let it = members.iter().any(|member| {
        member["ID"] == *id && member["peerURLs"][0] == format!("http://{}", place.peer.address())
    });
    if ours && it {
        Ok(())
    } else {
        Err("is another server")
    }
}
