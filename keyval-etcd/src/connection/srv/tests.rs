//! The records of a name server of our own become endpoints.

use std::net::{Ipv4Addr, SocketAddr};

use hickory_resolver::proto::rr::Name;
use hickory_resolver::proto::rr::rdata::SRV;
use keyval::Outcome;
use keyval_config::parse;
use tokio::net::UdpSocket;

use super::{in_order, record_name};
use crate::config::{EtcdConfig, Transport};

/// A record: whose it is, priority, weight, port and target.
type Answer = (&'static str, u16, u16, u16, &'static str);

/// Serves these records on the loopback until the test ends.
async fn name_server(answers: &'static [Answer]) -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let socket = socket.expect("the loopback has ports");
    let address = socket.local_addr().expect("it is bound");
    tokio::spawn(async move {
        let mut query = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut query).await {
            let answer = answer(&query[..length], answers);
            drop(socket.send_to(&answer, from).await);
        }
    });
    address
}

/// The answer to one question, without compression; a name that is not served does not exist.
fn answer(query: &[u8], answers: &[Answer]) -> Vec<u8> {
    // Behind the header of 12 bytes: labels, an empty one, type and class.
    let mut at = 12;
    let mut asked = String::new();
    while query[at] != 0 {
        let next = at + 1 + usize::from(query[at]);
        asked.push_str(&String::from_utf8_lossy(&query[at + 1..next]));
        asked.push('.');
        at = next;
    }
    let question = &query[12..at + 5];
    let found = answers
        .iter()
        .filter(|answer| answer.0.eq_ignore_ascii_case(&asked));
    let found: Vec<&Answer> = found.collect();
    let code = if found.is_empty() { 3 } else { 0 };
    let mut reply = query[..2].to_vec();
    reply.extend([0x84, 0x80 | code, 0, 1, 0, found.len() as u8, 0, 0, 0, 0]);
    reply.extend(question);
    for (_, priority, weight, port, target) in found {
        // The name asked for, SRV, IN, a minute.
        reply.extend([0xC0, 12, 0, 33, 0, 1, 0, 0, 0, 60]);
        let mut data = Vec::new();
        for number in [priority, weight, port] {
            data.extend(number.to_be_bytes());
        }
        for label in target.split('.').filter(|label| !label.is_empty()) {
            data.push(label.len() as u8);
            data.extend(label.as_bytes());
        }
        data.push(0);
        reply.extend((data.len() as u16).to_be_bytes());
        reply.extend(data);
    }
    reply
}

async fn discover(answers: &'static [Answer], text: &str) -> keyval::Result<Vec<String>> {
    let address = name_server(answers).await;
    let mut config: EtcdConfig = parse("etcd.yaml", text).expect("the keys are right");
    config.discovery_srv_server = Some(address.to_string());
    config.check().expect("they go together");
    let domain = config.discovery_srv.clone().expect("it is given");
    super::discover(&domain, &config).await
}

const BOTH: &[Answer] = &[
    (
        "_etcd-client-ssl._tcp.example.org.",
        20,
        0,
        2379,
        "c.example.org.",
    ),
    (
        "_etcd-client-ssl._tcp.example.org.",
        10,
        0,
        2379,
        "a.example.org.",
    ),
    (
        "_etcd-client._tcp.example.org.",
        0,
        0,
        2379,
        "b.example.org.",
    ),
    (
        "_etcd-client-ssl-eu._tcp.example.org.",
        0,
        0,
        1,
        "eu.example.org.",
    ),
];

#[tokio::test]
async fn the_records_of_a_domain_become_endpoints_by_their_priority() {
    let a_and_c = &["https://a.example.org:2379", "https://c.example.org:2379"][..];
    let b = &["http://b.example.org:2379"][..];
    for (text, expected) in [
        ("discovery-srv: example.org", a_and_c),
        ("discovery-srv: example.org.", a_and_c),
        (
            "{discovery-srv: example.org, insecure-transport: false}",
            a_and_c,
        ),
        ("{discovery-srv: example.org, insecure-transport: true}", b),
        (
            "{discovery-srv: example.org, discovery-srv-name: eu}",
            &["https://eu.example.org:1"],
        ),
    ] {
        assert_eq!(discover(BOTH, text).await.unwrap(), expected, "{text}");
    }
}

#[tokio::test]
async fn plain_text_is_used_where_only_that_is_offered_and_nothing_speaks_against_it() {
    const PLAIN: &[Answer] = &[
        ("_etcd-client-ssl._tcp.example.org.", 0, 0, 1, "."),
        (
            "_etcd-client._tcp.example.org.",
            0,
            0,
            2379,
            "b.example.org.",
        ),
    ];
    let found = discover(PLAIN, "discovery-srv: example.org").await.unwrap();
    assert_eq!(found, ["http://b.example.org:2379"]);
    for text in [
        "{discovery-srv: example.org, insecure-transport: false}",
        "{discovery-srv: example.org, ca-file: /a.pem}",
    ] {
        let error = discover(PLAIN, text).await.unwrap_err();
        assert!(error.to_string().contains("_etcd-client-ssl"), "{error}");
    }
}

#[tokio::test]
async fn a_domain_without_records_is_an_error_that_names_them_all() {
    let text = "{discovery-srv: example.com, discovery-srv-name: eu}";
    let error = discover(BOTH, text).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotApplied);
    assert!(error.is_retryable(), "{error}");
    let told = error.to_string();
    for name in [
        "_etcd-client-ssl-eu._tcp.example.com",
        "_etcd-client-eu._tcp.example.com",
    ] {
        assert!(told.contains(name), "{told}");
    }
}

#[test]
fn names_are_built_from_the_root() {
    for (transport, name, domain, expected) in [
        (Transport::Tls, None, "a.b", "_etcd-client-ssl._tcp.a.b."),
        (Transport::Plain, None, "a.b.", "_etcd-client._tcp.a.b."),
        (Transport::Plain, Some("x"), "a", "_etcd-client-x._tcp.a."),
    ] {
        assert_eq!(record_name(transport, name, domain), expected);
    }
}

#[test]
fn weights_decide_among_equals() {
    let record = |priority, weight, port| SRV::new(priority, weight, port, Name::root());
    let records = vec![
        record(1, 3, 13),
        record(0, 0, 0),
        record(1, 1, 11),
        record(1, 0, 10),
    ];
    for (drawn, expected) in [
        (u32::MAX, [0, 13, 11, 10]),
        (0, [0, 10, 11, 13]),
        (1, [0, 11, 13, 10]),
    ] {
        let ordered = in_order(records.clone(), |sum| drawn.min(sum));
        let ports: Vec<u16> = ordered.iter().map(|record| record.port).collect();
        assert_eq!(ports, expected, "{drawn}");
    }
}
