//! The one way in which every call is made.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use keyval::{Connection, ConnectionState, Error, Outcome, Result};
use keyval_config::Environment;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::config::{Endpoint, EtcdConfig, not_an_endpoint};
use crate::connection::access::Access;
use crate::connection::attempts::{Attempt, Failure, error_of};
use crate::connection::deadline::{Limits, from_now};
use crate::connection::monitor::{Held, look_after};
use crate::connection::node::Node;
use crate::connection::nodes::Nodes;
use crate::connection::opener::Open;
use crate::connection::pool::Pool;
#[cfg(feature = "srv")]
use crate::connection::srv::discover;
use crate::connection::start::first_to_serve;
use crate::connection::sync::{EndpointFilter, keep_in_step};
use crate::connection::tasks::Tasks;
use crate::error::Call;

/// The answer to a call of the stub.
pub(crate) type StubResult<T> = Result<T, etcd_client::Error>;

/// All that the clones of one store share.
pub(crate) struct Client {
    name: String,
    /// What the endpoint said that answered first.
    version: String,
    operation_timeout: Duration,
    pool: Arc<Pool>,
    tasks: Tasks,
}

impl Client {
    /// Connects to the first endpoint that answers.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an endpoint that is none; [`Error::Unavailable`], with the cause of
    /// each, if none answers within the dial timeout.
    pub(crate) async fn connect(
        config: &EtcdConfig,
        environment: &Environment,
        filter: EndpointFilter,
        opener: Option<Arc<Open>>,
    ) -> Result<Self> {
        config.check()?;
        let mut parsed = Vec::new();
        let endpoints = endpoints(config, environment).await?;
        for (at, endpoint) in endpoints.iter().enumerate() {
            parsed.push(Endpoint::parse(endpoint).map_err(|why| not_an_endpoint(at, why))?);
        }
        let access = Access::new(config, &endpoints, opener).await?;
        let mut nodes = Vec::new();
        for endpoint in parsed {
            nodes.push(Arc::new(Node::new(endpoint, config, &access).await?));
        }
        let client = Self::over(nodes, config).await?;
        if !config.endpoint_sync.is_zero() {
            let pool = client.pool.clone();
            client
                .tasks
                .spawn(keep_in_step(pool, config.clone(), access, filter));
        }
        Ok(client)
    }

