//! One endpoint: its connections, and what is called on them.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use etcd_client::{
    AuthClient, Channel as StubChannel, Client as Stub, ClusterClient, ConnectOptions, KvClient,
    LeaseClient, MaintenanceClient, WatchClient,
};
use http::Uri;
use http::uri::{Authority, Scheme};
use hyper_util::rt::TokioTimer;
use keyval::{EndpointFailure, Error, Outcome, Result};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::config::{Endpoint, EtcdConfig};
use crate::connection::access::Access;
use crate::connection::channel::{Channel, Http2, Spawner};
use crate::connection::deadline::{FAR, from_now};
use crate::connection::dial::{Dialer, Lines, no_connection};
use crate::connection::health::Health;
use crate::connection::wire::WORDLESS;
use crate::error;

/// What one unread watch may hold back in the transport.
const WATCH_STREAM_WINDOW: u32 = 1 << 20;
/// So large that unread watches and lists never use up what they share: a thousand full ones.
const CONNECTION_WINDOW: u32 = 1 << 30;

/// One endpoint with its two connections, each opened when it is first used.
pub(crate) struct Node {
    /// The address, as errors show it.
    pub(crate) endpoint: Arc<str>,
    /// The connection of the calls; none if it is not ours.
    pub(crate) channel: Option<StubChannel>,
    pub(crate) kv: KvClient,
    pub(crate) lease: LeaseClient,
    pub(crate) maintenance: MaintenanceClient,
    pub(crate) cluster: ClusterClient,
    /// On a connection of its own, and served only by a member that knows a leader.
    pub(crate) watch: WatchClient,
    pub(crate) auth: AuthClient,
    access: Access,
    /// Whether a connection in plain text has ended without a word of the server.
    wordless: Arc<AtomicBool>,
    pub(crate) health: Arc<Health>,
    /// The connection of the calls; none if it is not ours.
    pub(crate) line: Option<Line>,
    /// When asking it failed last, and why.
    asked: Mutex<Option<(Instant, Arc<str>)>>,
}

/// What is known of the connection of the calls.
pub(crate) struct Line {
    pub(crate) lines: Arc<Lines>,
    pub(crate) channel: Channel,
}

impl Node {
    /// An endpoint, without connecting to it.
    ///
    /// # Errors
    /// [`Error::Backend`] if the stub does not take the connection.
    pub(crate) async fn new(
        endpoint: Endpoint,
        config: &EtcdConfig,
        access: &Access,
    ) -> Result<Self> {
        let endpoint = Arc::new(endpoint.over(access.scheme()));
        let name: Arc<str> = endpoint.to_string().into();
        let health = Arc::new(Health::unknown(name.clone()));
        let lines = Arc::new(Lines::new(health.clone()));
        let wordless = Arc::new(AtomicBool::new(false));
        let dialer = |lines| Dialer {
            endpoint: endpoint.clone(),
            tls: access.tls.clone(),
            opener: access.opener.clone(),
            wordless: wordless.clone(),
            within: config.dial_timeout,
            lines,
        };
        let mut http2 = Http2::new(Spawner);
        http2
            .timer(TokioTimer::new())
            .keep_alive_interval(config.keepalive_time.min(FAR))
            .keep_alive_timeout(config.keepalive_timeout.min(FAR))
            // etcd drops clients that ask without a call under way.
            .keep_alive_while_idle(false)
            .initial_connection_window_size(CONNECTION_WINDOW);
        let (scheme, authority) = origin(&endpoint)
            .ok_or_else(|| Error::invalid(format!("{endpoint} is not a host and a port")))?;
        let channel = |lines, http2: &Http2| {
            Channel::new(
                dialer(lines),
                http2.clone(),
                scheme.clone(),
                authority.clone(),
            )
        };
        let calls = channel(Some(lines.clone()), &http2);
        let watches = channel(None, http2.initial_stream_window_size(WATCH_STREAM_WINDOW));
        let channel = access.authorize(calls.clone());
        let stubs = stub(channel.clone(), ConnectOptions::new()).await?;
        let options = ConnectOptions::new().with_require_leader(true);
        let watches = stub(access.authorize(watches), options).await?;
        let mut node = Self::over(name, &stubs, &watches);
        node.access = access.clone();
        node.wordless = wordless.clone();
        node.channel = Some(channel);
        node.health = health;
        node.line = Some(Line {
            lines,
            channel: calls,
        });
        Ok(node)
    }

