//! Probes that come all at once are all answered.

#![cfg(feature = "probe")]
#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "the burst is not asked one by one")]
mod http;

use std::fmt;
use std::sync::{Mutex, mpsc};

use plugin_runtime::{AgentStatus, ConfigDir, Host, ProbePlugin, ProbeSettings};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// More than are open at once, and fewer than the system lets wait.
const BURST: usize = 100;

/// Keeps the thread of the probes busy once, from a client that breaks off until the test lets it go.
struct Holds {
    held: Mutex<Option<mpsc::Sender<()>>>,
    go_on: Mutex<mpsc::Receiver<()>>,
}

impl<S: Subscriber> Layer<S> for Holds {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        struct BrokeOff(bool);
        impl Visit for BrokeOff {
            fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
                self.0 |= field.name() == "message" && format!("{value:?}").contains("broke off");
            }
        }
        let mut broke_off = BrokeOff(false);
        if *event.metadata().level() == Level::DEBUG {
            event.record(&mut broke_off);
        }
        if broke_off.0
            && let Some(held) = self.held.lock().unwrap().take()
        {
            held.send(()).unwrap();
            self.go_on.lock().unwrap().recv().unwrap();
        }
    }
}

#[tokio::test]
async fn a_burst_of_probes_that_waits_for_a_busy_thread_is_answered_to_the_last() {
    let (hold, held) = mpsc::channel();
    let (let_go, go_on) = mpsc::channel();
    let holds = Holds {
        held: Mutex::new(Some(hold)),
        go_on: Mutex::new(go_on),
    };
    // The thread of the probes is not this one.
    let subscriber = tracing_subscriber::registry().with(holds);
    tracing::subscriber::set_global_default(subscriber).unwrap();

    let mut host = Host::new(ConfigDir::new("/no/such/folder"));
    let any_port = ProbeSettings::default().with_listen("127.0.0.1:0".parse().unwrap());
    let probe = host.add(ProbePlugin::new(host.status()).with_settings(any_port));
    let status = host.status();
    let run = tokio::spawn(host.run(std::future::pending()));
    status.wait_for(AgentStatus::is_ready).await;
    let address = probe.address().await;

    let mut breaks_off = TcpStream::connect(address).await.unwrap();
    breaks_off.write_all(b"\0\r\n\r\n").await.unwrap();
    tokio::task::spawn_blocking(move || held.recv().unwrap())
        .await
        .unwrap();
    let mut burst = Vec::new();
    for _ in 0..BURST {
        let mut probe = TcpStream::connect(address).await.unwrap();
        let request = b"GET /livez HTTP/1.1\r\nHost: agent\r\n\r\n";
        probe.write_all(request).await.unwrap();
        burst.push(probe);
    }
    let_go.send(()).unwrap();
    for mut probe in burst {
        assert_eq!(http::read(&mut probe).await.code, 200);
    }
    run.abort();
}
