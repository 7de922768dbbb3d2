//! How much memory a key and a kept revision take.

use allocation_counter::measure as allocated;
use keyval::{Key, Maintenance, Memory};
use tokio::runtime::Builder;

use crate::baseline::{Bare, filled, key, put, value};
use crate::report::{Report, Row};

pub(crate) fn measure(report: &mut Report) {
    let runtime = Builder::new_current_thread().build().expect("a runtime");
    let size: usize = 100_000;
    let keys: Vec<Key> = (0..size).map(key).collect();
    let each = |bytes: i64| bytes as f64 / size as f64;

    let mut map = Bare::default();
    let bare = allocated(|| map = crate::baseline::bare(&keys)).bytes_current;
    let mut store = Memory::new();
    let full = allocated(|| store = runtime.block_on(filled(&keys))).bytes_current;
    report.add(
        &Row::new("memory per key (17 B) and value (64 B)", each(full), "B")
            .baseline(each(bare), full as f64 / bare as f64),
    );

    let turns = 4;
    let more = allocated(|| {
        runtime.block_on(async {
            for turn in 0..turns {
                for (i, key) in keys.iter().enumerate() {
                    put(&store, key, value(i + turn)).await;
                }
            }
        });
    });
    report.add(&Row::new(
        "memory per kept revision (value of 64 B)",
        each(more.bytes_current) / turns as f64,
        "B",
    ));

    let freed = allocated(|| {
        runtime.block_on(async {
            let present = store.status().await.expect("a status").revision;
            let present = present.expect("a revision");
            store.compact(present).await.expect("a compaction");
        });
    });
    let left = (more.bytes_current + freed.bytes_current) as f64 / full as f64;
    report.add(
        &Row::new(
            "history left after a compaction",
            left * 100.0,
            "% of the keys",
        )
        .target("<= 60 %", left <= 0.6),
    );
}