    /// An endpoint of this name behind stubs that were made elsewhere.
    pub(crate) fn over(name: Arc<str>, calls: &Stub, watches: &Stub) -> Self {
        Self {
            health: Arc::new(Health::unknown(name.clone())),
            endpoint: name,
            channel: None,
            kv: calls.kv_client().max_decoding_message_size(usize::MAX),
            lease: calls.lease_client(),
            maintenance: calls.maintenance_client(),
            cluster: calls.cluster_client(),
            watch: watches.watch_client().max_decoding_message_size(usize::MAX),
            auth: calls.auth_client(),
            access: Access::default(),
            wordless: Arc::default(),
            line: None,
            asked: Mutex::new(None),
        }
    }

    /// What it failed of last, if it is down.
    pub(crate) fn failure(&self) -> Option<EndpointFailure> {
        let cause = self.health.cause()?;
        Some(EndpointFailure::new(self.endpoint.clone(), cause))
    }

    /// Sends a request to it, at once; once more if that takes a login before, for which there is time
    /// until then.
    pub(crate) async fn send_by<T, F>(
        &self,
        login_by: Instant,
        send: impl Fn() -> F,
    ) -> Result<T, etcd_client::Error>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        self.access.send(&self.auth, login_by, send).await
    }

    /// Whether requests to it show a token.
    pub(crate) fn logs_in(&self) -> bool {
        self.access.logs_in()
    }

    /// How often the token was changed that requests to it show.
    pub(crate) fn logins(&self) -> u64 {
        self.access.logins()
    }

    /// Logs in, if that is asked for.
    ///
    /// # Errors
    /// That of the login.
    pub(crate) async fn log_in(&self) -> Result<(), etcd_client::Error> {
        self.access.log_in(&self.auth).await
    }

    /// Asks for its version; any answer at all shows that it is up, and one without a leader that
    /// another is rather to be asked.
    ///
    /// # Errors
    /// Why there is none.
    ///
    /// # Cancel safety
    /// Dropping the future asks for nothing more, and changes nothing.
    pub(crate) async fn ask(&self, within: Duration) -> Result<String, Arc<str>> {
        let until = from_now(within);
        let asked = self.send_by(until, || {
            let mut maintenance = self.maintenance.clone();
            async move { maintenance.status().await }
        });
        let cause = match timeout_at(until, asked).await {
            Ok(Ok(status)) => {
                self.health.told(status.leader() != 0);
                return Ok(status.0.version);
            }
            Ok(Err(failure)) if !error::is_lost(&failure) => {
                self.health.told(!error::is_busy(&failure));
                return Ok(String::new());
            }
            Ok(Err(failure)) if self.wordless.swap(false, Ordering::AcqRel) => {
                format!("{WORDLESS}: {}", error::words(&failure))
            }
            Ok(Err(failure)) => error::words(&failure),
            Err(_) => self.silence(within),
        };
        self.health.failed(&cause);
        Err(cause.into())
    }

    /// Whether there is no connection to it yet, so that nothing of a call can have been sent.
    pub(crate) fn is_out_of_reach(&self) -> bool {
        let line = self.line.as_ref();
        line.is_some_and(|line| !line.channel.is_open())
    }

    /// What to tell of it when nothing came of a call within this time.
    pub(crate) fn silence(&self, within: Duration) -> String {
        if self.is_out_of_reach() {
            no_connection(within)
        } else {
            format!("no answer within {within:?}")
        }
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

/// What requests to the endpoint name as their target.
fn origin(endpoint: &Endpoint) -> Option<(Scheme, Authority)> {
    let parts = endpoint.url().parse::<Uri>().ok()?.into_parts();
    Some((parts.scheme?, parts.authority?))
}

async fn stub(channel: StubChannel, options: ConnectOptions) -> Result<Stub> {
    // Without a user this asks nothing of the server.
    Stub::from_channel(channel, Some(options))
        .await
        .map_err(|failure| Error::backend(error::words(&failure), Outcome::NotApplied))
}
