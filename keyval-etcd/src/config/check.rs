//! Which configurations of etcd make no sense, key by key; how keys go together with the endpoints
//! is the business of `transport.rs`.

use std::time::Duration;

use keyval::{Error, Result};

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
    /// Connecting checks this first; whether the keys go with the endpoints and whether the files
    /// are of use is found out then, too.
    ///
    /// # Examples
    /// ```
    /// use keyval_etcd::EtcdConfig;
    ///
    /// let mut config = EtcdConfig::default();
    /// config.cert_file = Some("agent.pem".into());
    /// assert_eq!(
    ///     config.check().unwrap_err().to_string(),
    ///     "invalid request: the etcd configuration sets cert-file without key-file: write both, \
    ///      or none",
    /// );
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`] with the key and what to write instead.
    pub fn check(&self) -> Result<()> {
        self.check_times()?;
        self.check_limits()?;
        self.check_login()?;
        self.check_discovery()?;
        match (&self.cert_file, &self.key_file) {
            (Some(_), None) => Err(without("cert-file", "key-file")),
            (None, Some(_)) => Err(without("key-file", "cert-file")),
            _ => Ok(()),
        }
    }

    fn check_times(&self) -> Result<()> {
        let least = Duration::from_millis(1);
        for (key, time, least) in [
            ("dial-timeout", self.dial_timeout, least),
            ("operation-timeout", self.operation_timeout, least),
            ("keepalive-timeout", self.keepalive_timeout, least),
            ("reconnect-interval", self.reconnect_interval, least),
            ("session-ttl", self.session_ttl, SECOND),
        ] {
            at_least(key, time, least, "write a longer time")?;
        }
        for (key, time) in [
            ("auto-compact", self.auto_compact),
            ("endpoint-sync", self.endpoint_sync),
        ] {
            if !time.is_zero() {
                at_least(key, time, SECOND, "write a longer time, or 0s for never")?;
            }
        }
        if self.session_ttl.as_secs() > LONGEST_TTL {
            return Err(refused(format_args!(
                "session-ttl to more than {LONGEST_TTL} s, the most that etcd grants: write less"
            )));
        }
        let remedy = "etcd drops clients that ask more often";
        at_least(
            "keepalive-time",
            self.keepalive_time,
            LEAST_KEEPALIVE,
            remedy,
        )
    }

    fn check_limits(&self) -> Result<()> {
        for (key, zero) in [
            ("max-txn-ops", self.max_txn_ops == 0),
            ("max-request-bytes", self.max_request_bytes == 0),
        ] {
            if zero {
                return Err(refused(format_args!(
                    "{key} to 0: give it a size or leave it out"
                )));
            }
        }
        Ok(())
    }

    fn check_discovery(&self) -> Result<()> {
        match (&self.discovery_srv, &self.discovery_srv_name) {
            (None, Some(_)) => Err(refused(format_args!(
                "discovery-srv-name without discovery-srv: write the domain, too, or leave both out"
            ))),
            (Some(_), _) if !self.endpoints.is_empty() => Err(refused(format_args!(
                "both endpoints and discovery-srv: keep one of them"
            ))),
            (Some(_), _) if cfg!(not(feature = "srv")) => Err(refused(format_args!(
                "discovery-srv, which takes a program that is built with the feature srv of \
                 keyval-etcd: build it so, or write endpoints"
            ))),
            _ => Ok(()),
        }
    }

    fn check_login(&self) -> Result<()> {
        let password = !self.password.is_empty();
        let password_file = self.password_file.is_some();
        if password && password_file {
            return Err(refused(format_args!(
                "both password and password-file: keep one of them"
            )));
        }
        match (self.username.is_empty(), password, password_file) {
            (true, true, _) => Err(without("password", "username")),
            (true, _, true) => Err(without("password-file", "username")),
            (false, false, false) => Err(refused(format_args!(
                "username without a password: write password or password-file, or leave out the \
                 username where a certificate says who we are"
            ))),
            _ => Ok(()),
        }
    }
}

fn at_least(key: &str, time: Duration, least: Duration, remedy: &str) -> Result<()> {
    if time >= least {
        return Ok(());
    }
    Err(refused(format_args!(
        "{key} to {time:?}, and it must be at least {least:?}: {remedy}; a bare number may count \
         nanoseconds, so write a unit, as in 30s"
    )))
}

fn without(key: &str, other: &str) -> Error {
    refused(format_args!("{key} without {other}: write both, or none"))
}

fn refused(what: std::fmt::Arguments<'_>) -> Error {
    Error::invalid(format!("the etcd configuration sets {what}"))
}

#[cfg(test)]
mod tests {
    use super::super::etcd::EtcdConfig;
    use keyval_config::parse;

    #[test]
    fn what_makes_no_sense_is_refused_by_its_key() {
        for (text, key) in [
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
