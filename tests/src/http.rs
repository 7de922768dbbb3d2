//! A client of HTTP that asks servers on this machine.

use std::io::{Error, Result};
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use ureq::http::Response;
use ureq::{Agent, Body};

/// How long a server on this machine may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// The body of the answer to a GET.
///
/// # Errors
/// If there is no answer within 3 s, or its status is not 200.
pub fn get(address: SocketAddr, path: &str) -> Result<String> {
    let (status, body) = ask(address, path, PATIENCE)?;
    good(status, body)
}

/// The JSON that answers a POST of some other JSON.
pub(crate) fn post(address: SocketAddr, path: &str, body: &Value) -> Result<Value> {
    let request = agent(PATIENCE).post(url(address, path));
    let (status, body) = read(request.send(body.to_string()))?;
    Ok(serde_json::from_str(&good(status, body)?)?)
}

/// The status and the body of the answer to a GET, whatever the status is.
pub(crate) fn ask(address: SocketAddr, path: &str, patience: Duration) -> Result<(u16, String)> {
    read(agent(patience).get(url(address, path)).call())
}

/// A client that has a connection for each request.
fn agent(patience: Duration) -> Agent {
    let config = Agent::config_builder()
        .timeout_global(Some(patience))
        .http_status_as_error(false)
        .max_idle_connections(0)
        .proxy(None);
    config.build().new_agent()
}

fn url(address: SocketAddr, path: &str) -> String {
    format!("http://{address}{path}")
}

fn read(answer: std::result::Result<Response<Body>, ureq::Error>) -> Result<(u16, String)> {
    let mut answer = answer.map_err(ureq::Error::into_io)?;
    let body = answer.body_mut().read_to_string();
    Ok((
        answer.status().as_u16(),
        body.map_err(ureq::Error::into_io)?,
    ))
}

fn good(status: u16, body: String) -> Result<String> {
    match status {
        200 => Ok(body),
        status => Err(Error::other(format!("{status}: {body}"))),
    }
}
