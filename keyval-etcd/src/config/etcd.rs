//! What a configuration of etcd says, key by key.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use keyval::{Error, Result};
use keyval_config::{Environment, HumanDuration, Secret, duration, schemars};

use super::{optional, shown};

/// The variables that name the endpoints if the configuration does not, in this order.
pub(crate) const ENDPOINT_VARIABLES: [&str; 2] = ["ETCD_ENDPOINTS", "ETCDV3_ENDPOINTS"];
const DEFAULT_ENDPOINT: &str = "127.0.0.1:2379";

/// The connection to an etcd; in YAML, the keys of cn-infra's `etcd.conf` and some more.
///
/// Durations are written with a unit, as in `500ms`; a bare integer counts nanoseconds, and in
/// `session-ttl` seconds, as in cn-infra.
///
/// | key | default | |
/// |---|---|---|
/// | `endpoints` | see below | the members: `host:port`, `http://host:port` or `https://host:port` |
/// | `discovery-srv` | none | a domain whose DNS names the members, in place of `endpoints`; with the feature `srv`, see below |
/// | `discovery-srv-name` | none | a word in the names of these records |
/// | `discovery-srv-server` | the system's | the name server to ask for them, as `address:port` |
/// | `dial-timeout` | `1s` | how long connecting to one endpoint may take |
/// | `operation-timeout` | `3s` | how long one request may take, with any change of endpoint |
/// | `keepalive-time` | `10s` | after how long a connection in use is asked whether it lives; at least 10 s, as etcd drops clients that ask more often |
/// | `keepalive-timeout` | `5s` | how long the answer to that may take |
/// | `endpoint-sync` | `0s` | how often to read the list of members and use it in place of the endpoints; at least 1 s, 0 is never |
/// | `max-txn-ops` | `128` | the server's limit of operations in each list of a transaction |
/// | `max-request-bytes` | `1572864` | the server's limit of bytes in one request |
/// | `insecure-transport` | not said | `true` is plain text, `false` is TLS; see below |
/// | `ca-file` | the system's | whose certificates to trust, as PEM |
/// | `cert-file`, `key-file` | none | our own certificate and its key, as PEM; always both |
/// | `insecure-skip-tls-verify` | `false` | `true` takes any certificate for the server's |
/// | `username` | none | the user of etcd to log in as |
/// | `password`, `password-file` | none | its password, or a file with it, read anew at each login |
/// | `allow-plaintext-credentials` | `false` | `true` sends the password over plain text |
///
/// A plugin host uses these; a bare store does not:
///
/// | key | default | |
/// |---|---|---|
/// | `auto-compact` | `0s` | how much history automatic compaction keeps; at least 1 s, 0 is off |
/// | `resync-after-reconnect` | `false` | whether plugins resync after each outage |
/// | `allow-delayed-start` | `false` | whether the program starts without its store and connects later |
/// | `reconnect-interval` | `2s` | the most to wait between attempts of a delayed start |
/// | `session-ttl` | `5s` | how long what a session holds outlives its program; at least 1 s |
///
/// cn-infra's key `expand-env-variables` is accepted with `false` only: nothing in a value is ever expanded.
///
/// Without endpoints, the variable `ETCD_ENDPOINTS` names them, then `ETCDV3_ENDPOINTS`, as lists
/// with commas; at last it is `127.0.0.1:2379`.
///
/// # Endpoints from the DNS
/// With `discovery-srv: example.org`, the SRV records `_etcd-client-ssl._tcp.example.org` name the
/// members that are reached by TLS, or else `_etcd-client._tcp.example.org` those in plain text; with
/// `discovery-srv-name: eu` they are `_etcd-client-ssl-eu` and `_etcd-client-eu`. The keys for
/// encryption say which of them may be used. They are read when connecting begins; `endpoint-sync`
/// keeps up with the cluster from then on. With `discovery-srv-server: 127.0.0.1:8600` that name server
/// is asked for the records; the hosts in them are looked up by the system, as all are. A certificate is
/// verified for the host that the record names: as answers of the DNS can be forged, write
/// `insecure-transport: false`, and a `ca-file` that trusts nobody else.
///
/// # Encryption
/// An endpoint that begins with `https://` is reached by TLS 1.2 or 1.3, one with `http://` in
/// plain text; all must be of one kind. Without either it is TLS if `insecure-transport: false` is
/// written, or if there is one of the keys for files or `insecure-skip-tls-verify: true`, and plain
/// text otherwise. `insecure-transport: true` turns TLS off, with a warning if that leaves keys
/// unused. cn-infra took `insecure-transport: false` alone for plain text; here it means what it
/// says.
///
/// The files are read and checked when the configuration is loaded, when connecting begins, and again
/// whenever a connection is opened: what has changed is used from then on. If it is broken, what was read
/// before stays in use, with a warning. `insecure-skip-tls-verify` protects from nobody who can come
/// between, and so warns at each start, as does a password over plain text.
///
/// # Examples
/// ```
/// use keyval_etcd::EtcdConfig;
/// use std::time::Duration;
///
/// let config: EtcdConfig = keyval_config::parse("etcd.yaml", "
/// endpoints: [10.0.0.5:2379, 10.0.0.6:2379]
/// dial-timeout: 500ms
/// ca-file: /etc/agent/ca.pem
/// username: agent
/// password-file: /etc/agent/password
/// ")?;
/// config.check().expect("each key goes with the others");
/// assert_eq!(config.dial_timeout, Duration::from_millis(500));
/// assert_eq!(config.operation_timeout, Duration::from_secs(3));
/// # keyval_config::Result::Ok(())
/// ```
#[derive(Clone, PartialEq, Eq, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(
    crate = "keyval_config::schemars",
    description = "The connection to an etcd."
)]
#[non_exhaustive]
pub struct EtcdConfig {
    /// The addresses of the members; empty to take them from the environment.
    #[serde(serialize_with = "shown::endpoints")]
    pub endpoints: Vec<String>,
    /// The domain whose SRV records name the members, in place of the endpoints; none by default.
    /// Refused without the feature `srv`.
    #[serde(deserialize_with = "optional::text")]
    pub discovery_srv: Option<String>,
    /// A word in the names of these records; none by default.
    #[serde(deserialize_with = "optional::text")]
    pub discovery_srv_name: Option<String>,
    /// The name server to ask for these records, as an IP address and a port; those of the system by
    /// default.
    #[serde(deserialize_with = "optional::text")]
    pub discovery_srv_server: Option<String>,
    /// How long connecting to one endpoint may take; 1 s by default.
    #[serde(with = "duration")]
    #[schemars(with = "HumanDuration")]
    pub dial_timeout: Duration,
    /// How long one request may take, with any change of endpoint; 3 s by default.
    #[serde(with = "duration")]
    #[schemars(with = "HumanDuration")]
    pub operation_timeout: Duration,
    /// After how long a connection in use is asked whether it lives; 10 s by default, and the least.
    #[serde(with = "duration")]
    #[schemars(with = "HumanDuration")]
    pub keepalive_time: Duration,
    /// How long the answer to that may take; 5 s by default.
    #[serde(with = "duration")]
    #[schemars(with = "HumanDuration")]
    pub keepalive_timeout: Duration,
    /// How often to read the list of members and use it in place of the endpoints; 0, the default,
    /// is never, and 1 s the least.
    #[serde(with = "duration")]
    #[schemars(with = "HumanDuration")]
    pub endpoint_sync: Duration,
    /// The server's limit of operations in each list of a transaction; 128 by default.
    #[schemars(range(min = 1))]
    pub max_txn_ops: usize,
    /// The server's limit of bytes in one request; 1.5 MiB by default.
    #[schemars(range(min = 1))]
    pub max_request_bytes: usize,
    /// Plain text if true, TLS if false; by default the endpoints and the other keys decide.
    pub insecure_transport: Option<bool>,
    /// Takes any certificate for the server's; false by default.
    pub insecure_skip_tls_verify: bool,
    /// The file of our own certificate, with its intermediates, as PEM.
    #[serde(deserialize_with = "optional::path")]
    pub cert_file: Option<PathBuf>,
    /// The file of the key of our own certificate, as PEM.
    #[serde(deserialize_with = "optional::path")]
    pub key_file: Option<PathBuf>,
    /// The file of the certificates to trust, as PEM; by default those that the system trusts.
    #[serde(deserialize_with = "optional::path")]
    pub ca_file: Option<PathBuf>,
    /// The user of etcd to log in as; empty, the default, for no login.
    #[serde(deserialize_with = "optional::secret")]
    pub username: Secret,
    /// The password of the user.
    #[serde(deserialize_with = "optional::secret")]
    pub password: Secret,
    /// A file with the password, read anew at each login; one newline at its end does not count.
    #[serde(deserialize_with = "optional::path")]
    pub password_file: Option<PathBuf>,
    /// Allows sending the password over plain text; false by default.
    pub allow_plaintext_credentials: bool,
    /// How much history automatic compaction keeps, for a plugin host; 0, the default, is off, and
    /// 1 s the least.
    #[serde(with = "duration")]
    #[schemars(with = "HumanDuration")]
    pub auto_compact: Duration,
    /// Whether plugins resync after each outage, for a plugin host; false by default.
    pub resync_after_reconnect: bool,
    /// Whether the program starts without its store, for a plugin host; false by default.
    pub allow_delayed_start: bool,
    /// How long to wait between attempts of a delayed start, for a plugin host; 2 s by default.
    #[serde(with = "duration")]
    #[schemars(with = "HumanDuration")]
    pub reconnect_interval: Duration,
    /// How long what a session holds outlives its program, for a plugin host; 5 s by default, 1 s
    /// the least. etcd raises less than its own minimum, which mostly is 2 s.
    #[serde(with = "duration::seconds")]
    #[schemars(with = "HumanDuration")]
    pub session_ttl: Duration,
    /// For files of cn-infra: nothing is ever expanded, so that only false is accepted.
    #[serde(skip_serializing)]
    pub(super) expand_env_variables: bool,
}

