//! Clients of the probes that are slow, many or mad hold nobody up but themselves.

#![cfg(feature = "probe")]
#![allow(clippy::unwrap_used)]

mod http;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http::{get, request};
use plugin_runtime::{
    AgentStatus, BoxError, ConfigDir, Host, LogFilter, ProbePlugin, ProbeSettings,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// An agent with nothing but probes.
async fn agent(log: Option<LogFilter>) -> (SocketAddr, JoinHandle<plugin_runtime::Result<()>>) {
    let mut host = Host::new(ConfigDir::new("/no/such/folder"));
    let any_port = ProbeSettings::default().with_listen("127.0.0.1:0".parse().unwrap());
    let mut probe = ProbePlugin::new(host.status()).with_settings(any_port);
    if let Some(log) = log {
        probe = probe.with_log(log);
    }
    let probe = host.add(probe);
    let status = host.status();
    let run = tokio::spawn(host.run(std::future::pending()));
    status.wait_for(AgentStatus::is_ready).await;
    (probe.address().await, run)
}

/// Opens a connection and sends so much of a request.
async fn half(address: SocketAddr, sent: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(sent.as_bytes()).await.unwrap();
    stream
}

/// Waits until the other side has closed the connection; returns how long that took.
async fn closed(mut stream: TcpStream) -> Duration {
    let began = Instant::now();
    let mut answer = Vec::new();
    // Whether it is closed in peace or reset is all the same.
    let _ = stream.read_to_end(&mut answer).await;
    began.elapsed()
}

#[tokio::test]
async fn hundreds_of_idle_connections_keep_nobody_waiting() {
    let (address, run) = agent(None).await;
    let mut idle = Vec::new();
    for number in 0..300 {
        let sent = ["", "GET /readyz HTT", "GET /readyz HTTP/1.1\r\nHost: a"][number % 3];
        idle.push(half(address, sent).await);
        if number % 50 == 49 {
            let began = Instant::now();
            assert_eq!(get(address, "/readyz").await.code, 200);
            assert!(began.elapsed() < Duration::from_secs(2));
        }
    }
    // All but the latest are closed at once, to make room for others.
    let first = idle.swap_remove(0);
    assert!(closed(first).await < Duration::from_secs(2));
    run.abort();
}

#[tokio::test]
async fn a_client_that_never_ends_its_request_is_closed() {
    let (address, run) = agent(None).await;
    let silent = half(address, "").await;
    let slow = half(address, "GET /readyz HTTP/1.1\r\nHost: a\r\n").await;
    let body = half(
        address,
        "PUT /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n",
    )
    .await;
    let (silent, slow, body) = tokio::join!(closed(silent), closed(slow), closed(body));
    for took in [silent, slow, body] {
        assert!(took < Duration::from_secs(15), "{took:?}");
    }
    run.abort();
}

#[tokio::test]
async fn requests_that_are_too_long_or_none_are_refused() {
    let (address, run) = agent(None).await;
    let long = "x".repeat(100_000);
    for sent in [
        format!("GET /{long} HTTP/1.1\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: {long}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(1000)),
        "\0\u{1}\u{2}\r\n\r\n".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // It may be closed before all of it is sent.
        let _ = stream.write_all(sent.as_bytes()).await;
        assert!(closed(stream).await < Duration::from_secs(2), "{sent:.40}");
    }
    assert_eq!(get(address, "/readyz").await.code, 200);
    run.abort();
}

#[tokio::test]
async fn the_log_filter_is_read_and_changed_while_the_agent_runs() {
    use tracing_subscriber::layer::SubscriberExt;

    let (filter, layer) = LogFilter::new("info").unwrap();
    let subscriber = tracing_subscriber::registry().with(layer);
    let subscriber = tracing::Dispatch::new(subscriber);
    let logs_debug = || {
        tracing::dispatcher::with_default(
            &subscriber,
            || tracing::enabled!(target: "not_yet_heard_of", tracing::Level::DEBUG),
        )
    };
    let (address, run) = agent(Some(filter)).await;
    assert_eq!(get(address, "/log").await.body, "info\n");
    assert!(!logs_debug());
    let changed = request(address, "PUT", "/log", "warn,not_yet_heard_of=debug\n").await;
    assert_eq!(changed.code, 200);
    assert!(logs_debug());
    let now = get(address, "/log").await.body;
    assert_eq!(now, changed.body);
    assert!(
        now.contains("not_yet_heard_of=debug") && now.contains("warn"),
        "{now}"
    );
    run.abort();
}

#[tokio::test]
async fn a_wrong_log_filter_is_refused_and_changes_nothing() -> Result<(), BoxError> {
    let (filter, _layer) = LogFilter::new::<tracing_subscriber::Registry>("info")?;
    let (address, run) = agent(Some(filter)).await;
    let long = "a=info,".repeat(1000);
    for (wrong, code, told) in [
        ("inof", 400, "\"inof\" is no level: use off, error, warn"),
        ("keyval=loud", 400, "keyval=loud"),
        ("", 400, "no directive"),
        (&long, 413, "at most 4096 bytes"),
    ] {
        let answer = request(address, "PUT", "/log", wrong).await;
        assert_eq!(answer.code, code, "{wrong}");
        assert!(answer.body.contains(told), "{}", answer.body);
        assert_eq!(get(address, "/log").await.body, "info\n");
    }
    run.abort();
    Ok(())
}
