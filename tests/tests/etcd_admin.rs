//! What the administration of an etcd promises, on servers of its own.

use std::future::Future;
use std::time::{Duration, Instant};

use bytes::Bytes;
use keyval::{BrokerExt, Error, Maintenance, Outcome, Result, Revision};
use keyval_etcd::{AlarmKind, EtcdAdmin, EtcdConfig, EtcdStore, MemberId};
use keyval_tests::cluster::Cluster;
use keyval_tests::etcd::Etcd;

/// How long anything may take that should happen soon.
const SOON: Duration = Duration::from_secs(60);

/// The only endpoint of a store.
fn endpoint(admin: &EtcdAdmin) -> String {
    let endpoints = admin.endpoints().expect("the store is open");
    assert_eq!(endpoints.len(), 1);
    endpoints.into_iter().next().expect("there is one")
}

/// Asks again for as long as the cluster says that it cannot do this yet, and has not done it.
async fn once_settled<T, F>(ask: impl Fn() -> F) -> T
where
    F: Future<Output = Result<T>>,
{
    let asked = async {
        loop {
            match ask().await {
                Ok(done) => return done,
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(SOON, asked).await.expect("it settles")
}

fn was_refused(error: &Error, why: &str) {
    assert_eq!(error.outcome(), Outcome::NotApplied, "{error}");
    assert!(error.to_string().contains(why), "{error}");
}

async fn write_much(store: &EtcdStore) -> Revision {
    let value = Bytes::from(vec![7; 100_000]);
    for _ in 0..20 {
        store.put("much", value.clone()).await.expect("it serves");
    }
    store.put("much", "little").await.expect("it serves")
}

#[tokio::test]
async fn compaction_and_defragmentation_give_space_back() {
    let server = Etcd::start();
    let store = server.store().await;
    let admin = store.admin();
    let endpoint = endpoint(&admin);
    let last = write_much(&store).await;
    assert_eq!(admin.revision().await.unwrap(), last);
    let before = admin.hash_of_keys(&endpoint, None, SOON).await.unwrap();
    assert_eq!((before.revision, before.compacted), (last, None));

    admin.compact_physically(last, SOON).await.unwrap();
    let full = size_of(&admin).await;
    admin.defragment(&endpoint, SOON).await.unwrap();
    let lean = size_of(&admin).await;
    assert!(lean + 1_000_000 < full, "{lean} of {full} bytes are left");
    assert_eq!(store.get("much").await.unwrap().unwrap().value, "little");

    let after = admin.hash_of_keys(&endpoint, None, SOON).await.unwrap();
    assert_eq!((after.revision, after.compacted), (last, Some(last)));
    assert_ne!(after.hash, before.hash, "its history has gone");
    for (revision, kind) in [
        (Revision::new(2), "compacted"),
        (last.next(), "future_revision"),
    ] {
        let hash = admin.hash_of_keys(&endpoint, Some(revision), SOON).await;
        assert_eq!(hash.unwrap_err().kind(), kind);
    }
    for revision in [last, Revision::ZERO] {
        let again = admin.compact_physically(revision, SOON).await;
        assert_eq!(again.unwrap_err().kind(), "compacted");
    }
}

async fn size_of(admin: &EtcdAdmin) -> u64 {
    let mut statuses = admin.status().await.expect("the store is open");
    let status = statuses.remove(0).status.expect("it serves");
    assert!(status.in_use <= status.size, "{status}");
    status.size
}

#[tokio::test]
async fn what_is_no_endpoint_of_the_store_is_refused_without_being_shown() {
    let server = Etcd::start();
    let admin = server.store().await.admin();
    let wrong = "http://root:secret@127.0.0.1:1";
    let path = std::env::temp_dir().join("never");
    for error in [
        admin.defragment(wrong, SOON).await.unwrap_err(),
        admin.hash_of_keys(wrong, None, SOON).await.unwrap_err(),
        admin.snapshot(wrong, &path, SOON).await.unwrap_err(),
    ] {
        was_refused(&error, &server.endpoint());
        assert_eq!(error.kind(), "invalid");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

#[tokio::test]
async fn a_deadline_of_its_own_bounds_each_long_call() {
    let mut server = Etcd::start();
    let admin = server.store().await.admin();
    let endpoint = endpoint(&admin);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("etcd.db");
    server.pause();
    // Far below the operation timeout.
    let short = Duration::from_millis(50);
    let begun = Instant::now();
    for error in [
        admin.snapshot(&endpoint, &path, short).await.unwrap_err(),
        admin
            .hash_of_keys(&endpoint, None, short)
            .await
            .unwrap_err(),
        admin.defragment(&endpoint, short).await.unwrap_err(),
        admin
            .compact_physically(Revision::new(1), short)
            .await
            .unwrap_err(),
    ] {
        // It is told of what was sent; a write is not, to one who has just fallen silent.
        let sent = matches!(error, Error::Timeout { after, .. } if after == short);
        assert!(sent || error.kind() == "unavailable", "{error}");
    }
    assert!(begun.elapsed() < Duration::from_secs(10));
    let forever = admin.compact_physically(Revision::new(1), Duration::MAX);
    server.resume();
    forever.await.unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn an_alarm_is_listed_until_it_is_disarmed() {
    let server = Etcd::start_with(&["--quota-backend-bytes=4194304"]);
    let store = server.store().await;
    let admin = store.admin();
    assert_eq!(admin.alarms().await.unwrap(), []);
    let value = Bytes::from(vec![0; 512 * 1024]);
    let error = loop {
        if let Err(error) = store.put("full", value.clone()).await {
            break error;
        }
    };
    assert_eq!(error.kind(), "storage_full", "{error}");
    let alarms = admin.alarms().await.unwrap();
    assert_eq!(alarms.len(), 1);
    let member = admin.members().await.unwrap()[0].id;
    assert_eq!(
        (alarms[0].member, alarms[0].kind),
        (member, AlarmKind::NoSpace)
    );
    let problems = admin
        .status()
        .await
        .unwrap()
        .remove(0)
        .status
        .unwrap()
        .problems;
    assert!(problems[0].contains("NOSPACE"), "{problems:?}");

    let last = admin.revision().await.unwrap();
    admin.compact_physically(last, SOON).await.unwrap();
    admin.defragment(&endpoint(&admin), SOON).await.unwrap();
    admin.disarm(alarms[0]).await.unwrap();
    assert_eq!(admin.alarms().await.unwrap(), []);
    admin.disarm(alarms[0]).await.unwrap();
    store.put("full", "no more").await.unwrap();
}

#[tokio::test]
async fn members_are_added_changed_and_removed() {
    let server = Etcd::start();
    let admin = server.store().await.admin();
    let first = admin.members().await.unwrap().remove(0);
    assert!(!first.name.is_empty() && !first.learner, "{first:?}");
    assert_eq!(first.client_urls, [format!("http://{}", server.endpoint())]);

    let url = "http://127.0.0.1:9";
    let urls = [url];
    let learner = once_settled(|| admin.add_learner(&urls)).await;
    assert!(learner.name.is_empty() && learner.learner, "{learner:?}");
    assert_eq!(learner.peer_urls, urls);
    assert!(admin.members().await.unwrap().contains(&learner));
    was_refused(&admin.add_learner(&urls).await.unwrap_err(), "127.0.0.1");

    let other = "http://127.0.0.1:10";
    admin.update_member(learner.id, &[other]).await.unwrap();
    let members = admin.members().await.unwrap();
    let changed = members.iter().find(|member| member.id == learner.id);
    assert_eq!(changed.unwrap().peer_urls, [other]);

    // It does not run, and the first is no learner.
    let early = admin.promote_member(learner.id).await.unwrap_err();
    was_refused(&early, "in sync with leader");
    assert!(early.is_retryable(), "{early}");
    let voter = admin.promote_member(first.id).await.unwrap_err();
    was_refused(&voter, "can only promote a learner");

    admin.remove_member(learner.id).await.unwrap();
    let last = admin.remove_member(first.id).await.unwrap_err();
    was_refused(&last, "not enough started members");
    assert_eq!(admin.members().await.unwrap(), [first]);
    let unknown = MemberId::new(0xbad);
    for error in [
        admin.remove_member(learner.id).await.unwrap_err(),
        admin.remove_member(unknown).await.unwrap_err(),
        admin.promote_member(unknown).await.unwrap_err(),
        admin.update_member(unknown, &urls).await.unwrap_err(),
    ] {
        was_refused(&error, "member");
        assert!(error.to_string().contains(&server.endpoint()), "{error}");
    }
    for error in [
        admin.add_member(&[""; 0]).await.unwrap_err(),
        admin.add_member(&["10.0.0.7:2380"]).await.unwrap_err(),
    ] {
        was_refused(&error, "URL");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_grows_by_a_learner_that_takes_over() {
    let mut cluster = Cluster::start(1);
    let admin = cluster.store().await.admin();
    let old = admin.members().await.unwrap().remove(0);
    let (number, url) = cluster.make_room();
    let urls = [url];
    let new = once_settled(|| admin.add_learner(&urls)).await;
    cluster.start_learner(number);
    let both = cluster.store().await.admin();
    let learns = once_settled(|| async { both.status().await?.remove(number).status }).await;
    assert!(learns.learner && !learns.is_leader(), "{learns}");
    once_settled(|| admin.promote_member(new.id)).await;

    // Whichever endpoint is that of the leader, it is found.
    for leader in [new.id, old.id, new.id] {
        once_settled(|| both.move_leader(leader)).await;
        for endpoint in both.status().await.unwrap() {
            assert_eq!(endpoint.status.unwrap().leader, Some(leader));
        }
    }
    let unknown = both.move_leader(MemberId::new(0xbad)).await.unwrap_err();
    was_refused(&unknown, "bad");
    once_settled(|| both.remove_member(old.id)).await;
    let left = once_settled(|| both.members()).await;
    assert_eq!(left.len(), 1, "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_in_step_with_the_members_leaves_one_that_goes_without_an_error() {
    let mut cluster = Cluster::start(1);
    let admin = cluster.store().await.admin();
    let old = admin.members().await.unwrap().remove(0);
    let mut config = cluster.config();
    config.endpoint_sync = Duration::from_secs(1);
    let store = EtcdStore::connect(&config).await.unwrap();
    let (number, url) = cluster.make_room();
    let urls = [url];
    let new = once_settled(|| admin.add_learner(&urls)).await;
    cluster.start_learner(number);
    once_settled(|| admin.promote_member(new.id)).await;
    let at = |member| cluster.address(member).to_string();
    let (old_at, new_at) = (at(0), at(number));
    until_in_step(&store, &[&old_at, &new_at]).await;

    let reader = store.clone();
    let reading = tokio::spawn(async move {
        loop {
            if let Err(error) = reader.get("key").await {
                return error;
            }
        }
    });
    let both = cluster.store().await.admin();
    once_settled(|| both.move_leader(new.id)).await;
    once_settled(|| both.remove_member(old.id)).await;
    until_in_step(&store, &[&new_at]).await;
    cluster.kill(0);
    store.put("key", "at the new one").await.unwrap();
    let failed = reading.is_finished().then_some(reading);
    assert!(failed.is_none(), "{:?}", failed.unwrap().await);
}

/// Waits until these are the endpoints that the store uses.
async fn until_in_step(store: &EtcdStore, addresses: &[&str]) {
    let admin = store.admin();
    let in_step = async {
        loop {
            let endpoints = admin.endpoints().expect("the store is open");
            let all = addresses.iter().all(|address| {
                let found = |endpoint: &String| endpoint.ends_with(address);
                endpoints.iter().any(found)
            });
            if all && endpoints.len() == addresses.len() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let in_time = tokio::time::timeout(SOON, in_step).await;
    assert!(
        in_time.is_ok(),
        "{:?} are not {addresses:?}",
        admin.endpoints()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_tells_of_every_endpoint_also_of_one_that_is_gone() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    let dead = cluster.follower();
    let store = cluster.store().await;
    let put = store.put("a", "1").await.unwrap();
    cluster.kill(dead);
    let statuses = store.admin().status().await.unwrap();
    assert_eq!(statuses.len(), 3);
    for (at, endpoint) in statuses.into_iter().enumerate() {
        assert_eq!(endpoint.endpoint, cluster.address(at).to_string());
        let told = endpoint.to_string();
        match endpoint.status {
            Ok(status) => {
                assert_ne!(at, dead);
                assert_eq!(status.is_leader(), at == leader, "{told}");
                assert!(status.revision <= put && status.raft_term > 0, "{told}");
                assert!(status.raft_applied > 0 && status.size > 0, "{told}");
            }
            Err(error) => {
                assert_eq!(at, dead);
                assert_eq!(error.kind(), "unavailable", "{error}");
                assert!(told.contains(&endpoint.endpoint), "{told}");
            }
        }
    }

    cluster.kill(leader);
    let alone = 3 - leader - dead;
    let to = MemberId::new(1);
    let refused = once_alone(&store, alone, to).await;
    assert_eq!(refused.outcome(), Outcome::NotApplied, "{refused}");
    assert!(refused.to_string().contains("no endpoint"), "{refused}");
}

/// Moves the leader until the member that is left knows that there is none.
async fn once_alone(store: &EtcdStore, alone: usize, to: MemberId) -> Error {
    let admin = store.admin();
    let asked = async {
        loop {
            let statuses = admin.status().await.expect("the store is open");
            match &statuses[alone].status {
                Ok(status) if status.leader.is_none() => {
                    assert!(!status.problems.is_empty(), "{status}");
                    return admin.move_leader(to).await.expect_err("there is no leader");
                }
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    tokio::time::timeout(SOON, asked).await.expect("it notices")
}

#[tokio::test]
async fn an_etcd_behind_a_given_client_is_administered_too() {
    let server = Etcd::start();
    let given = etcd_client::Client::connect([server.endpoint()], None).await;
    let config = EtcdConfig::default();
    let store = EtcdStore::from_client(&given.unwrap(), &config).await;
    let admin = store.unwrap().admin();
    let endpoint = endpoint(&admin);
    let status = admin.status().await.unwrap().remove(0).status.unwrap();
    assert_eq!(admin.members().await.unwrap()[0].id, status.member);
    admin.move_leader(status.member).await.unwrap();
    admin.defragment(&endpoint, SOON).await.unwrap();
}

#[tokio::test]
async fn a_closed_store_administers_nothing() {
    let server = Etcd::start();
    let store = server.store().await;
    let admin = store.admin();
    store.close().await.unwrap();
    for kind in [
        admin.endpoints().unwrap_err().kind(),
        admin.status().await.unwrap_err().kind(),
        admin.members().await.unwrap_err().kind(),
    ] {
        assert_eq!(kind, "closed");
    }
}
