//! The probes as a plugin.

use std::net::SocketAddr;

use keyval::BoxError;
use keyval_config::Section;
use tokio::sync::watch;

use super::heartbeat::Heartbeat;
use super::log_filter::LogFilter;
#[cfg(feature = "prometheus")]
use super::metrics::MetricsHandle;
use super::routes::{Sources, router};
use super::server::Server;
use super::settings::{LEAST_STALL, ProbeSettings};
use crate::context::Context;
use crate::plugin::{Plugin, PluginResult};
use crate::status::StatusHandle;

/// The name of the plugin, and of its file.
const NAME: &str = "probe";

/// Tells over HTTP how the agent is; settings in `probe.yaml`, see [`ProbeSettings`].
///
/// | path | 200 if, else 503 |
/// |---|---|
/// | `/livez` | the process works: its runtime goes on; never a question of the store |
/// | `/readyz` | every plugin is up, the agent does not shut down, no required plugin is worse than degraded |
/// | `/startupz` | the `init` and `after_init` of every plugin are done; a store that is not there yet does not count, as that is no reason for a restart |
/// | `/liveness` | as `/livez`, with cn-infra's JSON |
/// | `/readiness` | as `/readyz`, with cn-infra's JSON |
/// | `/metrics` | always; with [`with_metrics`](Self::with_metrics) |
/// | `/log` | always; the log's filter, and by `PUT` another; with [`with_log`](Self::with_log) |
///
/// The first three say `ok`, or what is wrong; with `?verbose` they always say it all.
///
/// The server has a thread of its own and asks nobody: it answers at once while plugins hang, block
/// every thread, or flood their status. A client can be slow only at its own cost: a request's head
/// has 5 s, a connection 10 s and one request, and of more than 64 the oldest is closed. There is no
/// login: `listen` decides who can ask, by default this machine alone.
///
/// Add it as the first plugin, so that it tells of the start and the end of all others.
///
/// # A store that falls silent
/// A server that is killed is seen at once. One that is frozen (SIGSTOP), or behind a network that drops
/// everything, keeps its connections, and is seen by what it does not answer. The [`KvPlugin`](crate::KvPlugin)
/// asks every 5 s, and gives the answer 3 s, or less where the backend's own deadline is shorter; so with
/// etcd's defaults `/readyz` tells after 3 to 8 s, mostly after 6 or 7. What shortens it is
/// `operation-timeout` of etcd, which is that deadline: with `1s` it is 1 to 6 s. Calls of the agent that go
/// unanswered may tell sooner. `keepalive-time` and `keepalive-timeout`, 15 s together by default and more
/// than 10 s at best, are what ends the connection itself, and with it the watches and other calls on it.
///
/// # Examples
/// ```
/// use plugin_runtime::{ConfigDir, Host, ProbePlugin, ProbeSettings, State};
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// # tokio_test::block_on(async {
/// let mut host = Host::new(ConfigDir::new("config"));
/// let any_port = ProbeSettings::default().with_listen("127.0.0.1:0".parse().expect("it is one"));
/// let probe = host.add(ProbePlugin::new(host.status()).with_settings(any_port));
/// let status = host.status();
/// host.run(async move {
///     status.wait_for(|agent| agent.is_ready()).await;
///     let mut answer = String::new();
///     let mut client = tokio::net::TcpStream::connect(probe.address().await).await.expect("it is up");
///     client.write_all(b"GET /readyz HTTP/1.1\r\nHost: agent\r\n\r\n").await.expect("it listens");
///     client.read_to_string(&mut answer).await.expect("it answers");
///     assert!(answer.starts_with("HTTP/1.1 200 OK"));
/// })
/// .await?;
/// # Ok::<_, plugin_runtime::Error>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct ProbePlugin {
    status: StatusHandle,
    settings: Option<ProbeSettings>,
    non_fatal: Vec<String>,
    log: Option<LogFilter>,
    #[cfg(feature = "prometheus")]
    metrics: Option<MetricsHandle>,
    address: watch::Sender<Option<SocketAddr>>,
}

/// Tells where a [`ProbePlugin`] listens.
#[derive(Clone, Debug)]
pub struct ProbeHandle(watch::Receiver<Option<SocketAddr>>);

impl ProbePlugin {
    /// Probes of this status: that of the host the plugin is added to.
    #[must_use]
    pub fn new(status: StatusHandle) -> Self {
        Self {
            status,
            settings: None,
            non_fatal: Vec::new(),
            log: None,
            #[cfg(feature = "prometheus")]
            metrics: None,
            address: watch::Sender::new(None),
        }
    }

