//! What a program tells in metrics.

use std::future::Future;

use metrics_util::MetricKind;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};

/// What this thread has told in metrics.
///
/// Figures are kept as their sums: the recorder below forgets each at a look.
#[derive(Debug)]
pub struct Figures {
    snapshotter: Snapshotter,
    seen: Vec<Figure>,
}

/// One figure, by its name and labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// The name of the metric.
    pub name: String,
    /// Names and values of its labels.
    pub labels: Vec<(String, String)>,
    /// What it has come to.
    pub value: f64,
}

impl Figures {
    /// Runs something on one thread, and gathers what it tells.
    ///
    /// # Panics
    /// If there is no runtime to be had.
    pub fn gather<F: Future<Output = ()>>(work: impl FnOnce(Self) -> F) {
        let recorder = DebuggingRecorder::new();
        let figures = Self {
            snapshotter: recorder.snapshotter(),
            seen: Vec::new(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        metrics::with_local_recorder(&recorder, || runtime.block_on(work(figures)));
    }

    /// All there are now; counters and gauges only.
    ///
    /// # Panics
    /// At a histogram.
    pub fn all(&mut self) -> &[Figure] {
        for (key, _, _, value) in self.snapshotter.snapshot().into_vec() {
            assert_ne!(key.kind(), MetricKind::Histogram, "not summed up here");
            let added = match value {
                DebugValue::Counter(value) => value as f64,
                DebugValue::Gauge(value) => value.into_inner(),
                DebugValue::Histogram(_) => continue,
            };
            let labels = key.key().labels();
            let labels = labels.map(|label| (label.key().to_owned(), label.value().to_owned()));
            let (name, labels) = (key.key().name().to_owned(), labels.collect());
            let known = self.seen.iter_mut();
            match known
                .into_iter()
                .find(|seen| seen.name == name && seen.labels == labels)
            {
                Some(seen) => seen.value += added,
                None => self.seen.push(Figure {
                    name,
                    labels,
                    value: added,
                }),
            }
        }
        &self.seen
    }

    /// What the metric of this name has come to whose only label has this value; none if there is
    /// no such one.
    pub fn of(&mut self, name: &str, label: &str) -> Option<f64> {
        let found = self.all().iter().find(|figure| {
            figure.name == name && figure.labels.len() == 1 && figure.labels[0].1 == label
        });
        found.map(|figure| figure.value)
    }
}