impl Default for EtcdConfig {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            discovery_srv: None,
            discovery_srv_name: None,
            discovery_srv_server: None,
            dial_timeout: Duration::from_secs(1),
            operation_timeout: Duration::from_secs(3),
            keepalive_time: Duration::from_secs(10),
            keepalive_timeout: Duration::from_secs(5),
            endpoint_sync: Duration::ZERO,
            max_txn_ops: 128,
            max_request_bytes: 1_572_864,
            insecure_transport: None,
            insecure_skip_tls_verify: false,
            cert_file: None,
            key_file: None,
            ca_file: None,
            username: Secret::default(),
            password: Secret::default(),
            password_file: None,
            allow_plaintext_credentials: false,
            auto_compact: Duration::ZERO,
            resync_after_reconnect: false,
            allow_delayed_start: false,
            reconnect_interval: Duration::from_secs(2),
            session_ttl: Duration::from_secs(5),
            expand_env_variables: false,
        }
    }
}

impl EtcdConfig {
    /// Sets the addresses of the members.
    #[must_use]
    pub fn with_endpoints<E: Into<String>>(
        mut self,
        endpoints: impl IntoIterator<Item = E>,
    ) -> Self {
        self.endpoints = endpoints.into_iter().map(Into::into).collect();
        self
    }

