//! The main job on a real etcd: a host, a store that the YAML chooses, typed values under a scope.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use futures::StreamExt;
use keyval::{Change, Changes, KeyRange, LeaseId, Leases, PutOptions, StoreExt, Update};
use keyval_etcd::EtcdConnector;
use keyval_proto::{Decoded, Protobuf, Typed};
use keyval_tests::etcd::Etcd;
use plugin_runtime::{Backends, ConfigDir, Host, KvHandle, KvPlugin, State, StatusHandle};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

#[derive(Clone, PartialEq, prost::Message)]
struct Interface {
    #[prost(uint32, tag = "1")]
    mtu: u32,
}

fn mtu(mtu: u32) -> Interface {
    Interface { mtu }
}

/// An agent that runs, with a store of this etcd.
struct Agent {
    store: KvHandle,
    status: StatusHandle,
    shut_down: oneshot::Sender<()>,
    run: JoinHandle<plugin_runtime::Result<()>>,
    _folder: TempDir,
}

impl Agent {
    fn start(etcd: &Etcd) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let yaml = format!(
            "backend: etcd\netcd:\n  endpoints: [{:?}]\n  operation-timeout: 2s\n",
            etcd.endpoint()
        );
        std::fs::write(folder.path().join("store.yaml"), yaml).unwrap();
        let mut host = Host::new(ConfigDir::new(folder.path()));
        let backends = Backends::new().with::<EtcdConnector>();
        let store = host.add(KvPlugin::chosen("store", backends));
        let status = host.status();
        let (shut_down, told) = oneshot::channel();
        let run = tokio::spawn(host.run(async move {
            // A test that failed has dropped the other end.
            let _ = told.await;
        }));
        Self {
            store,
            status,
            shut_down,
            run,
            _folder: folder,
        }
    }

    async fn stop(self) {
        self.shut_down.send(()).unwrap();
        self.run.await.unwrap().unwrap();
    }

    async fn reaches(&self, state: State) {
        let reached = self.status.wait_for(|agent| agent.state() == state);
        if timeout(Duration::from_secs(30), reached).await.is_err() {
            panic!("not {state} after 30 s:\n{}", self.status.current());
        }
    }
}

async fn next<T>(
    updates: &mut (impl StreamExt<Item = keyval::Result<Update<T>>> + Unpin),
) -> Update<T> {
    loop {
        let update = timeout(Duration::from_secs(30), updates.next()).await;
        match update.expect("an update within 30 s").unwrap().unwrap() {
            Update::Changes(changes) if changes.is_progress() => {}
            update => return update,
        }
    }
}

async fn changes<T>(
    updates: &mut (impl StreamExt<Item = keyval::Result<Update<T>>> + Unpin),
) -> Changes<T> {
    match next(updates).await {
        Update::Changes(changes) => changes,
        Update::Resync(snapshot) => panic!("a resync at {}", snapshot.revision),
    }
}

/// The key, the value and the lease of the one put.
fn put(changes: &Changes<Decoded<Interface>>) -> (&str, &Interface, Option<LeaseId>) {
    match &changes.changes[..] {
        [Change::Put { entry, .. }] => (
            entry.key.as_str().unwrap(),
            entry.value.as_ref().unwrap(),
            entry.lease,
        ),
        other => panic!("not one put: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn typed_values_live_and_expire_in_the_etcd_that_the_yaml_chooses() {
    let etcd = Etcd::start();
    let agent = Agent::start(&etcd);
    let scope = "/vnf-agent/1/interfaces/";
    let interfaces = Typed::<Interface, _>::new(agent.store.prefixed(scope), Protobuf);
    // All of this before the connection is known to be there.
    let first = interfaces.put("eth0", &mtu(1500)).await.unwrap();
    let mut updates = interfaces.follow(KeyRange::all());
    let Update::Resync(snapshot) = next(&mut updates).await else {
        panic!("changes before a resync");
    };
    assert_eq!(snapshot.entries[0].value, Ok(mtu(1500)));
    assert_eq!(snapshot.entries[0].modified, first);

    let revision = interfaces.put("eth0", &mtu(9000)).await.unwrap();
    let seen = changes(&mut updates).await;
    assert_eq!(
        (seen.revision, put(&seen)),
        (revision, ("eth0", &mtu(9000), None))
    );

    let lease = interfaces
        .store()
        .grant(Duration::from_secs(1))
        .await
        .unwrap();
    let options = PutOptions::default().with_lease(lease.id);
    interfaces
        .put_opts("tap0", &mtu(1400), options)
        .await
        .unwrap();
    let seen = changes(&mut updates).await;
    assert_eq!(put(&seen), ("tap0", &mtu(1400), Some(lease.id)));
    let seen = changes(&mut updates).await;
    assert!(matches!(&seen.changes[..], [Change::Delete { key, .. }] if *key == "tap0"));

    agent.reaches(State::Ok).await;
    agent.stop().await;
    // It is all in etcd, under the whole key.
    let store = etcd.store().await;
    let kept = keyval::BrokerExt::keys(&store, KeyRange::all())
        .await
        .unwrap();
    let kept = kept.collect().await.unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].key, "/vnf-agent/1/interfaces/eth0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_comes_through_a_restart_of_its_etcd_and_tells_of_it() {
    let mut etcd = Etcd::start();
    let agent = Agent::start(&etcd);
    let interfaces = Typed::<Interface, _>::new(agent.store.prefixed("agents/1/"), Protobuf);
    let mut updates = interfaces.follow(KeyRange::all());
    assert!(matches!(next(&mut updates).await, Update::Resync(_)));
    agent.reaches(State::Ok).await;

    etcd.kill();
    agent.reaches(State::Error).await;
    etcd.restart();
    agent.reaches(State::Ok).await;
    let revision = interfaces.put("eth0", &mtu(1500)).await.unwrap();
    let seen = changes(&mut updates).await;
    assert_eq!(
        (seen.revision, put(&seen)),
        (revision, ("eth0", &mtu(1500), None))
    );
    agent.stop().await;
}
