//! The address of an endpoint, as configurations spell it and as errors show it.

use std::fmt;
use std::net::Ipv6Addr;

use keyval::{Error, Result};

/// Whether the connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scheme {
    Http,
    Https,
}

/// Where a member serves its clients.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Endpoint {
    pub(crate) scheme: Scheme,
    /// A name or an address, an IPv6 one without its brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Endpoint {
    /// Reads `host:port`, `http://host:port` or `https://host:port`.
    ///
    /// # Errors
    /// Why it is none. The text itself may hold a password, so it is not shown.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() {
            return Err("it is empty");
        }
        let (scheme, address) = match text.split_once("://") {
            Some(("http", rest)) => (Scheme::Http, rest),
            Some(("https", rest)) => (Scheme::Https, rest),
            Some(_) => return Err("it begins with an unknown scheme"),
            None => (Scheme::Http, text),
        };
        let address = match text.contains("://") {
            true => address.strip_suffix('/').unwrap_or(address),
            false => address,
        };
        refuse_more_than_an_address(address)?;
        let Some((host, port)) = address.rsplit_once(':') else {
            return Err("it has no port");
        };
        let host = host_of(host)?;
        // A number alone, as a sign would pass for one.
        let port = port
            .parse()
            .ok()
            .filter(|_| port.bytes().all(|digit| digit.is_ascii_digit()))
            .ok_or("its port is not a number up to 65535")?;
        Ok(Self {
            scheme,
            host: host.to_owned(),
            port,
        })
    }

    /// The same endpoint, reached in this way.
    pub(crate) fn over(mut self, scheme: Scheme) -> Self {
        self.scheme = scheme;
        self
    }

    /// The endpoint as a URL.
    pub(crate) fn url(&self) -> String {
        match self.scheme {
            Scheme::Http => format!("http://{}", self.authority()),
            Scheme::Https => format!("https://{}", self.authority()),
        }
    }

    fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// Refuses what a URL may have besides, each with its own words.
fn refuse_more_than_an_address(address: &str) -> Result<(), &'static str> {
    let has = |letters: &[char]| address.contains(letters);
    match () {
        () if address.is_empty() => Err("it has no host"),
        () if has(&['@']) => Err("it has a user, who is named by username and password instead"),
        () if has(&['?', '#']) => Err("it has a query, of which etcd has no use"),
        () if has(&['/']) => Err("it has a path, of which etcd has no use"),
        () if has(&[',', ';', ' ']) => Err("it is more than one: write each as an item of its own"),
        () => Ok(()),
    }
}

/// The host, an IPv6 address without its brackets.
fn host_of(host: &str) -> Result<&str, &'static str> {
    if let Some(rest) = host.strip_prefix('[') {
        let address = rest.strip_suffix(']').unwrap_or_default();
        let parsed: Result<Ipv6Addr, _> = address.parse();
        return parsed.map_or(Err("what is in its brackets is no IPv6 address"), |_| {
            Ok(address)
        });
    }
    let letter = |c: u8| c.is_ascii_alphanumeric() || b"-._".contains(&c);
    match host {
        "" => Err("it has no host"),
        host if host.contains(':') => Err("an IPv6 address needs brackets"),
        host if !host.bytes().all(letter) => Err("its host is neither a name nor an address"),
        host => Ok(host),
    }
}

/// The host and the port; the scheme only where it is not plain.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scheme {
            Scheme::Http => f.write_str(&self.authority()),
            Scheme::Https => f.write_str(&self.url()),
        }
    }
}

/// How to write it.
pub(super) const SPELLING: &str = "write host:port, http://host:port or https://host:port";

/// Names an endpoint by its place: one that is refused may hold a password, so it is not shown.
pub(crate) fn not_an_endpoint(at: usize, why: &str) -> Error {
    Error::invalid(format!(
        "etcd endpoint number {}, of the configuration or of ETCD_ENDPOINTS, is of no use: {why}; \
         {SPELLING}",
        at + 1
    ))
}

#[cfg(test)]
mod tests {
    use super::{Endpoint, Scheme, not_an_endpoint};

    #[test]
    fn an_endpoint_is_a_host_and_a_port() {
        for (text, shown, url) in [
            ("127.0.0.1:2379", "127.0.0.1:2379", "http://127.0.0.1:2379"),
            ("http://a.b:2379/", "a.b:2379", "http://a.b:2379"),
            ("http://[::1]:2379", "[::1]:2379", "http://[::1]:2379"),
            ("https://a:1", "https://a:1", "https://a:1"),
        ] {
            let endpoint = Endpoint::parse(text).unwrap();
            assert_eq!(endpoint.to_string(), shown);
            assert_eq!(endpoint.url(), url);
        }
        let endpoint = Endpoint::parse("https://[::1]:2379").unwrap();
        assert_eq!(endpoint.scheme, Scheme::Https);
        assert_eq!((endpoint.host.as_str(), endpoint.port), ("::1", 2379));
    }

    #[test]
    fn what_is_no_endpoint_is_refused_without_being_shown() {
        for text in [
            "",
            "localhost",
            ":2379",
            "a:b",
            "a:+1",
            "a:70000",
            "::1:2379",
            "[::1:2379",
            "unix://a:1",
            "http://user:secret@a:1",
            "http://a:1/path",
            "http://a:1/?token=secret",
            "a:1?token=secret",
            "secret@a:1",
            "a b:1",
            "a:1,b:2",
            "http://",
            "[::1]",
            "[secret]:1",
            "a%:1",
        ] {
            let told = not_an_endpoint(1, Endpoint::parse(text).unwrap_err()).to_string();
            assert!(
                told.contains("number 2") && !told.contains("secret"),
                "{told}"
            );
        }
    }
}
