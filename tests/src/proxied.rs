//! A cluster that clients reach only through proxies, one before each member.

use std::time::Duration;

use keyval_etcd::{EtcdConfig, EtcdStore};

use crate::cluster::Cluster;
use crate::proxy::Proxy;

/// A cluster with a proxy before each member; the members reach each other directly.
#[derive(Debug)]
pub struct Proxied {
    /// The cluster behind the proxies.
    pub cluster: Cluster,
    /// The proxies, in the order of the members.
    pub proxies: Vec<Proxy>,
}

impl Proxied {
    /// Starts a cluster of this many members, with [short elections](crate::cluster::SHORT_ELECTIONS).
    ///
    /// # Panics
    /// As [`Cluster::start`].
    #[must_use]
    pub fn start(size: usize) -> Self {
        Self::before(Cluster::start(size))
    }

    /// Puts proxies before the members of this cluster.
    ///
    /// # Panics
    /// As [`Proxy::before`].
    #[must_use]
    pub fn before(cluster: Cluster) -> Self {
        let members = 0..cluster.size();
        let proxies = members
            .map(|member| Proxy::before(cluster.address(member)))
            .collect();
        Self { cluster, proxies }
    }

    /// Where clients connect: host and port of each proxy.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        self.proxies.iter().map(Proxy::endpoint).collect()
    }

    /// A configuration that names the proxies.
    #[must_use]
    pub fn config(&self) -> EtcdConfig {
        EtcdConfig::default().with_endpoints(self.endpoints())
    }

    /// A store behind the proxies, patient as a busy machine needs it.
    ///
    /// # Panics
    /// If no member answers.
    pub async fn store(&self) -> EtcdStore {
        let config = self
            .config()
            .with_dial_timeout(Duration::from_secs(10))
            .with_operation_timeout(Duration::from_secs(20));
        EtcdStore::connect(&config)
            .await
            .expect("the members have just answered")
    }
}
