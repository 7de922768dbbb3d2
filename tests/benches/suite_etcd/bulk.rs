//! Many keys at once: the bulk writer beside the bare client's puts and transactions.

use std::time::Instant;

use etcd_client::{KvClient, Txn, TxnOp};
use futures::stream::{self, StreamExt};
use keyval::{Bytes, bulk_put};
use keyval_etcd::EtcdStore;
use keyval_tests::etcd::Etcd;

use crate::report::{Report, Row};
use crate::rounds::{Scale, in_turn};
use crate::sides::{VALUE, raw, runtime};

/// Puts of one transaction, as etcd allows.
const PUTS: usize = 128;
/// Transactions at a time, as the bulk writer has them.
const AT_A_TIME: usize = 4;
/// Single puts at a time.
const SINGLE: usize = 64;

pub(crate) fn measure(server: &mut Etcd, scale: &Scale, report: &mut Report) {
    let runtime = runtime();
    let store = runtime.block_on(server.store());
    let raw = runtime.block_on(raw(server));
    let keys = scale.bulk;
    let rate = |count: usize, began: Instant| [count as f64 / began.elapsed().as_secs_f64()];
    let ours = || {
        let began = Instant::now();
        // In a task, as the other side is.
        let write = runtime.spawn(ours(store.clone(), keys));
        runtime.block_on(write).expect("a task that works");
        rate(keys, began)
    };
    let cost = in_turn(scale.rounds, ours, || {
        let began = Instant::now();
        let write = runtime.spawn(txns(raw.clone(), keys));
        runtime.block_on(write).expect("a task that works");
        rate(keys, began)
    });
    report.add(
        &Row::new(
            "bulk write, beside transactions of 128",
            cost.ours[0],
            "key/s",
        )
        .baseline(cost.theirs[0], cost.ratio[0]),
    );
    let cost = in_turn(scale.rounds, ours, || {
        let began = Instant::now();
        let write = runtime.spawn(singles(raw.clone(), keys / 10));
        runtime.block_on(write).expect("a task that works");
        rate(keys / 10, began)
    });
    report.add(
        &Row::new(
            "bulk write, beside single puts of 64 tasks",
            cost.ours[0],
            "key/s",
        )
        .baseline(cost.theirs[0], cost.ratio[0]),
    );
}

async fn ours(store: EtcdStore, keys: usize) {
    let value = Bytes::from(vec![b'.'; VALUE]);
    let puts = (0..keys).map(|n| (format!("bulk/stack/{n:08}"), value.clone()));
    bulk_put(&store, puts).await.expect("the server takes it");
}

async fn txns(raw: KvClient, keys: usize) {
    let value = vec![b'.'; VALUE];
    let txns = (0..keys.div_ceil(PUTS)).map(|txn| {
        let puts = (txn * PUTS..keys.min((txn + 1) * PUTS))
            .map(|n| TxnOp::put(format!("bulk/plain/{n:08}"), value.clone(), None));
        let txn = Txn::new().and_then(puts.collect::<Vec<_>>());
        let mut raw = raw.clone();
        async move { drop(raw.txn(txn).await.expect("a transaction")) }
    });
    stream::iter(txns)
        .buffer_unordered(AT_A_TIME)
        .collect::<()>()
        .await;
}

async fn singles(raw: KvClient, keys: usize) {
    let tasks = (0..SINGLE).map(|task| {
        let mut raw = raw.clone();
        tokio::spawn(async move {
            let value = vec![b'.'; VALUE];
            for n in (task..keys).step_by(SINGLE) {
                let key = format!("bulk/single/{n:08}");
                raw.put(key, value.clone(), None).await.expect("a put");
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("a task that works");
    }
}
