//! etcd as one of the backends that a plugin host can be told to use.

use keyval::{Connector, Hosting, Result};
use keyval_config::Environment;

use crate::config::{Endpoint, EtcdConfig};
use crate::store::EtcdStore;

/// Connects to an etcd, as [`EtcdStore::connect`] does.
///
/// A host that has to filter the endpoints that members name, beside `endpoint-sync`, has a connector of
/// its own, whose `connect` calls [`EtcdStore::connect_filtered`].
///
/// # Examples
/// ```no_run
/// use keyval::{BrokerExt, Connector};
/// use keyval_etcd::{EtcdConfig, EtcdConnector};
///
/// # async fn run() -> keyval::Result<()> {
/// let store = EtcdConnector::connect(&EtcdConfig::default()).await?;
/// store.put("ready", "yes").await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct EtcdConnector;

impl Connector for EtcdConnector {
    type Config = EtcdConfig;
    type Store = EtcdStore;
    const BACKEND: &'static str = "etcd";

    async fn connect(config: &EtcdConfig) -> Result<EtcdStore> {
        EtcdStore::connect(config).await
    }

    fn target(config: &EtcdConfig) -> Option<String> {
        if let Some(domain) = &config.discovery_srv {
            return Some(format!("the SRV records of {domain}"));
        }
        let endpoints = config.resolve_endpoints(&Environment::process()).ok()?;
        let shown = endpoints
            .iter()
            .map(|endpoint| match Endpoint::parse(endpoint) {
                Ok(endpoint) => endpoint.to_string(),
                // What it says may hold a password.
                Err(why) => format!("({why})"),
            });
        Some(shown.collect::<Vec<_>>().join(","))
    }

    fn hosting(config: &EtcdConfig) -> Hosting {
        let mut hosting = Hosting::default();
        hosting.allow_delayed_start = config.allow_delayed_start;
        hosting.reconnect_interval = config.reconnect_interval;
        hosting.resync_after_reconnect = config.resync_after_reconnect;
        hosting.auto_compact = config.auto_compact;
        hosting.session_ttl = config.session_ttl;
        hosting
    }
}

#[cfg(test)]
mod tests {
    use keyval::Connector;

    use super::EtcdConnector;
    use crate::config::EtcdConfig;

    #[test]
    fn the_target_names_the_endpoints_but_not_what_may_be_a_password() {
        let endpoints = ["https://a:2379", "b:2379", "http://root:hunter2@c:2379"];
        let config = EtcdConfig::default().with_endpoints(endpoints);
        let target = EtcdConnector::target(&config).unwrap();
        assert!(target.starts_with("https://a:2379,b:2379,("), "{target}");
        assert!(!target.contains("hunter2"), "{target}");
    }
}
