//! Takes the endpoints from the cluster's own list of its members.

use std::sync::Arc;

use etcd_client::Member;
use tokio::time::{MissedTickBehavior, interval, timeout_at};
use tracing::{info, warn};

use crate::config::{Endpoint, EtcdConfig, Scheme};
use crate::connection::access::Access;
use crate::connection::deadline::from_now;
use crate::connection::node::Node;
use crate::connection::nodes::Nodes;
use crate::connection::pool::{Pool, first_to_answer};
use crate::error;

/// Rewrites the URL that a member tells its clients to use, or leaves it out.
pub(crate) type EndpointFilter = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Reads the list of members again and again, until the store is closed.
pub(crate) async fn keep_in_step(
    pool: Arc<Pool>,
    config: EtcdConfig,
    access: Access,
    filter: EndpointFilter,
) {
    let closing = pool.closing.clone();
    let keep = async {
        let mut ticks = interval(config.endpoint_sync);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            // Boxed, as it is large and rare.
            if let Err(why) = Box::pin(step(&pool, &config, &access, &filter)).await {
                warn!(%why, "the endpoints stay as they are");
            }
        }
    };
    closing.run_until_cancelled(keep).await;
}

/// Reads the list once; says why it was of no use.
async fn step(
    pool: &Pool,
    config: &EtcdConfig,
    access: &Access,
    filter: &EndpointFilter,
) -> Result<(), String> {
    let Some(nodes) = pool.nodes() else {
        return Ok(());
    };
    let node = nodes.current();
    let until = from_now(config.operation_timeout);
    let list = node.send_by(until, || {
        let mut cluster = node.cluster.clone();
        async move { cluster.member_list().await }
    });
    let listed = timeout_at(until, list).await;
    let listed = listed.map_err(|_| "the list of members did not come in time".to_owned())?;
    let listed = listed.map_err(|failure| error::words(&failure))?;
    let endpoints = endpoints(listed.members(), access.scheme(), filter);
    if endpoints.is_empty() {
        return Err("the list of members holds no endpoint of use".to_owned());
    }
    let same = endpoints.len() == nodes.all().len()
        && endpoints
            .iter()
            .all(|endpoint| find(&nodes, endpoint).is_some());
    if same {
        return Ok(());
    }
    let mut list = Vec::new();
    for endpoint in endpoints {
        // Those that stay keep their connections.
        list.push(match find(&nodes, &endpoint) {
            Some(node) => node.clone(),
            None => Arc::new(
                Node::new(endpoint, config, access)
                    .await
                    .map_err(|error| error.to_string())?,
            ),
        });
    }
    let current = nodes.current();
    let stays = list
        .iter()
        .position(|node| Arc::ptr_eq(node, current) && node.health.is_up());
    let current = match stays {
        Some(at) => at,
        None => match first_to_answer(&list, config.dial_timeout).await {
            Ok((at, _)) => at,
            Err(failures) => {
                let told: Vec<String> = failures.iter().map(ToString::to_string).collect();
                return Err(format!("no member answers: {}", told.join("; ")));
            }
        },
    };
    let names: Vec<&str> = list.iter().map(|node| &*node.endpoint).collect();
    info!(
        endpoints = names.join(","),
        "the members of the cluster have changed"
    );
    pool.replace(Nodes::new(list, current));
    Ok(())
}

fn find<'a>(nodes: &'a Nodes, endpoint: &Endpoint) -> Option<&'a Arc<Node>> {
    let name = endpoint.to_string();
    nodes.all().iter().find(|node| *node.endpoint == *name)
}

/// Where the members serve their clients that have started and may answer them, each once.
fn endpoints(members: &[Member], scheme: Scheme, filter: &EndpointFilter) -> Vec<Endpoint> {
    let mut endpoints = Vec::new();
    for member in members {
        // One that has not started has no name yet.
        if member.name().is_empty() || member.is_learner() {
            continue;
        }
        for url in member.client_urls() {
            let Some(url) = filter(url) else { continue };
            match Endpoint::parse(&url) {
                // Nobody who answers for a member turns encryption on or off.
                Ok(endpoint) if url.contains("://") && endpoint.scheme != scheme => {
                    warn!(
                        member = member.name(),
                        "left out an endpoint: only one of it and our own use TLS"
                    );
                }
                Ok(endpoint) => {
                    let endpoint = endpoint.over(scheme);
                    if !endpoints.contains(&endpoint) {
                        endpoints.push(endpoint);
                    }
                }
                Err(why) => warn!(member = member.name(), why, "left out an endpoint"),
            }
        }
    }
    endpoints
}
