//! All metrics of a process, in the format of Prometheus.

use std::fmt;

use keyval::Observe;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// The metrics that are durations of operations, with buckets that suit them.
const DURATIONS: &str = "_duration_seconds";

/// The metrics of the process, which [`ProbePlugin`](crate::ProbePlugin) shows at `/metrics`.
#[derive(Clone)]
pub struct MetricsHandle(PrometheusHandle);

/// Why metrics cannot be gathered.
#[derive(Debug, thiserror::Error)]
#[error("cannot gather metrics: {0}; a process has one recorder, installed once and first of all")]
#[non_exhaustive]
pub struct MetricsError(#[source] BuildError);

impl MetricsHandle {
    /// Begins to gather the metrics of the process. Call it first of all: stores look up their
    /// metrics at their first operation.
    ///
    /// # Errors
    /// If a recorder of metrics is installed already.
    ///
    /// # Examples
    /// ```
    /// use plugin_runtime::MetricsHandle;
    ///
    /// let metrics = MetricsHandle::install()?;
    /// metrics::counter!("greetings_total").increment(1);
    /// assert!(metrics.render().contains("greetings_total 1"));
    /// # Ok::<_, plugin_runtime::MetricsError>(())
    /// ```
    pub fn install() -> Result<Self, MetricsError> {
        let durations = Matcher::Suffix(DURATIONS.to_owned());
        PrometheusBuilder::new()
            .set_buckets_for_metric(durations, &Observe::<()>::DURATION_BUCKETS)
            .and_then(PrometheusBuilder::install_recorder)
            .map(Self)
            .map_err(MetricsError)
    }

    /// What a scrape sees.
    #[must_use]
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Takes in what was gathered, so that it does not pile up where nobody scrapes.
    pub(super) fn tidy(&self) {
        self.0.run_upkeep();
    }
}

impl fmt::Debug for MetricsHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsHandle").finish_non_exhaustive()
    }
}