    /// Sets how long connecting to one endpoint may take.
    #[must_use]
    pub fn with_dial_timeout(mut self, timeout: Duration) -> Self {
        self.dial_timeout = timeout;
        self
    }

    /// Sets how long one request may take.
    #[must_use]
    pub fn with_operation_timeout(mut self, timeout: Duration) -> Self {
        self.operation_timeout = timeout;
        self
    }

    /// Sets the file of the certificates to trust, which turns TLS on.
    #[must_use]
    pub fn with_ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(path.into());
        self
    }

    /// Sets the files of our own certificate and of its key, which turns TLS on.
    #[must_use]
    pub fn with_client_certificate(
        mut self,
        cert_file: impl Into<PathBuf>,
        key_file: impl Into<PathBuf>,
    ) -> Self {
        self.cert_file = Some(cert_file.into());
        self.key_file = Some(key_file.into());
        self
    }

    /// Sets the user to log in as, and the password.
    ///
    /// # Examples
    /// ```
    /// use keyval_etcd::EtcdConfig;
    ///
    /// let config = EtcdConfig::default()
    ///     .with_endpoints(["https://etcd-0:2379"])
    ///     .with_login("agent", "open sesame");
    /// assert!(!format!("{config:?}").contains("sesame"));
    /// ```
    #[must_use]
    pub fn with_login(mut self, username: impl Into<String>, password: impl Into<String>) -> Self {
        self.username = Secret::new(username);
        self.password = Secret::new(password);
        self
    }

    /// Allows sending the password over plain text.
    #[must_use]
    pub fn with_plaintext_credentials(mut self) -> Self {
        self.allow_plaintext_credentials = true;
        self
    }

    /// The endpoints to use: those of the configuration, else of the environment, else the default.
    ///
    /// # Examples
    /// ```
    /// use keyval_config::Environment;
    /// use keyval_etcd::EtcdConfig;
    ///
    /// let environment = Environment::from_iter([("ETCD_ENDPOINTS", "a:2379, b:2379")]);
    /// let config = EtcdConfig::default();
    /// assert_eq!(config.resolve_endpoints(&environment)?, ["a:2379", "b:2379"]);
    /// assert_eq!(config.resolve_endpoints(&Environment::empty())?, ["127.0.0.1:2379"]);
    /// # Ok::<(), keyval::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`] if the variable is not text.
    pub fn resolve_endpoints(&self, environment: &Environment) -> Result<Vec<String>> {
        if !self.endpoints.is_empty() {
            return Ok(self.endpoints.clone());
        }
        for name in ENDPOINT_VARIABLES {
            let Some(value) = environment.get(name) else {
                continue;
            };
            let value = value
                .into_string()
                .map_err(|_| Error::invalid(format!("the variable {name} is not UTF-8")))?;
            let endpoints: Vec<String> = value
                .split(',')
                .map(str::trim)
                .filter(|endpoint| !endpoint.is_empty())
                .map(str::to_owned)
                .collect();
            if !endpoints.is_empty() {
                return Ok(endpoints);
            }
        }
        Ok(vec![DEFAULT_ENDPOINT.to_owned()])
    }
}

