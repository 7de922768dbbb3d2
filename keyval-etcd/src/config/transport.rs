//! Whether an etcd is spoken to in plain text or encrypted, and what of that is refused.

use keyval::{Error, Result};
use keyval_config::Findings;
use tracing::warn;

use super::etcd::EtcdConfig;

/// How the endpoints are reached: all in the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Plain,
    Tls,
}

impl EtcdConfig {
    /// How to reach these endpoints, with a warning for each thing that is allowed but unsafe.
    ///
    /// # Errors
    /// [`Error::Invalid`] for endpoints of both kinds, for keys that go against them, and for
    /// credentials over plain text that are not allowed.
    pub(crate) fn transport(&self, endpoints: &[String]) -> Result<Transport> {
        let transport = self.decide(endpoints).map_err(|Conflict { key, told }| {
            Error::invalid(format!(
                "in the etcd configuration, or in ETCD_ENDPOINTS, {key} {told}"
            ))
        })?;
        if transport == Transport::Plain && !self.username.is_empty() {
            warn!(
                "the password for etcd is sent over plain text, as allow-plaintext-credentials says"
            );
        }
        match transport {
            Transport::Plain if self.has_tls_keys() => {
                warn!("insecure-transport turns TLS to etcd off; its other keys are not used");
            }
            Transport::Tls if self.insecure_skip_tls_verify => {
                warn!(
                    "the certificate of etcd is not verified, as insecure-skip-tls-verify says: \
                     anybody can pretend to be it"
                );
            }
            _ => {}
        }
        Ok(transport)
    }

    /// Refuses keys that go against these endpoints.
    pub(crate) fn check_transport(&self, endpoints: &[String], findings: &mut Findings) {
        if let Err(Conflict { key, told }) = self.decide(endpoints) {
            findings.refuse(&key, told);
        }
    }

    /// Whether these endpoints are reached by TLS, as far as that can be said.
    pub(crate) fn is_encrypted(&self, endpoints: &[String]) -> bool {
        matches!(self.by_scheme(endpoints), Ok(Transport::Tls))
    }

    fn decide(&self, endpoints: &[String]) -> std::result::Result<Transport, Conflict> {
        let transport = self.by_scheme(endpoints)?;
        let tells = !self.username.is_empty() && !self.allow_plaintext_credentials;
        match transport {
            Transport::Plain if tells => Err(Conflict::new(
                "username",
                "would be sent over plain text with its password, for all to read: use https:// \
                 endpoints, or set allow-plaintext-credentials: true",
            )),
            transport => Ok(transport),
        }
    }

    fn by_scheme(&self, endpoints: &[String]) -> std::result::Result<Transport, Conflict> {
        let (plain, tls) = (place_of(endpoints, "http"), place_of(endpoints, "https"));
        match (plain, tls, self.insecure_transport) {
            (Some(plain), Some(tls), _) => Err(Conflict::of_endpoint(
                plain.max(tls),
                format!(
                    "and endpoints[{}] begin with http:// and https://: reach all of them in the \
                     same way",
                    plain.min(tls)
                ),
            )),
            (_, Some(tls), Some(true)) => Err(Conflict::of_endpoint(
                tls,
                "begins with https://, and insecure-transport is true: leave that out, or write \
                 http://",
            )),
            (Some(plain), _, Some(false)) => Err(Conflict::of_endpoint(
                plain,
                "begins with http://, and insecure-transport is false: leave that out, or write \
                 https://",
            )),
            (Some(plain), _, None) if self.has_tls_keys() => Err(Conflict::of_endpoint(
                plain,
                "begins with http://, and the configuration has keys for TLS: write https://, or \
                 remove ca-file, cert-file, key-file and insecure-skip-tls-verify",
            )),
            (_, Some(_), _) | (_, _, Some(false)) => Ok(Transport::Tls),
            (None, None, None) if self.has_tls_keys() => Ok(Transport::Tls),
            _ => Ok(Transport::Plain),
        }
    }

    /// How endpoints may be reached that do not say it themselves, the better way first.
    #[cfg(feature = "srv")]
    pub(crate) fn transports(&self) -> &'static [Transport] {
        match self.insecure_transport {
            Some(true) => &[Transport::Plain],
            Some(false) => &[Transport::Tls],
            None if self.has_tls_keys() => &[Transport::Tls],
            None => &[Transport::Tls, Transport::Plain],
        }
    }

    pub(crate) fn has_tls_keys(&self) -> bool {
        self.insecure_skip_tls_verify
            || self.ca_file.is_some()
            || self.cert_file.is_some()
            || self.key_file.is_some()
    }
}

/// Keys that do not go together, told of one of them.
struct Conflict {
    key: String,
    /// Goes on from the key.
    told: String,
}

impl Conflict {
    fn new(key: impl Into<String>, told: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            told: told.into(),
        }
    }

    /// Names an endpoint by its place, since it may hold a password by mistake.
    fn of_endpoint(at: usize, told: impl Into<String>) -> Self {
        Self::new(format!("endpoints[{at}]"), told)
    }
}

/// The place, from 0, of the first endpoint with this scheme.
fn place_of(endpoints: &[String], scheme: &str) -> Option<usize> {
    endpoints.iter().position(|endpoint| {
        endpoint
            .split_once("://")
            .is_some_and(|(found, _)| found == scheme)
    })
}

#[cfg(test)]
mod tests {
    use super::super::etcd::EtcdConfig;
    use super::Transport::{self, Plain, Tls};
    use keyval::Result;
    use keyval_config::parse;

    fn transport(text: &str, endpoints: &[&str]) -> Result<Transport> {
        let config: EtcdConfig = parse("etcd.yaml", text).unwrap();
        let endpoints: Vec<String> = endpoints.iter().map(|&text| text.to_owned()).collect();
        config.transport(&endpoints)
    }

    #[test]
    fn the_scheme_or_the_keys_turn_encryption_on() {
        for (text, endpoint, expected) in [
            ("", "a:1", Plain),
            ("", "http://a:1", Plain),
            ("", "https://a:1", Tls),
            ("insecure-transport: true", "a:1", Plain),
            ("insecure-transport: true", "http://a:1", Plain),
            ("insecure-transport: false", "a:1", Tls),
            ("insecure-transport: false", "https://a:1", Tls),
            ("ca-file: /a.pem", "a:1", Tls),
            ("ca-file: /a.pem", "https://a:1", Tls),
            ("insecure-skip-tls-verify: true", "a:1", Tls),
            ("insecure-transport: true\nca-file: /a.pem", "a:1", Plain),
            ("{username: a, password: b}", "https://a:1", Tls),
            (
                "{username: a, password: b, allow-plaintext-credentials: true}",
                "a:1",
                Plain,
            ),
        ] {
            assert_eq!(
                transport(text, &[endpoint]).unwrap(),
                expected,
                "{text} {endpoint}"
            );
        }
    }

    #[test]
    fn what_goes_against_each_other_is_refused() {
        for (text, endpoints, key) in [
            (
                "",
                &["http://a:1", "https://a:1"][..],
                "endpoints[1] and endpoints[0]",
            ),
            (
                "insecure-transport: true",
                &["https://a:1"],
                "insecure-transport",
            ),
            (
                "insecure-transport: false",
                &["http://a:1"],
                "insecure-transport",
            ),
            ("ca-file: /a.pem", &["b:1", "http://a:1"], "ca-file"),
            (
                "{username: a, password: b}",
                &["a:1"],
                "allow-plaintext-credentials",
            ),
        ] {
            let told = transport(text, endpoints).unwrap_err().to_string();
            assert!(told.contains(key), "{text}: {told}");
        }
    }
}
