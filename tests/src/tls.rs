//! An etcd that serves its clients encrypted, beside the plain address that the tests themselves use.

use std::borrow::Borrow;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::path::Path;

use keyval_etcd::EtcdConfig;
use tempfile::TempDir;

use crate::certificates::{Authority, Certified, Valid, put};
use crate::etcd::Etcd;
use crate::port::Port;

/// A server with an encrypted address, and the files of those who talk to it.
#[derive(Debug)]
pub struct TlsEtcd {
    etcd: Etcd,
    authority: Authority,
    files: TempDir,
    port: Port,
}

/// Whether the server wants certificates of its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clients {
    /// Anybody may come.
    Anybody,
    /// They need a certificate of the same authority as the server's.
    Certified,
}

impl TlsEtcd {
    /// Starts one whose certificate is for `127.0.0.1`, with these arguments besides.
    ///
    /// # Panics
    /// As [`Etcd::start`].
    #[must_use]
    pub fn start(clients: Clients, arguments: &[&str]) -> Self {
        let authority = Authority::new("keyval test authority", Valid::Now);
        let files = tempfile::Builder::new()
            .prefix("keyval-tls-")
            .tempdir()
            .expect("the temporary folder is writable");
        let folder = files.path();
        let ca = put(folder, "ca.pem", authority.pem());
        let (cert, key) = authority
            .certify(&["127.0.0.1"], Valid::Now)
            .write(folder, "server");
        let port = Port::free();
        let address = port.address();
        let mut all = vec![
            format!("--listen-client-urls=http://{{client}},https://{address}"),
            format!("--cert-file={}", cert.display()),
            format!("--key-file={}", key.display()),
        ];
        if clients == Clients::Certified {
            all.push(format!("--trusted-ca-file={}", ca.display()));
            all.push("--client-cert-auth".to_owned());
        }
        all.extend(arguments.iter().map(|&argument| argument.to_owned()));
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let etcd = Etcd::start_with(&all);
        Self {
            etcd,
            authority,
            files,
            port,
        }
    }

    /// The authority that certified the server.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The folder with the files: `ca.pem`, `server.pem`, `server-key.pem`, and what is added.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.files.path()
    }

    /// The encrypted address, with its port alone to be put behind another host.
    #[must_use]
    pub fn tls_address(&self) -> SocketAddr {
        self.port.address()
    }

    /// The encrypted address as an endpoint.
    #[must_use]
    pub fn tls_endpoint(&self) -> String {
        format!("https://{}", self.port.address())
    }

    /// A configuration for the encrypted address that trusts the server's authority.
    #[must_use]
    pub fn tls_config(&self) -> EtcdConfig {
        EtcdConfig::default()
            .with_endpoints([self.tls_endpoint()])
            .with_ca_file(self.folder().join("ca.pem"))
    }

    /// Gives the server another certificate: it shows it from its next connection on.
    pub fn show(&self, certified: &Certified) {
        certified.write(self.folder(), "server");
    }
}

impl Deref for TlsEtcd {
    type Target = Etcd;

    fn deref(&self) -> &Etcd {
        &self.etcd
    }
}

impl DerefMut for TlsEtcd {
    fn deref_mut(&mut self) -> &mut Etcd {
        &mut self.etcd
    }
}

impl Borrow<Etcd> for TlsEtcd {
    fn borrow(&self) -> &Etcd {
        &self.etcd
    }
}