impl fmt::Debug for EtcdConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // All by name, so that a new key cannot be forgotten here.
        let Self {
            endpoints,
            discovery_srv,
            discovery_srv_name,
            discovery_srv_server,
            dial_timeout,
            operation_timeout,
            keepalive_time,
            keepalive_timeout,
            endpoint_sync,
            max_txn_ops,
            max_request_bytes,
            insecure_transport,
            insecure_skip_tls_verify,
            cert_file,
            key_file,
            ca_file,
            username,
            password,
            password_file,
            allow_plaintext_credentials,
            auto_compact,
            resync_after_reconnect,
            allow_delayed_start,
            reconnect_interval,
            session_ttl,
            // It says nothing.
            expand_env_variables: _,
        } = self;
        let endpoints = shown::without_passwords(endpoints);
        f.debug_struct("EtcdConfig")
            .field("endpoints", &endpoints)
            .field("discovery_srv", discovery_srv)
            .field("discovery_srv_name", discovery_srv_name)
            .field("discovery_srv_server", discovery_srv_server)
            .field("dial_timeout", dial_timeout)
            .field("operation_timeout", operation_timeout)
            .field("keepalive_time", keepalive_time)
            .field("keepalive_timeout", keepalive_timeout)
            .field("endpoint_sync", endpoint_sync)
            .field("max_txn_ops", max_txn_ops)
            .field("max_request_bytes", max_request_bytes)
            .field("insecure_transport", insecure_transport)
            .field("insecure_skip_tls_verify", insecure_skip_tls_verify)
            .field("cert_file", cert_file)
            .field("key_file", key_file)
            .field("ca_file", ca_file)
            .field("username", username)
            .field("password", password)
            .field("password_file", password_file)
            .field("allow_plaintext_credentials", allow_plaintext_credentials)
            .field("auto_compact", auto_compact)
            .field("resync_after_reconnect", resync_after_reconnect)
            .field("allow_delayed_start", allow_delayed_start)
            .field("reconnect_interval", reconnect_interval)
            .field("session_ttl", session_ttl)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::EtcdConfig;
    use keyval_config::{Environment, parse};

    #[test]
    fn endpoints_come_from_the_file_then_the_environment_then_the_default() {
        let both =
            Environment::from_iter([("ETCD_ENDPOINTS", "a:1,,b:2 "), ("ETCDV3_ENDPOINTS", "c:3")]);
        let old = Environment::from_iter([("ETCD_ENDPOINTS", " , "), ("ETCDV3_ENDPOINTS", "c:3")]);
        let given = EtcdConfig::default().with_endpoints(["x:9"]);
        let none = EtcdConfig::default();
        for (config, environment, expected) in [
            (&given, &both, vec!["x:9"]),
            (&none, &both, vec!["a:1", "b:2"]),
            (&none, &old, vec!["c:3"]),
            (&none, &Environment::empty(), vec!["127.0.0.1:2379"]),
        ] {
            assert_eq!(config.resolve_endpoints(environment).unwrap(), expected);
        }
    }

    #[test]
    fn a_misspelt_key_is_refused() {
        let told = parse::<EtcdConfig>("etcd.yaml", "dial-timout: 1s")
            .unwrap_err()
            .to_string();
        assert!(told.contains("did you mean \"dial-timeout\""), "{told}");
    }

    #[test]
    fn a_configuration_never_shows_a_secret() {
        let config = EtcdConfig::default()
            .with_endpoints(["http://canary:canary@a:1", "b:2"])
            .with_login("canary", "canary");
        let shown = format!("{config:?} {config:#?}");
        assert!(
            !shown.contains("canary") && shown.contains("b:2"),
            "{shown}"
        );
    }
}
