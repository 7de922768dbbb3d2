//! What a recorder has gathered, by name and labels.
#![allow(unreachable_pub)]

use std::collections::BTreeMap;

use metrics_util::debugging::{DebugValue, Snapshotter};

/// Every figure since the last look, as `name{label=value,..}`; of a histogram, all its values.
pub fn figures(snapshotter: &Snapshotter) -> BTreeMap<String, Vec<f64>> {
    let metrics = snapshotter.snapshot().into_vec().into_iter();
    let figure = metrics.map(|(key, _, _, value)| {
        let labels: Vec<String> = key
            .key()
            .labels()
            .map(|label| format!("{}={}", label.key(), label.value()))
            .collect();
        let values = match value {
            DebugValue::Counter(value) => vec![value as f64],
            DebugValue::Gauge(value) => vec![value.into_inner()],
            DebugValue::Histogram(values) => values.into_iter().map(f64::from).collect(),
        };
        (
            format!("{}{{{}}}", key.key().name(), labels.join(",")),
            values,
        )
    });
    figure.collect()
}
