//! What the probes answer to which path.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{RawQuery, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Map, Value};

use super::checks::{self, Verdict};
use super::heartbeat::Heartbeat;
use super::log_filter::LogFilter;
#[cfg(feature = "prometheus")]
use super::metrics::MetricsHandle;
use crate::status::cn_infra::{self, Form};
use crate::status::{AgentStatus, StatusHandle};

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
#[cfg(feature = "prometheus")]
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
/// More than any log filter needs.
const MAX_FILTER_BYTES: usize = 4096;

/// What the answers are made of. None of it waits for anybody.
#[derive(Clone, Debug)]
pub(super) struct Sources {
    pub(super) status: StatusHandle,
    pub(super) heartbeat: Heartbeat,
    pub(super) stalled_after: Duration,
    pub(super) log: Option<LogFilter>,
    #[cfg(feature = "prometheus")]
    pub(super) metrics: Option<MetricsHandle>,
}

pub(super) fn router(sources: Sources) -> Router {
    let mut router = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/startupz", get(startupz))
        .route("/liveness", get(liveness))
        .route("/readiness", get(readiness));
    let mut paths =
        "/livez, /readyz, /startupz, each with ?verbose, /liveness, /readiness".to_owned();
    if sources.log.is_some() {
        router = router.route("/log", get(log).put(set_log));
        paths.push_str(", /log");
    }
    #[cfg(feature = "prometheus")]
    if sources.metrics.is_some() {
        router = router.route("/metrics", get(metrics));
        paths.push_str(", /metrics");
    }
    let unknown = format!("there is nothing here; there are {paths}\n");
    router
        .fallback(async move || answer(StatusCode::NOT_FOUND, TEXT, unknown))
        .with_state(Arc::new(sources))
}

type Shared = State<Arc<Sources>>;

async fn livez(State(sources): Shared, RawQuery(query): RawQuery) -> Response {
    let verdict = checks::live(&sources.heartbeat, sources.stalled_after);
    told(&verdict, query.as_deref())
}

async fn readyz(State(sources): Shared, RawQuery(query): RawQuery) -> Response {
    told(&checks::ready(&sources.status.current()), query.as_deref())
}

async fn startupz(State(sources): Shared, RawQuery(query): RawQuery) -> Response {
    told(
        &checks::started(&sources.status.current()),
        query.as_deref(),
    )
}

/// As cn-infra's, but a store that is out of reach is no reason to end the process.
async fn liveness(State(sources): Shared) -> Response {
    let live = checks::live(&sources.heartbeat, sources.stalled_after).passed;
    json(live, cn_infra_status(&sources.status.current()))
}

/// As cn-infra's, with the state of the whole agent, and 503 while it is not ready.
async fn readiness(State(sources): Shared) -> Response {
    let agent = sources.status.current();
    json(agent.is_ready(), cn_infra_status(&agent))
}

async fn log(State(sources): Shared) -> Response {
    match &sources.log {
        Some(filter) => answer(StatusCode::OK, TEXT, filter.get() + "\n"),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn set_log(State(sources): Shared, body: Body) -> Response {
    let Some(filter) = &sources.log else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let Ok(body) = to_bytes(body, MAX_FILTER_BYTES).await else {
        let problem = format!("a filter has at most {MAX_FILTER_BYTES} bytes\n");
        return answer(StatusCode::PAYLOAD_TOO_LARGE, TEXT, problem);
    };
    let changed = match std::str::from_utf8(&body) {
        Ok(directives) => filter.set(directives).map_err(|error| error.to_string()),
        Err(_) => Err("a filter is text in UTF-8".to_owned()),
    };
    match changed {
        Ok(()) => {
            let filter = filter.get();
            tracing::info!(filter, "the log filter was changed");
            answer(StatusCode::OK, TEXT, filter + "\n")
        }
        Err(problem) => answer(StatusCode::BAD_REQUEST, TEXT, problem + "\n"),
    }
}

#[cfg(feature = "prometheus")]
async fn metrics(State(sources): Shared) -> Response {
    match &sources.metrics {
        Some(metrics) => answer(StatusCode::OK, PROMETHEUS, metrics.render()),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// The status with cn-infra's fields.
fn cn_infra_status(agent: &AgentStatus) -> Map<String, Value> {
    let mut fields = cn_infra::agent(agent, Form::Probed);
    let mut list = Vec::new();
    let mut by_name = Map::new();
    let mut non_fatal = Vec::new();
    for plugin in &agent.plugins {
        let mut status = cn_infra::plugin(plugin, Form::Probed);
        let name = String::from(&*plugin.plugin);
        if !plugin.is_required() {
            non_fatal.push(Value::from(name.clone()));
        }
        let of_list = ["name", "state", "error"].into_iter();
        let of_list =
            of_list.filter_map(|field| Some((field.to_owned(), status.get(field)?.clone())));
        list.push(Value::from(of_list.collect::<Map<_, _>>()));
        status.remove("name");
        by_name.insert(name, status.into());
    }
    fields.insert("plugins".to_owned(), list.into());
    fields.insert("PluginStatus".to_owned(), by_name.into());
    fields.insert("NonFatalPlugins".to_owned(), non_fatal.into());
    fields
}

fn told(verdict: &Verdict, query: Option<&str>) -> Response {
    let mut options = query.unwrap_or_default().split('&');
    let verbose = options.any(|option| option.split('=').next() == Some("verbose"));
    answer(status_code(verdict.passed), TEXT, verdict.text(verbose))
}

fn json(passed: bool, fields: Map<String, Value>) -> Response {
    let text = Value::from(fields).to_string();
    answer(status_code(passed), JSON, text + "\n")
}

fn status_code(passed: bool) -> StatusCode {
    if passed {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

fn answer(code: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(kind)),
        // What was true a moment ago is nobody's answer.
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (code, headers, body.into()).into_response()
}
