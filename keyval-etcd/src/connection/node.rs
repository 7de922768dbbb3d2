//! One endpoint: its connections, and what is called on them.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{
    Channel, Client as Stub, ConnectOptions, KvClient, LeaseClient, MaintenanceClient, WatchClient,
};
use keyval::{Error, Outcome, Result};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tonic::transport;

use crate::config::EtcdConfig;
use crate::connection::dial::{Dialer, Lines};
use crate::connection::endpoint::Endpoint;
use crate::connection::health::Health;
use crate::connection::state::EndpointFailure;
use crate::error;

/// etcd drops clients that ping more often than every 5 s, or without a call under way.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_ANSWER: Duration = Duration::from_secs(5);
/// What one unread watch may hold back in the transport.
const WATCH_STREAM_WINDOW: u32 = 1 << 20;
/// So large that unread watches never use up what they share: a thousand full ones.
const WATCH_CONNECTION_WINDOW: u32 = 1 << 30;

/// One endpoint with its two connections, each opened when it is first used.
pub(crate) struct Node {
    /// The address, as errors show it.
    pub(crate) endpoint: Arc<str>,
    pub(crate) kv: KvClient,
    pub(crate) lease: LeaseClient,
    pub(crate) maintenance: MaintenanceClient,
    /// On a connection of its own, and served only by a member that knows a leader.
    pub(crate) watch: WatchClient,
    pub(crate) health: Arc<Health>,
    /// The connection of the calls; none if it is not ours.
    pub(crate) line: Option<Line>,
    /// When asking it failed last, and why.
    asked: Mutex<Option<(Instant, Arc<str>)>>,
}

/// What is known of the connection of the calls.
pub(crate) struct Line {
    pub(crate) lines: Arc<Lines>,
}

impl Node {
    /// An endpoint, without connecting to it.
    ///
    /// # Errors
    /// [`Error::Backend`] if the stub does not take the connection.
    pub(crate) async fn new(endpoint: Endpoint, config: &EtcdConfig) -> Result<Self> {
        let endpoint = Arc::new(endpoint);
        let health = Arc::new(Health::unknown());
        let lines = Arc::new(Lines::new(health.clone()));
        let dialer = |lines| Dialer {
            endpoint: endpoint.clone(),
            within: config.dial_timeout,
            lines,
        };
        let transport = transport::Endpoint::from_shared(endpoint.url())
            .map_err(|_| Error::invalid(format!("{endpoint} is not a host and a port")))?
            .http2_keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_ANSWER)
            .keep_alive_while_idle(false);
        let channel = transport.connect_with_connector_lazy(dialer(Some(lines.clone())));
        let watches = transport
            .initial_stream_window_size(WATCH_STREAM_WINDOW)
            .initial_connection_window_size(WATCH_CONNECTION_WINDOW)
            .connect_with_connector_lazy(dialer(None));
        let calls = stub(channel, ConnectOptions::new()).await?;
        let watches = stub(watches, ConnectOptions::new().with_require_leader(true)).await?;
        let mut node = Self::over(endpoint.to_string().into(), &calls, &watches);
        node.health = health;
        node.line = Some(Line { lines });
        Ok(node)
    }

    /// An endpoint of this name behind stubs that were made elsewhere.
    pub(crate) fn over(name: Arc<str>, calls: &Stub, watches: &Stub) -> Self {
        Self {
            endpoint: name,
            kv: calls.kv_client().max_decoding_message_size(usize::MAX),
            lease: calls.lease_client(),
            maintenance: calls.maintenance_client(),
            watch: watches.watch_client().max_decoding_message_size(usize::MAX),
            health: Arc::new(Health::unknown()),
            line: None,
            asked: Mutex::new(None),
        }
    }

    /// What it failed of last, if it is down.
    pub(crate) fn failure(&self) -> Option<EndpointFailure> {
        let cause = self.health.cause()?;
        Some(EndpointFailure::new(self.endpoint.clone(), cause))
    }

    /// Asks for its version; any answer at all shows that it is up.
    ///
    /// # Errors
    /// Why there is none.
    ///
    /// # Cancel safety
    /// Dropping the future asks for nothing more, and changes nothing.
    pub(crate) async fn ask(&self, within: Duration) -> Result<String, Arc<str>> {
        let mut maintenance = self.maintenance.clone();
        let cause = match timeout(within, maintenance.status()).await {
            Ok(Ok(status)) => {
                self.health.succeeded();
                return Ok(status.0.version);
            }
            Ok(Err(failure)) if !error::is_lost(&failure) => {
                self.health.succeeded();
                return Ok(String::new());
            }
            Ok(Err(failure)) => error::words(&failure),
            Err(_) => format!("no answer within {within:?}"),
        };
        self.health.failed(&cause);
        Err(cause.into())
    }

    /// Waits until it is up, if need be by asking it; what many ask at a time is asked once.
    ///
    /// A request that is sent only afterwards certainly was not sent if this fails.
    ///
    /// # Errors
    /// Why it is not.
    ///
    /// # Cancel safety
    /// As [`ask`](Self::ask).
    pub(crate) async fn open(&self, within: Duration) -> Result<(), Arc<str>> {
        let begun = Instant::now();
        let mut asked = self.asked.lock().await;
        if self.health.is_up() {
            return Ok(());
        }
        match &*asked {
            Some((at, cause)) if *at >= begun => return Err(cause.clone()),
            _ => {}
        }
        let answered = self.ask(within).await;
        *asked = answered
            .as_ref()
            .err()
            .map(|cause| (Instant::now(), cause.clone()));
        answered.map(drop)
    }
}

async fn stub(channel: transport::Channel, options: ConnectOptions) -> Result<Stub> {
    // Without a user this asks nothing of the server.
    Stub::from_channel(Channel::Tonic(channel), Some(options))
        .await
        .map_err(|failure| Error::backend(error::words(&failure), Outcome::NotApplied))
}