    /// Uses the connections of a client of the caller's.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub(crate) async fn given(client: &etcd_client::Client, config: &EtcdConfig) -> Result<Self> {
        config.check()?;
        let node = Node::over("the given client".into(), client, client);
        Self::over(vec![Arc::new(node)], config).await
    }

    async fn over(nodes: Vec<Arc<Node>>, config: &EtcdConfig) -> Result<Self> {
        let names: Vec<&str> = nodes.iter().map(|node| &*node.endpoint).collect();
        let name = format!("etcd({})", names.join(","));
        let (current, version) = first_to_serve(&nodes, &name, config).await?;
        let held = Held::new(&nodes[current]);
        let nodes = Nodes::new(nodes, current);
        let pool = Arc::new(Pool::new(nodes, held.is_some(), config.dial_timeout));
        let tasks = Tasks::new(pool.closing.clone());
        if let (Some(held), Some(wake)) = (held, &pool.wake) {
            tasks.spawn(look_after(pool.clone(), wake.clone(), held));
        }
        Ok(Self {
            name,
            version,
            operation_timeout: config.operation_timeout,
            pool,
            tasks,
        })
    }

    /// The store as it shows itself.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The version of the endpoint that answered first.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// Cancelled when the store is closed.
    pub(crate) fn closing(&self) -> &CancellationToken {
        &self.pool.closing
    }

    /// The tasks to be waited for when the store is closed.
    pub(crate) fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Whether the store is connected, now and from now on.
    pub(crate) fn connection(&self) -> Connection {
        self.pool.states.subscribe()
    }

    /// The error of whatever is asked of a closed store.
    pub(crate) fn closed(&self) -> Error {
        Error::Closed {
            store: self.name.clone(),
        }
    }

    /// Waits while the store is known to be without a connection, at most for the operation timeout,
    /// so that what is to last, such as a watch, goes on at the moment when there is one again.
    ///
    /// # Errors
    /// [`Error::Unavailable`] with what each endpoint failed of last; [`Error::Closed`].
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub(crate) async fn until_connected(&self, call: Call<'_>) -> Result<()> {
        let connection = self.connection();
        // Where nobody looks after the connection, only a call can find that it is back.
        if self.pool.wake.is_none() || connection.state().is_connected() {
            return Ok(());
        }
        let connected = connection.wait_for(ConnectionState::is_connected);
        match timeout(self.operation_timeout, connected).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(self.closed()),
            Err(_) => Err(Error::unavailable(
                format!("{call}: {} is {}", self.name, connection.state()),
                Outcome::NotApplied,
            )),
        }
    }

    /// The endpoints as they are now.
    ///
    /// # Errors
    /// [`Error::Closed`] once the store is closed.
    pub(crate) fn nodes(&self) -> Result<Arc<Nodes>> {
        self.pool.nodes().ok_or_else(|| self.closed())
    }

    /// Notes that what was under way at an endpoint, such as a watch, has failed for this cause,
    /// so that others are asked first and the connection is looked at.
    pub(crate) fn report(&self, node: &Node, cause: &str) {
        self.pool.failed(node, cause);
    }

    /// Carries out a call within its time, which is the operation timeout unless it says another.
    ///
    /// It goes to the endpoint used last, then to the others; on to the next only if the request
    /// certainly was not carried out, or is a read without an answer. So no write is ever sent
    /// again that may have been applied.
    pub(crate) async fn call<T, F>(
        &self,
        call: Call<'_>,
        send: impl Fn(&Arc<Node>) -> F + Send + Sync,
    ) -> Result<T>
    where
        F: Future<Output = StubResult<T>> + Send,
    {
        let (_, reply) = self.call_node(call, send).await?;
        Ok(reply)
    }

    /// As [`call`](Self::call), and says which endpoint answered.
    pub(crate) async fn call_node<T, F>(
        &self,
        call: Call<'_>,
        send: impl Fn(&Arc<Node>) -> F + Send + Sync,
    ) -> Result<(Arc<Node>, T)>
    where
        F: Future<Output = StubResult<T>> + Send,
    {
        let nodes = self.nodes()?;
        let within = self.time_of(&call);
        let deadline = from_now(within);
        let (mut asked, mut attempts) = (Vec::new(), Vec::new());
        // Passed over for its doubt alone, and asked after all if no other takes the call.
        let mut passed_over = None;
        while let Some(at) = nodes.next(&asked).or_else(|| passed_over.take()) {
            let node = nodes.get(at);
            let limits = Limits::new(deadline, nodes.has_another(at, &asked));
            let failure = match self.attempt(&call, node, &send, limits).await? {
                Ok(reply) => {
                    if !asked.is_empty() {
                        self.pool.prefer(&nodes, at);
                    }
                    self.pool.answered(node, limits.began);
                    return Ok((node.clone(), reply));
                }
                Err(failure) => failure,
            };
            let last = !failure.allows_another(&call) || Instant::now() >= deadline;
            asked.push(at);
            if matches!(failure, Failure::Doubted(_)) {
                passed_over = Some(at);
            }
            if failure.blames_endpoint() {
                nodes.leave(at);
            }
            attempts.push(self.note(node, failure));
            if last {
                break;
            }
        }
        Err(error_of(&call, attempts, within))
    }

    /// Carries out a call at this endpoint and no other, within the same time.
    pub(crate) async fn call_at<T, F>(
        &self,
        node: &Arc<Node>,
        call: Call<'_>,
        send: impl Fn(&Arc<Node>) -> F + Send + Sync,
    ) -> Result<T>
    where
        F: Future<Output = StubResult<T>> + Send,
    {
        let within = self.time_of(&call);
        let deadline = from_now(within);
        let limits = Limits::new(deadline, false);
        let failure = match self.attempt(&call, node, &send, limits).await? {
            Ok(reply) => {
                self.pool.answered(node, limits.began);
                return Ok(reply);
            }
            Err(failure) => failure,
        };
        let attempts = vec![self.note(node, failure)];
        Err(error_of(&call, attempts, within))
    }

    fn time_of(&self, call: &Call<'_>) -> Duration {
        call.within.unwrap_or(self.operation_timeout)
    }

    /// Makes one attempt; fails only if the store is closed meanwhile.
    async fn attempt<T, F>(
        &self,
        call: &Call<'_>,
        node: &Arc<Node>,
        send: &(impl Fn(&Arc<Node>) -> F + Send + Sync),
        limits: Limits,
    ) -> Result<Result<T, Failure>>
    where
        F: Future<Output = StubResult<T>> + Send,
    {
        let begun = Instant::now();
        let until = if call.repeatable {
            limits.ready
        } else {
            limits.deadline
        };
        let attempt = pin!(async {
            if !call.repeatable && !node.health.is_up() {
                // Boxed, as it is rare, to keep every other call small.
                Box::pin(self.open(node, limits)).await?;
            }
            let sent = pin!(node.send_by(limits.ready, || send(node)));
            match timeout_at(until, sent).await {
                Ok(Ok(reply)) => Ok(reply),
                Ok(Err(failure)) => Err(Failure::Failed(failure)),
                // Only words: a write that may be repeated could have been sent before.
                Err(_) if !call.writes && node.is_out_of_reach() => {
                    Err(Failure::NotReached(node.silence(begun.elapsed()).into()))
                }
                Err(_) => Err(Failure::Silent(begun.elapsed())),
            }
        });
        match self.closing().run_until_cancelled(attempt).await {
            Some(attempted) => Ok(attempted),
            None => Err(self.closed_under(call)),
        }
    }

    /// Waits for the endpoint of a write to answer: a write that waits for a connection could not be
    /// told from one that was sent.
    async fn open(&self, node: &Node, limits: Limits) -> Result<(), Failure> {
        let begun = Instant::now();
        let rest = limits.ready.saturating_duration_since(begun);
        let within = self.pool.dial_timeout.min(rest);
        match timeout_at(begun + within, node.open(within)).await {
            Ok(Ok(())) => {}
            Ok(Err(cause)) => return Err(Failure::NotReached(cause)),
            Err(_) => return Err(Failure::NotReached(node.silence(within).into())),
        }
        match node.health.doubt() {
            Some(doubt) if limits.another => Err(Failure::Doubted(doubt.why)),
            _ => Ok(()),
        }
    }

    /// Notes what an attempt says of the endpoint.
    fn note(&self, node: &Node, failure: Failure) -> Attempt {
        if matches!(failure, Failure::Silent(_)) {
            self.pool.left_unanswered(node, &failure.words());
        } else if failure.blames_endpoint() {
            self.pool.failed(node, &failure.words());
        }
        Attempt {
            endpoint: node.endpoint.clone(),
            failure,
        }
    }

    /// Closes the connections and waits, at most for the operation timeout, for the tasks to end.
    ///
    /// # Errors
    /// [`Error::Timeout`] if a task does not end.
    pub(crate) async fn close(&self) -> Result<()> {
        self.closing().cancel();
        let ended = tokio::time::timeout(self.operation_timeout, self.tasks.ended()).await;
        self.pool.close();
        ended.map_err(|_| Error::timeout("close", self.operation_timeout, Outcome::NotApplied))
    }

    /// The error of a call that was under way when the store was closed. That it is closed says
    /// that nothing was applied, which cannot be said of a write that was sent.
    fn closed_under(&self, call: &Call<'_>) -> Error {
        if call.writes {
            Error::unavailable(
                format!("{} was closed while {call} was under way", self.name),
                Outcome::Unknown,
            )
        } else {
            self.closed()
        }
    }
}

/// Without its last handle a store is closed, but nobody waits for its tasks.
impl Drop for Client {
    fn drop(&mut self) {
        self.pool.close();
    }
}

/// The endpoints of a configuration, those that it leaves to the DNS included.
#[cfg(feature = "srv")]
async fn endpoints(config: &EtcdConfig, environment: &Environment) -> Result<Vec<String>> {
    match &config.discovery_srv {
        // Boxed, as it is large and rare.
        Some(domain) => Box::pin(discover(domain, config)).await,
        None => config.resolve_endpoints(environment),
    }
}

/// The endpoints of a configuration, which has been refused if it leaves them to the DNS.
#[cfg(not(feature = "srv"))]
#[expect(clippy::unused_async, reason = "as with the feature")]
async fn endpoints(config: &EtcdConfig, environment: &Environment) -> Result<Vec<String>> {
    config.resolve_endpoints(environment)
}
