//! The clusters of the fault tests are what they say.

use keyval::{Broker, BrokerExt, Consistency, GetOptions, Key};
use keyval_etcd::{EtcdConfig, EtcdStore};
use keyval_tests::cluster::Cluster;
use keyval_tests::proxied::Proxied;

/// Reads from this member alone, as soon as it has it.
async fn reads(cluster: &Cluster, member: usize, key: &str) -> String {
    let config = EtcdConfig::default().with_endpoints([cluster.address(member).to_string()]);
    let store = EtcdStore::connect(&config).await.expect("it serves");
    let options = GetOptions::default().with_consistency(Consistency::Linearizable);
    let entry = store.get_opts(&Key::from(key), options).await;
    let entry = entry.expect("it serves").expect("it was put");
    String::from_utf8_lossy(&entry.value).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn three_members_hold_one_store() {
    let mut cluster = Cluster::start(3);
    let store = cluster.store().await;
    store.put("a", "1").await.unwrap();
    for member in 0..3 {
        assert_eq!(reads(&cluster, member, "a").await, "1");
    }

    let next = cluster.follower();
    cluster.move_leader(next);
    assert_eq!(cluster.leader(), next);

    let dead = cluster.follower();
    cluster.kill(dead);
    cluster.restart(dead);
    assert_eq!(reads(&cluster, dead, "a").await, "1");

    let old = cluster.follower();
    cluster.replace(old);
    assert_eq!(reads(&cluster, old, "a").await, "1");
    cluster.kill(old);
    cluster.restart(old);

    cluster.wipe();
    let store = cluster.store().await;
    assert_eq!(store.get("a").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_member_leads_when_the_leader_stops() {
    let mut cluster = Cluster::start(3);
    let old = cluster.leader();
    cluster.pause(old);
    let new = cluster.leader();
    assert_ne!(new, old);
    cluster.resume(old);
    assert_eq!(cluster.leader(), new);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxied_cluster_is_reached_through_its_proxies_only() {
    let proxied = Proxied::start(1);
    let store = proxied.store().await;
    store.put("a", "1").await.unwrap();
    let counts = proxied.proxies[0].counts();
    assert!(counts.accepted > 0 && counts.to_server > 0, "{counts:?}");
    assert!(store.to_string().contains(&proxied.proxies[0].endpoint()));
}
