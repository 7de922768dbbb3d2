//! A real etcd for a test: its own, or one that a test program shares.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use keyval_etcd::{EtcdConfig, EtcdStore};
use serde_json::{Value, json};

#[cfg(feature = "containers")]
use crate::container::Contained;
use crate::find::{Source, find};
use crate::http;
use crate::process::{Join, Place, Process};
use crate::ready::wait_until_it_serves;

/// How often a server is started anew because another program took its port first.
const TRIES: usize = 5;

/// A single etcd that serves and is certainly the one that was started.
///
/// It ends with the value, and, where it is a process, with the test program however that ends.
#[derive(Debug)]
pub struct Etcd {
    name: String,
    version: String,
    server: Server,
}

#[derive(Debug)]
enum Server {
    Process(Process),
    #[cfg(feature = "containers")]
    Contained(Contained),
}

impl Etcd {
    /// Starts one for the caller alone.
    ///
    /// # Panics
    /// If there is none to start, or it does not serve in time; with the last of what it wrote.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts one with these arguments besides.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn start_with(arguments: &[&str]) -> Self {
        let name = format!("keyval-{}-{:08x}", std::process::id(), fastrand::u32(..));
        let server = match find() {
            Source::Program(program) => {
                let mut tries = 0;
                Server::Process(loop {
                    tries += 1;
                    let place = Place::free(&name);
                    let join = Join::found(&name, [&place]);
                    let mut process = Process::new(&program, &place, &join, arguments);
                    process.start();
                    match wait_until_it_serves(process.address(), || process.has_ended()) {
                        Ok(()) => break process,
                        Err(why) => {
                            let said = process.tail();
                            let taken = said.contains("address already in use");
                            assert!(
                                taken && tries < TRIES,
                                "{} {why}; it wrote:\n{said}",
                                program.display()
                            );
                        }
                    }
                })
            }
            #[cfg(feature = "containers")]
            Source::Image(image) => {
                let container = Contained::start(&image, &name, arguments);
                if let Err(why) = wait_until_it_serves(container.address(), || false) {
                    panic!("{image} {why}; it wrote:\n{}", container.tail());
                }
                Server::Contained(container)
            }
            #[cfg(not(feature = "containers"))]
            Source::Image(image) => {
                panic!("to test with the image {image}, build with the feature `containers`")
            }
        };
        let mut etcd = Self {
            name,
            version: String::new(),
            server,
        };
        etcd.identify();
        etcd
    }

    /// The one that all tests of a program share; each uses a scope of its own.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Etcd> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// A store on a server for the caller alone, which ends with the calling thread, or when that
    /// asks for another.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub async fn of_this_thread() -> EtcdStore {
        thread_local! {
            static OWN: RefCell<Option<Etcd>> = const { RefCell::new(None) };
        }
        let etcd = Self::start();
        let store = etcd.store().await;
        OWN.set(Some(etcd));
        store
    }

    /// Where clients connect: host and port.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.address().to_string()
    }

    /// The version, as the server says it.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The value of one of the server's own metrics; `None` if it has none of this name.
    ///
    /// # Panics
    /// If the server does not answer.
    #[must_use]
    pub fn metric(&self, name: &str) -> Option<f64> {
        let metrics = http::get(self.address(), "/metrics").expect("the server shows its metrics");
        let mut lines = metrics.lines().filter_map(|line| line.split_once(' '));
        let (_, value) = lines.find(|(found, _)| *found == name)?;
        value.parse().ok()
    }

    /// Gives the space of what was compacted back, as `etcdctl defrag` does.
    ///
    /// # Panics
    /// If the server does not.
    pub fn defragment(&self) {
        self.ask("/v3/maintenance/defragment", &json!({}));
    }

    /// Disarms all alarms, as `etcdctl alarm disarm` does.
    ///
    /// # Panics
    /// If the server does not.
    pub fn disarm(&self) {
        let listed = self.ask("/v3/maintenance/alarm", &json!({}));
        for alarm in listed["alarms"].as_array().into_iter().flatten() {
            let body = json!({
                "action": "DEACTIVATE", "memberID": alarm["memberID"], "alarm": alarm["alarm"],
            });
            self.ask("/v3/maintenance/alarm", &body);
        }
    }

    fn ask(&self, path: &str, body: &Value) -> Value {
        http::post(self.address(), path, body)
            .unwrap_or_else(|why| panic!("the server refuses {path}: {why}"))
    }

    /// A configuration for this server.
    #[must_use]
    pub fn config(&self) -> EtcdConfig {
        EtcdConfig::default().with_endpoints([self.endpoint()])
    }

    /// A store on this server.
    ///
    /// # Panics
    /// If the server does not answer.
    pub async fn store(&self) -> EtcdStore {
        EtcdStore::connect(&patient(self.config()))
            .await
            .expect("the server has just answered")
    }

    /// Ends the server at once, as a crash would.
    ///
    /// # Panics
    /// If the server is a container.
    pub fn kill(&mut self) {
        self.process().kill();
    }

    /// Starts the server again, on the same port and the same data.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub fn restart(&mut self) {
        let process = self.process();
        process.start();
        if let Err(why) = wait_until_it_serves(process.address(), || process.has_ended()) {
            panic!("the server {why}; it wrote:\n{}", process.tail());
        }
        self.identify();
    }

    /// Ends the server, removes all its data, and starts it again on the same port: the same
    /// cluster by every name and number, with another history.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub fn wipe(&mut self) {
        let process = self.process();
        process.kill();
        process.remove_data();
        self.restart();
    }

    /// Ends the server, keeps a copy of its data as a backup would, and starts it again.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub fn back_up(&mut self) {
        let process = self.process();
        process.kill();
        process.copy_data();
        self.restart();
    }

    /// Ends the server and starts it on the data of the last [backup](Self::back_up): everything
    /// since then is undone, and the revision with it.
    ///
    /// # Panics
    /// As [`start`](Self::start), and without a backup.
    pub fn restore(&mut self) {
        let process = self.process();
        process.kill();
        process.put_back_data();
        self.restart();
    }

    /// Stops the server without ending it: its connections stay, and nothing answers.
    ///
    /// # Panics
    /// If the server does not run.
    pub fn pause(&mut self) {
        self.process().signal("STOP");
    }

    /// Lets the server go on.
    ///
    /// # Panics
    /// If the server does not run.
    pub fn resume(&mut self) {
        self.process().signal("CONT");
    }

    fn process(&mut self) -> &mut Process {
        match &mut self.server {
            Server::Process(process) => process,
            #[cfg(feature = "containers")]
            Server::Contained(_) => panic!("this test needs a program, not an image"),
        }
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        match &self.server {
            Server::Process(process) => process.address(),
            #[cfg(feature = "containers")]
            Server::Contained(container) => container.address(),
        }
    }

    /// Makes sure, before anything is written, that this is the server that was started.
    fn identify(&mut self) {
        let members = self.ask("/v3/cluster/member/list", &json!({}));
        assert_eq!(
            members["members"][0]["name"], self.name,
            "not our server: {members}"
        );
        let said = http::get(self.address(), "/version").expect("the server says its version");
        self.version = text_after(&said, "\"etcdserver\":\"").to_owned();
    }
}

fn text_after<'a>(text: &'a str, mark: &str) -> &'a str {
    text.split_once(mark)
        .and_then(|(_, rest)| rest.split_once('"'))
        .map_or("", |(text, _)| text)
}

/// The same configuration with time enough: a machine that builds and tests on every core at once is no
/// slow server.
#[must_use]
pub fn patient(config: EtcdConfig) -> EtcdConfig {
    config
        .with_dial_timeout(Duration::from_secs(10))
        .with_operation_timeout(Duration::from_secs(20))
}
