//! Endpoints from the SRV records of a domain.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::{Resolver, TokioResolver};
use keyval::{Error, Outcome, Result};
use tokio::time::timeout;

use crate::config::{EtcdConfig, Transport};

/// Asks the name servers for the endpoints of this domain, as URLs, in the order in which they are to
/// be tried.
///
/// # Errors
/// [`Error::Unavailable`], with the name of each record that there is not, if there is none.
///
/// # Cancel safety
/// Dropping the future asks for nothing more.
pub(crate) async fn discover(domain: &str, config: &EtcdConfig) -> Result<Vec<String>> {
    let resolver = resolver(config.discovery_srv_server.as_deref()).map_err(|why| {
        Error::unavailable(
            format!("the name servers of this system are not known: {why}"),
            Outcome::NotApplied,
        )
    })?;
    let mut failures = Vec::new();
    for &transport in config.transports() {
        let name = record_name(transport, config.discovery_srv_name.as_deref(), domain);
        match look_up(&resolver, &name, config.operation_timeout).await {
            Ok(records) => {
                let scheme = match transport {
                    Transport::Tls => "https",
                    Transport::Plain => "http",
                };
                let ordered = in_order(records, |sum| fastrand::u32(..=sum));
                return Ok(ordered.iter().map(|record| url(scheme, record)).collect());
            }
            Err(why) => failures.push(format!("{name}: {why}")),
        }
    }
    Err(Error::unavailable(
        format!("the DNS names no etcd: {}", failures.join("; ")),
        Outcome::NotApplied,
    ))
}

/// What asks this name server, or those of the system.
fn resolver(server: Option<&str>) -> Result<TokioResolver, NetError> {
    let Some(Ok(server)) = server.map(str::parse::<SocketAddr>) else {
        return TokioResolver::builder_tokio()?.build();
    };
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = server.port();
    }
    let server = NameServerConfig::new(server.ip(), true, connections);
    let servers = ResolverConfig::from_name_servers(vec![server]);
    Resolver::builder_with_config(servers, TokioRuntimeProvider::default()).build()
}

/// The name of the records, from the root, so that no search list of the system is appended.
fn record_name(transport: Transport, name: Option<&str>, domain: &str) -> String {
    let ssl = match transport {
        Transport::Tls => "-ssl",
        Transport::Plain => "",
    };
    let (dash, name) = name.map_or(("", ""), |name| ("-", name));
    let domain = domain.trim_end_matches('.');
    format!("_etcd-client{ssl}{dash}{name}._tcp.{domain}.")
}

async fn look_up(
    resolver: &TokioResolver,
    name: &str,
    within: Duration,
) -> Result<Vec<SRV>, String> {
    let found = timeout(within, resolver.srv_lookup(name)).await;
    let found = found.map_err(|_| format!("no answer within {within:?}"))?;
    let found = found.map_err(|why| why.to_string())?;
    let records = found
        .answers()
        .iter()
        .filter_map(|record| match &record.data {
            RData::SRV(record) => Some(record.clone()),
            _ => None,
        });
    // The root stands for a service that there decidedly is not.
    let records: Vec<SRV> = records.filter(|record| !record.target.is_root()).collect();
    if records.is_empty() {
        return Err("there is none".to_owned());
    }
    Ok(records)
}

fn url(scheme: &str, record: &SRV) -> String {
    let host = record.target.to_ascii();
    format!("{scheme}://{}:{}", host.trim_end_matches('.'), record.port)
}

/// Sorts records by RFC 2782: those of the lowest priority first, and of one priority each with the
/// chance that its weight gives it. `random` draws from zero up to and with its argument.
fn in_order(mut records: Vec<SRV>, mut random: impl FnMut(u32) -> u32) -> Vec<SRV> {
    // Those without weight first, so that they are drawn by a zero only.
    records.sort_by_key(|record| (record.priority, record.weight));
    let mut ordered = Vec::with_capacity(records.len());
    while let Some(first) = records.first() {
        let priority = first.priority;
        let same = records
            .iter()
            .take_while(|record| record.priority == priority);
        let sum = same.map(|record| u32::from(record.weight)).sum();
        let drawn = random(sum);
        let mut running = 0;
        let at = records.iter().position(|record| {
            running += u32::from(record.weight);
            running >= drawn
        });
        ordered.push(records.remove(at.unwrap_or_default()));
    }
    ordered
}

#[cfg(test)]
mod tests;
