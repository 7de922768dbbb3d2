//! How to reach an etcd: endpoints, deadlines and limits.

use std::time::Duration;

use keyval::{Error, Result};
use keyval_config::{Environment, duration};
use serde::de::{self, Deserialize, Deserializer, Visitor};

/// The variables that name the endpoints if the configuration does not, in this order.
const ENDPOINT_VARIABLES: [&str; 2] = ["ETCD_ENDPOINTS", "ETCDV3_ENDPOINTS"];
const DEFAULT_ENDPOINT: &str = "127.0.0.1:2379";

/// The connection to an etcd; in YAML, the keys of cn-infra's `etcd.conf` that concern it.
///
/// | key | default | |
/// |---|---|---|
/// | `endpoints` | see below | addresses of the members: `host:port` or `http://host:port` |
/// | `dial-timeout` | `1s` | how long connecting to one endpoint may take |
/// | `operation-timeout` | `3s` | how long one request may take, with any change of endpoint |
/// | `endpoint-sync` | `0s` | how often to read the list of members and use it in place of the endpoints; at least 1 s, 0 is never |
/// | `insecure-transport` | `false` | `true` insists on plain text; there is no TLS yet |
/// | `max-txn-ops` | `128` | the server's limit of operations in each list of a transaction |
/// | `max-request-bytes` | `1572864` | the server's limit of bytes in one request |
///
/// Without endpoints, the variable `ETCD_ENDPOINTS` names them, then `ETCDV3_ENDPOINTS`, as lists
/// with commas; at last it is `127.0.0.1:2379`. The keys for TLS are refused unless they are off.
///
/// # Examples
/// ```
/// use keyval_etcd::EtcdConfig;
/// use std::time::Duration;
///
/// let config: EtcdConfig = keyval_config::parse("etcd.yaml", "
/// endpoints: [10.0.0.5:2379, 10.0.0.6:2379]
/// dial-timeout: 500ms
/// ")?;
/// assert_eq!(config.dial_timeout, Duration::from_millis(500));
/// assert_eq!(config.operation_timeout, Duration::from_secs(3));
/// # keyval_config::Result::Ok(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct EtcdConfig {
    /// The addresses of the members; empty to take them from the environment.
    pub endpoints: Vec<String>,
    /// How long connecting to one endpoint may take; 1 s by default.
    #[serde(with = "duration")]
    pub dial_timeout: Duration,
    /// How long one request may take, with any change of endpoint; 3 s by default.
    #[serde(with = "duration")]
    pub operation_timeout: Duration,
    /// How often to read the list of members; zero, the default, is never.
    #[serde(with = "duration")]
    pub endpoint_sync: Duration,
    /// Insists on plain text; false by default, which allows TLS once it is there.
    pub insecure_transport: bool,
    /// The server's limit of operations in each list of a transaction; 128 by default.
    pub max_txn_ops: usize,
    /// The server's limit of bytes in one request; 1.5 MiB by default.
    pub max_request_bytes: usize,
    insecure_skip_tls_verify: Off,
    cert_file: Off,
    key_file: Off,
    ca_file: Off,
}

impl Default for EtcdConfig {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            dial_timeout: Duration::from_secs(1),
            operation_timeout: Duration::from_secs(3),
            endpoint_sync: Duration::ZERO,
            insecure_transport: false,
            max_txn_ops: 128,
            max_request_bytes: 1_572_864,
            insecure_skip_tls_verify: Off,
            cert_file: Off,
            key_file: Off,
            ca_file: Off,
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

    /// Refuses what makes no sense.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a timeout below a millisecond or a limit of zero.
    pub(crate) fn check(&self) -> Result<()> {
        for (key, timeout) in [
            ("dial-timeout", self.dial_timeout),
            ("operation-timeout", self.operation_timeout),
        ] {
            if timeout < Duration::from_millis(1) {
                return Err(Error::invalid(format!(
                    "the etcd configuration sets {key} to {timeout:?}, in which nothing can be \
                     done: a bare number is nanoseconds, so write a unit, as in 3s"
                )));
            }
        }
        if !self.endpoint_sync.is_zero() && self.endpoint_sync < Duration::from_secs(1) {
            return Err(Error::invalid(format!(
                "the etcd configuration sets endpoint-sync to {:?}, which is too often: write at \
                 least 1s, or 0s for never",
                self.endpoint_sync
            )));
        }
        for (key, zero) in [
            ("max-txn-ops", self.max_txn_ops == 0),
            ("max-request-bytes", self.max_request_bytes == 0),
        ] {
            if zero {
                return Err(Error::invalid(format!(
                    "the etcd configuration sets {key} to 0: give it a size or leave it out"
                )));
            }
        }
        Ok(())
    }
}

/// A key of cn-infra that does nothing here yet: it may be written only where it is off.
///
/// Ignoring it would leave a connection open to all that was meant to be protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Off;

impl<'de> Deserialize<'de> for Off {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OffVisitor)
    }
}

struct OffVisitor;

impl OffVisitor {
    fn refuse<E: de::Error>(self) -> Result<Off, E> {
        Err(E::custom(
            "TLS to etcd is not supported yet: leave this key out and use plain endpoints",
        ))
    }
}

impl Visitor<'_> for OffVisitor {
    type Value = Off;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("nothing, as TLS to etcd is not supported yet")
    }

    fn visit_bool<E: de::Error>(self, on: bool) -> Result<Off, E> {
        if on { self.refuse() } else { Ok(Off) }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Off, E> {
        if text.is_empty() {
            Ok(Off)
        } else {
            self.refuse()
        }
    }

    fn visit_unit<E: de::Error>(self) -> Result<Off, E> {
        Ok(Off)
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
    fn a_key_that_would_be_ignored_is_refused() {
        for text in [
            "cert-file: /a.pem",
            "key-file: /a.pem",
            "ca-file: /a.pem",
            "insecure-skip-tls-verify: true",
        ] {
            let told = parse::<EtcdConfig>("etcd.yaml", text)
                .unwrap_err()
                .to_string();
            assert!(told.contains("not supported yet"), "{text}: {told}");
        }
        let told = parse::<EtcdConfig>("etcd.yaml", "dial-timout: 1s")
            .unwrap_err()
            .to_string();
        assert!(told.contains("did you mean \"dial-timeout\""), "{told}");
    }

    #[test]
    fn a_key_that_is_off_is_accepted() {
        let text = "insecure-transport: true\ninsecure-skip-tls-verify: false\ncert-file: \"\"\n\
                    key-file: ~\n";
        let config: EtcdConfig = parse("etcd.yaml", text).unwrap();
        assert!(config.insecure_transport);
    }

    #[test]
    fn next_to_nothing_is_no_timeout_and_no_limit() {
        for text in [
            "dial-timeout: 0s",
            "operation-timeout: 0s",
            "dial-timeout: 5",
            "max-txn-ops: 0",
            "max-request-bytes: 0",
        ] {
            let config: EtcdConfig = parse("etcd.yaml", text).unwrap();
            assert!(config.check().is_err(), "{text}");
        }
    }
}
