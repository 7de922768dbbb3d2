//! What an agent logs of its life.

#![allow(clippy::unwrap_used)]

use std::io::{self, Write};
use std::sync::{Arc, LazyLock, Mutex, OnceLock};
use std::time::Duration;

use plugin_runtime::{
    AgentLabel, AgentStatus, Backends, BuildInfo, ConfigDir, Context, Host, KvPlugin, Plugin,
    PluginResult, StatusHandle,
};
use tracing::Dispatch;

/// A log that is read by the test.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

/// Held for as long as the tests run: where there is one subscriber alone, a span or event that a test
/// without any meets first is switched off for that one, too.
static ANOTHER: LazyLock<Dispatch> =
    LazyLock::new(|| Dispatch::new(tracing_subscriber::registry()));

impl Lines {
    fn read(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// Logs there what this thread logs, until the guard goes.
    fn install(&self) -> tracing::subscriber::DefaultGuard {
        LazyLock::force(&ANOTHER);
        let lines = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .without_time()
            .with_writer(move || lines.clone())
            .finish();
        tracing::subscriber::set_default(subscriber)
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A plugin that describes itself.
struct Described(&'static str, fn() -> Option<String>, bool);

impl Plugin for Described {
    type Handle = ();

    fn name(&self) -> &str {
        self.0
    }

    fn handle(&self) {}

    fn describe(&self, _config: &ConfigDir) -> Option<String> {
        (self.1)()
    }

    async fn init(&mut self, _cx: &mut Context) -> PluginResult {
        if self.2 { Ok(()) } else { Err("no".into()) }
    }
}

async fn up(status: StatusHandle) {
    status.wait_for(AgentStatus::is_ready).await;
}

#[tokio::test]
async fn the_first_line_tells_all_that_one_asks_of_an_agent() {
    let lines = Lines::default();
    let _logged = lines.install();
    let mut host = Host::new(ConfigDir::new("/etc/agent"))
        .with_build(BuildInfo::new("vpp-agent", "1.2.3").with_commit("abc"))
        .with_label(AgentLabel::new("vpp1").unwrap());
    host.add(Described(
        "store",
        || Some("etcd at http://a:2379,\nhttp://b:2379".into()),
        true,
    ));
    host.add(KvPlugin::chosen("local", Backends::new()));
    host.add(Described("quiet", || None, true));
    host.add(Described("mad", || panic!("not so"), true));
    let status = host.status();
    host.run(up(status)).await.unwrap();
    let first = lines.read().swap_remove(0);
    for told in [
        "the agent starts",
        "program=vpp-agent",
        "version=1.2.3",
        "commit=abc",
        "scope=/vnf-agent/vpp1/",
        "configuration=/etc/agent",
        "store (etcd at http://a:2379, http://b:2379), \
         local (memory, settings: defaults), quiet, mad",
    ] {
        assert!(first.contains(told), "no {told} in {first}");
    }
}

#[tokio::test]
async fn only_what_was_started_is_logged_as_closed() {
    let lines = Lines::default();
    let _logged = lines.install();
    let mut host = Host::new(ConfigDir::new("/etc/agent"));
    host.add(Described("first", || None, true));
    host.add(Described("second", || None, false));
    host.add(Described("third", || None, true));
    host.run(std::future::pending()).await.unwrap_err();
    let lines = lines.read();
    let closed: Vec<&String> = lines
        .iter()
        .filter(|line| line.contains(": closed "))
        .collect();
    assert_eq!(closed.len(), 2, "{lines:#?}");
    assert!(closed[0].ends_with("plugin=second"), "{lines:#?}");
    assert!(closed[1].ends_with("plugin=first"), "{lines:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_description_that_hangs_or_panics_costs_its_text_alone() {
    static UP: OnceLock<()> = OnceLock::new();

    /// A plugin whose `init` lets the others describe themselves.
    struct First;

    impl Plugin for First {
        type Handle = ();

        fn name(&self) -> &str {
            "first"
        }

        fn handle(&self) {}

        fn describe(&self, _config: &ConfigDir) -> Option<String> {
            Some("at once".into())
        }

        async fn init(&mut self, _cx: &mut Context) -> PluginResult {
            Ok(UP.set(()).map_err(|()| "there is one")?)
        }
    }

    let hangs = || {
        UP.wait();
        Some("too late".into())
    };
    let lines = Lines::default();
    let _logged = lines.install();
    let mut host =
        Host::new(ConfigDir::new("/etc/agent")).with_start_deadline(Duration::from_secs(3));
    host.add(First);
    host.add(Described("hangs", hangs, true));
    host.add(Described("mad", || panic!("not so"), true));
    host.add(Described("last", || Some("as well".into()), true));
    let status = host.status();
    host.run(up(status)).await.unwrap();
    let lines = lines.read();
    let told = "plugins=\"first (at once), hangs, mad, last (as well)\"";
    assert!(lines[0].contains(told), "{lines:#?}");
    let why = |plugin: &str| {
        let text = format!("plugin={plugin} cause=");
        let line = lines.iter().find(|line| line.contains(&text)).unwrap();
        line.split_once("cause=").unwrap().1.to_owned()
    };
    assert_eq!(why("hangs"), "it did not end within 3s");
    assert_eq!(why("mad"), "it panicked: not so");
}

#[cfg(feature = "probe")]
#[tokio::test]
async fn the_port_that_was_found_free_is_logged() {
    use plugin_runtime::{ProbePlugin, ProbeSettings};

    let lines = Lines::default();
    let _logged = lines.install();
    let mut host = Host::new(ConfigDir::new("/no/such/folder"));
    let any_port = ProbeSettings::default().with_listen("127.0.0.1:0".parse().unwrap());
    let probe = host.add(ProbePlugin::new(host.status()).with_settings(any_port));
    let status = host.status();
    host.run(up(status)).await.unwrap();
    let address = probe.address_now().unwrap();
    assert_ne!(address.port(), 0);
    let lines = lines.read();
    let told = format!("the probes listen address={address} ");
    assert!(lines.iter().any(|line| line.contains(&told)), "{lines:#?}");
}
