//! Which configurations of etcd make no sense, key by key; how keys go together with the endpoints
//! is the business of `transport.rs`, and what is in the files that they name of `validate.rs`.

use std::net::SocketAddr;
use std::time::Duration;

use keyval::{Error, Result};
use keyval_config::{Findings, HumanDuration};

use super::endpoint::{Endpoint, SPELLING};
use super::etcd::EtcdConfig;

const SECOND: Duration = Duration::from_secs(1);
/// etcd drops clients that ping more often than every 5 s, and other servers of gRPC than every
/// 10 s by the advice of its authors.
const LEAST_KEEPALIVE: Duration = Duration::from_secs(10);
/// The longest lease that etcd grants, in seconds.
const LONGEST_TTL: u64 = 9_000_000_000;

impl EtcdConfig {
    /// Refuses values that make no sense, and keys that do not go together.
    ///
    /// Connecting checks this first; whether the files are of use is found out then, too. A configuration
    /// that is loaded by [`load_valid`](keyval_config::ConfigDir::load_valid) was checked so, its files
    /// included, with the lines at fault.
    ///
    /// # Examples
    /// ```
    /// use keyval_etcd::EtcdConfig;
    ///
    /// let mut config = EtcdConfig::default();
    /// config.cert_file = Some("agent.pem".into());
    /// assert_eq!(
    ///     config.check().unwrap_err().to_string(),
    ///     "invalid request: in the etcd configuration, cert-file is set without key-file: write \
    ///      both, or none",
    /// );
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`] with the key and what to write instead.
    pub fn check(&self) -> Result<()> {
        let mut findings = Findings::default();
        self.check_all(&mut findings);
        match findings.iter().next() {
            None => Ok(()),
            Some((key, message)) => Err(Error::invalid(format!(
                "in the etcd configuration, {key} {message}"
            ))),
        }
    }

    /// Tells everything that [`check`](Self::check) refuses.
    pub(crate) fn check_all(&self, findings: &mut Findings) {
        self.check_endpoints(findings);
        self.check_times(findings);
        self.check_limits(findings);
        self.check_login(findings);
        self.check_discovery(findings);
        match (&self.cert_file, &self.key_file) {
            (Some(_), None) => without(findings, "cert-file", "key-file"),
            (None, Some(_)) => without(findings, "key-file", "cert-file"),
            _ => {}
        }
        if self.expand_env_variables {
            let message = "is true, and nothing in a value is ever expanded: remove it, and let the \
                           environment set whole values, as STORE__ETCD__ENDPOINTS=host:2379 does in the \
                           section etcd of the plugin store";
            findings.refuse("expand-env-variables", message);
        }
    }

    fn check_endpoints(&self, findings: &mut Findings) {
        let mut are_endpoints = !self.endpoints.is_empty();
        for (at, endpoint) in self.endpoints.iter().enumerate() {
            if let Err(why) = Endpoint::parse(endpoint) {
                let message = format!("is of no use: {why}; {SPELLING}");
                findings.refuse_hidden(&format!("endpoints[{at}]"), message);
                are_endpoints = false;
            }
        }
        // Without any, it depends on the environment what they are.
        if are_endpoints {
            self.check_transport(&self.endpoints, findings);
        }
    }

    fn check_times(&self, findings: &mut Findings) {
        let least = Duration::from_millis(1);
        let unit = "a bare number may count nanoseconds, so write a unit, as in 30s";
        for (key, time, least, remedy) in [
            ("dial-timeout", self.dial_timeout, least, unit),
            ("operation-timeout", self.operation_timeout, least, unit),
            ("keepalive-timeout", self.keepalive_timeout, least, unit),
            ("reconnect-interval", self.reconnect_interval, least, unit),
            ("session-ttl", self.session_ttl, SECOND, unit),
            (
                "keepalive-time",
                self.keepalive_time,
                LEAST_KEEPALIVE,
                "etcd drops clients that ask more often; a bare number counts nanoseconds",
            ),
        ] {
            if time < least {
                let (time, least) = (HumanDuration(time), HumanDuration(least));
                let message = format!("is {time}, and must be at least {least}: {remedy}");
                findings.refuse(key, message);
            }
        }
        for (key, time) in [
            ("auto-compact", self.auto_compact),
            ("endpoint-sync", self.endpoint_sync),
        ] {
            if !time.is_zero() && time < SECOND {
                let time = HumanDuration(time);
                let message =
                    format!("is {time}, and must be at least 1s, or 0s for never: {unit}");
                findings.refuse(key, message);
            }
        }
        if self.session_ttl.as_secs() > LONGEST_TTL {
            let message =
                format!("is more than {LONGEST_TTL}s, the most that etcd grants: write less");
            findings.refuse("session-ttl", message);
        }
    }

    fn check_limits(&self, findings: &mut Findings) {
        for (key, zero) in [
            ("max-txn-ops", self.max_txn_ops == 0),
            ("max-request-bytes", self.max_request_bytes == 0),
        ] {
            if zero {
                findings.refuse(key, "is 0: give it a size or leave it out");
            }
        }
    }

    fn check_discovery(&self, findings: &mut Findings) {
        if self.discovery_srv.is_none() {
            let alone = "is set without discovery-srv: write the domain, too, or leave both out";
            for (key, value) in [
                ("discovery-srv-name", &self.discovery_srv_name),
                ("discovery-srv-server", &self.discovery_srv_server),
            ] {
                if value.is_some() {
                    findings.refuse(key, alone);
                }
            }
        }
        if let Some(server) = &self.discovery_srv_server
            && server.parse::<SocketAddr>().is_err()
        {
            let message = "is not an IP address with a port: write it as 10.0.0.53:53";
            findings.refuse("discovery-srv-server", message);
        }
        match &self.discovery_srv {
            Some(_) if !self.endpoints.is_empty() => {
                let message = "is set, and so are endpoints: keep one of them";
                findings.refuse("discovery-srv", message);
            }
            Some(_) if cfg!(not(feature = "srv")) => findings.refuse(
                "discovery-srv",
                "takes a program that is built with the feature srv of keyval-etcd: build it so, or \
                 write endpoints",
            ),
            _ => {}
        }
    }

    fn check_login(&self, findings: &mut Findings) {
        let password = !self.password.is_empty();
        let password_file = self.password_file.is_some();
        if password && password_file {
            let message = "is set, and so is password: keep one of them";
            findings.refuse("password-file", message);
        }
        match (self.username.is_empty(), password, password_file) {
            (true, true, _) => without(findings, "password", "username"),
            (true, _, true) => without(findings, "password-file", "username"),
            (false, false, false) => findings.refuse(
                "username",
                "is set without a password: write password or password-file, or leave out the \
                 username where a certificate says who we are",
            ),
            _ => {}
        }
    }
}

fn without(findings: &mut Findings, key: &str, other: &str) {
    findings.refuse(key, format!("is set without {other}: write both, or none"));
}

#[cfg(test)]
mod tests {
    use super::super::etcd::EtcdConfig;
    use keyval_config::parse;

    #[test]
    fn what_makes_no_sense_is_refused_by_its_key() {
        for (text, key) in [
            ("endpoints: [\"http://\"]", "endpoints[0]"),
            ("endpoints: [a:1, b:99999]", "endpoints[1]"),
            (
                "endpoints: [a:1, \"https://b:1\", \"http://c:1\"]",
                "endpoints[2]",
            ),
            (
                "{endpoints: [\"https://a:1\"], insecure-transport: true}",
                "endpoints[0]",
            ),
            ("{endpoints: [a:1], username: a, password: b}", "username"),
            ("dial-timeout: 0s", "dial-timeout"),
            ("dial-timeout: 5", "dial-timeout"),
            ("operation-timeout: 0s", "operation-timeout"),
            ("keepalive-timeout: 0s", "keepalive-timeout"),
            ("keepalive-time: 9s", "keepalive-time"),
            ("reconnect-interval: 2", "reconnect-interval"),
            ("session-ttl: 0", "session-ttl"),
            ("session-ttl: 9000000001s", "session-ttl"),
            ("auto-compact: 300", "auto-compact"),
            ("endpoint-sync: 10ms", "endpoint-sync"),
            ("max-txn-ops: 0", "max-txn-ops"),
            ("max-request-bytes: 0", "max-request-bytes"),
            ("discovery-srv-name: a", "discovery-srv"),
            ("discovery-srv-server: 127.0.0.1:53", "discovery-srv"),
            (
                "{discovery-srv: a, discovery-srv-server: localhost}",
                "discovery-srv-server",
            ),
            ("{discovery-srv: a, endpoints: [a:1]}", "endpoints"),
            ("cert-file: /a.pem", "key-file"),
            ("key-file: /a.pem", "cert-file"),
            ("username: a", "password"),
            ("password: a", "username"),
            ("password-file: /a", "username"),
            (
                "{username: a, password: b, password-file: /a}",
                "password-file",
            ),
        ] {
            let config: EtcdConfig = parse("etcd.yaml", text).unwrap();
            let told = config.check().unwrap_err().to_string();
            assert!(told.contains(key), "{text}: {told}");
        }
    }

    #[test]
    fn what_goes_together_is_accepted() {
        for text in [
            "",
            "auto-compact: 0\nendpoint-sync: 0",
            "cert-file: /a.pem\nkey-file: /b.pem",
            "username: a\npassword-file: /a",
            "username: a\npassword: b",
            "keepalive-time: 10s\nsession-ttl: 1",
            "discovery-srv:\ndiscovery-srv-name: \"\"",
        ] {
            let config: EtcdConfig = parse("etcd.yaml", text).unwrap();
            config.check().unwrap();
        }
    }

    #[cfg(not(feature = "srv"))]
    #[test]
    fn discovery_takes_the_feature_for_it() {
        let config: EtcdConfig = parse("etcd.yaml", "discovery-srv: example.org").unwrap();
        let told = config.check().unwrap_err().to_string();
        assert!(told.contains("feature srv"), "{told}");
    }
}
