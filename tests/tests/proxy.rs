//! The proxy of the fault tests does the harm that it is told to do, and no other.

use std::future::Future;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use keyval_tests::proxy::{Admit, Flow, Proxy, Way};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How long anything may take that should happen at once.
const SOON: Duration = Duration::from_secs(20);
/// How long nothing must happen where something would happen at once.
const NEVER: Duration = Duration::from_millis(100);

/// Starts a server that sends back what it receives.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("the loopback has ports");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                drop(tokio::io::copy(&mut from, &mut to).await);
            });
        }
    });
    address
}

async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, work).await.expect("it is soon")
}

async fn echoed(stream: &mut TcpStream, text: &str) -> std::io::Result<()> {
    stream.write_all(text.as_bytes()).await?;
    received(stream, text).await
}

async fn received(stream: &mut TcpStream, text: &str) -> std::io::Result<()> {
    let mut back = vec![0; text.len()];
    soon(stream.read_exact(&mut back)).await?;
    assert_eq!(back, text.as_bytes());
    Ok(())
}

async fn is_silent(stream: &mut TcpStream) -> bool {
    tokio::time::timeout(NEVER, stream.read_u8()).await.is_err()
}

async fn is_reset(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    let read = soon(stream.read_to_end(&mut rest)).await;
    read.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
}

async fn connected(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.address()).await;
    let mut stream = stream.expect("the proxy lets it in");
    let greeted = echoed(&mut stream, "hello").await;
    greeted.expect("the proxy lets it pass");
    stream
}

#[tokio::test]
async fn what_passes_arrives_and_is_counted() {
    let proxy = Proxy::before(echo().await);
    let mut one = connected(&proxy).await;
    let mut other = connected(&proxy).await;
    let large = "x".repeat(1 << 20);
    let (mut from, mut to) = one.split();
    let mut back = vec![0; large.len()];
    let (sent, read) = tokio::join!(
        to.write_all(large.as_bytes()),
        soon(from.read_exact(&mut back))
    );
    sent.unwrap();
    read.unwrap();
    assert_eq!(back, large.as_bytes());
    let counts = proxy.counts();
    assert_eq!((counts.accepted, counts.open), (2, 2));
    assert_eq!(counts.to_server, (1 << 20) + 10);

    // An end passes as an end.
    one.shutdown().await.unwrap();
    assert_eq!(soon(one.read(&mut [0; 9])).await.unwrap(), 0);
    echoed(&mut other, "still here").await.unwrap();
}

#[tokio::test]
async fn a_cut_resets_the_connections_of_the_time_and_no_later_one() {
    let proxy = Proxy::before(echo().await);
    let mut old = connected(&proxy).await;
    proxy.cut();
    assert!(is_reset(&mut old).await);
    connected(&proxy).await;
}

#[tokio::test]
async fn a_refusing_port_is_closed_and_stays_ours() {
    let proxy = Proxy::before(echo().await);
    let mut old = connected(&proxy).await;
    for _ in 0..10 {
        proxy.admit(Admit::Refuse);
        let refused = TcpStream::connect(proxy.address()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        proxy.admit(Admit::Pass);
        connected(&proxy).await;
    }
    echoed(&mut old, "still here").await.unwrap();
}

#[tokio::test]
async fn a_closing_door_lets_in_and_closes_at_once() {
    let proxy = Proxy::before(echo().await);
    proxy.admit(Admit::Close);
    for _ in 0..3 {
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(soon(stream.read(&mut [0; 9])).await.unwrap(), 0);
    }
    assert_eq!(proxy.counts().accepted, 3);
    proxy.heal();
    connected(&proxy).await;
}

#[tokio::test]
async fn what_is_held_arrives_after_the_outage() {
    let proxy = Proxy::before(echo().await);
    for way in [Way::ToServer, Way::ToClient, Way::Both] {
        let mut stream = connected(&proxy).await;
        proxy.flow(way, Flow::Hold);
        stream.write_all(b"later").await.unwrap();
        assert!(is_silent(&mut stream).await, "{way:?}");
        proxy.heal();
        received(&mut stream, "later").await.unwrap();
    }
}

#[tokio::test]
async fn a_connection_that_lost_something_is_reset_when_it_heals() {
    let proxy = Proxy::before(echo().await);
    for way in [Way::ToServer, Way::ToClient] {
        let (mut hit, mut idle) = (connected(&proxy).await, connected(&proxy).await);
        proxy.flow(way, Flow::Lose);
        hit.write_all(b"lost").await.unwrap();
        assert!(is_silent(&mut hit).await, "{way:?}");
        proxy.heal();
        assert!(is_reset(&mut hit).await, "{way:?}");
        echoed(&mut idle, "nothing lost here").await.unwrap();
    }
}

#[tokio::test]
async fn an_abandoned_connection_stays_and_is_never_answered() {
    let proxy = Proxy::before(echo().await);
    let mut old = connected(&proxy).await;
    proxy.abandon();
    old.write_all(b"anybody there?").await.unwrap();
    assert!(is_silent(&mut old).await);
    connected(&proxy).await;
    proxy.heal();
    assert!(is_silent(&mut old).await);
    proxy.cut();
    assert!(is_reset(&mut old).await);
}

#[tokio::test]
async fn a_cut_amid_a_message_lets_exactly_its_bytes_arrive() {
    let proxy = Proxy::before(echo().await);
    for bytes in [1, 3] {
        let mut stream = connected(&proxy).await;
        proxy.flow(Way::ToClient, Flow::CutAfter { bytes });
        let before = proxy.counts().to_client;
        stream.write_all(b"message").await.unwrap();
        assert!(is_reset(&mut stream).await);
        assert_eq!(proxy.counts().to_client - before, bytes);
        proxy.heal();
    }
}

#[tokio::test]
async fn a_delay_keeps_the_order_and_slows_nothing_but_the_arrival() {
    let proxy = Proxy::before(echo().await);
    let mut stream = connected(&proxy).await;
    let fixed = Duration::from_millis(60);
    let random = Duration::from_millis(40);
    proxy.flow(Way::ToClient, Flow::Delay { fixed, random });
    let begun = Instant::now();
    for n in 0..10 {
        stream.write_all(format!("{n}").as_bytes()).await.unwrap();
    }
    received(&mut stream, "0123456789").await.unwrap();
    assert!(begun.elapsed() >= fixed, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_slow_link_carries_its_rate() {
    let proxy = Proxy::before(echo().await);
    let mut stream = connected(&proxy).await;
    proxy.flow(Way::ToServer, Flow::Slow { per_second: 10_000 });
    let begun = Instant::now();
    echoed(&mut stream, &"x".repeat(3_000)).await.unwrap();
    assert!(begun.elapsed() > Duration::from_millis(200));
    proxy.heal();
    echoed(&mut stream, "fast again").await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_gone_costs_its_clients_the_connection() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    let proxy = Proxy::before(address);
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    assert!(is_reset(&mut stream).await);
}

#[tokio::test]
async fn its_connections_end_with_the_proxy() {
    let proxy = Proxy::before(echo().await);
    let mut stream = connected(&proxy).await;
    drop(proxy);
    assert!(matches!(
        soon(stream.read(&mut [0; 9])).await,
        Ok(0) | Err(_)
    ));
}