    /// Takes these settings, and reads no file.
    #[must_use]
    pub fn with_settings(mut self, settings: ProbeSettings) -> Self {
        self.settings = Some(settings);
        self
    }

    /// Names plugins that the agent is well without, besides those of the settings and those that
    /// [say so themselves](Plugin::criticality).
    #[doc(alias("WithNonFatalPlugins"))]
    #[must_use]
    pub fn with_non_fatal_plugins(
        mut self,
        plugins: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        self.non_fatal.extend(plugins.into_iter().map(Into::into));
        self
    }

    /// Shows this filter at `/log`, and lets whoever can ask change it.
    #[must_use]
    pub fn with_log(mut self, log: LogFilter) -> Self {
        self.log = Some(log);
        self
    }

    /// Shows the metrics of the process at `/metrics`.
    #[cfg(feature = "prometheus")]
    #[must_use]
    pub fn with_metrics(mut self, metrics: MetricsHandle) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// Makes the plugins optional that are said to be.
    fn make_optional(&self, cx: &Context, listed: &[String]) -> Result<(), BoxError> {
        let board = cx.status().board();
        for name in listed.iter().chain(&self.non_fatal) {
            if !board.make_optional(name) {
                let agent = self.status.current();
                let names: Vec<&str> = agent.plugins.iter().map(|plugin| &*plugin.plugin).collect();
                return Err(format!(
                    "non-fatal-plugins names {name:?}, which is no plugin of this agent; it has {}",
                    names.join(", ")
                )
                .into());
            }
        }
        Ok(())
    }
}

impl Plugin for ProbePlugin {
    type Handle = ProbeHandle;

    fn name(&self) -> &str {
        NAME
    }

    fn handle(&self) -> ProbeHandle {
        ProbeHandle(self.address.subscribe())
    }

    fn sections(&self) -> Vec<Section> {
        match self.settings {
            Some(_) => Vec::new(),
            None => vec![Section::of::<ProbeSettings>(NAME)],
        }
    }

    async fn init(&mut self, cx: &mut Context) -> PluginResult {
        let (settings, origin) = match self.settings.take() {
            Some(settings) => (settings, "the program".to_owned()),
            None => {
                let loaded = cx.config().load_valid::<ProbeSettings>(NAME)?;
                (loaded.value, loaded.origin.to_string())
            }
        };
        // The loader has said the same with the line.
        if settings.stalled_after < LEAST_STALL {
            return Err(format!("stalled-after must be at least {LEAST_STALL:?}").into());
        }
        self.make_optional(cx, &settings.non_fatal_plugins)?;
        let heartbeat = Heartbeat::new();
        let router = router(Sources {
            status: self.status.clone(),
            heartbeat: heartbeat.clone(),
            stalled_after: settings.stalled_after,
            log: self.log.take(),
            #[cfg(feature = "prometheus")]
            metrics: self.metrics.clone(),
        });
        #[cfg(feature = "prometheus")]
        let tidy = {
            let metrics = self.metrics.clone();
            move || metrics.iter().for_each(MetricsHandle::tidy)
        };
        #[cfg(not(feature = "prometheus"))]
        let tidy = || {};
        let (server, mut ended) = Server::start(settings.listen, router, tidy)?;
        let address = server.address;
        cx.spawn("server", async move |stop| {
            let gone = stop.run_until_cancelled(&mut ended).await.is_some();
            server.stop();
            if gone {
                return Err("the thread of the server is gone".into());
            }
            // Its thread says so at its end, and is gone if it does not.
            let _ = ended.await;
            Ok(())
        });
        self.address.send_replace(Some(address));
        tracing::info!(%address, settings = origin, "the probes listen");
        cx.status().ok_with(format!("http://{address}"));
        cx.spawn("heartbeat", async move |stop| {
            stop.run_until_cancelled(heartbeat.beat()).await;
            Ok(())
        });
        Ok(())
    }
}

impl ProbeHandle {
    /// Where the probes listen, if they do yet.
    #[must_use]
    pub fn address_now(&self) -> Option<SocketAddr> {
        *self.0.borrow()
    }

    /// Where the probes listen, once they do; waits for ever if they never do.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn address(&self) -> SocketAddr {
        let mut address = self.0.clone();
        loop {
            if let Some(address) = *address.borrow_and_update() {
                return address;
            }
            if address.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
