//! The promises of JSON, and of the codec that is chosen by configuration.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt};
use keyval::{BrokerExt, KeyRange, Memory, Update};
use keyval_proto::{AnyCodec, Codec, Error, ProtoJson, Protobuf, Typed, UnknownFields};
use keyval_proto_messages::interface::Link;
use keyval_proto_messages::{Interface, Kind, Reading, Route, Tunnel};
use prost_types::{Duration, Timestamp};

const STRICT: ProtoJson = ProtoJson::new(UnknownFields::Refuse);
const LENIENT: ProtoJson = ProtoJson::new(UnknownFields::Ignore);

fn read(codec: ProtoJson, text: &str) -> Result<Interface, String> {
    let decoded = codec.decode(text.as_bytes().to_vec().into());
    decoded.map_err(|error| error.to_string())
}

fn written(value: &Interface) -> String {
    String::from_utf8(STRICT.encode(value).unwrap().to_vec()).unwrap()
}

/// One of everything.
fn interface() -> Interface {
    Interface {
        physical_address: "02:00:00:00:00:01".into(),
        mtu: 1500,
        enabled: true,
        kind: Kind::Ethernet.into(),
        ip_addresses: vec!["10.0.0.1/24".into(), "fd00::1/64".into()],
        received_bytes: u64::MAX,
        load: 0.25,
        vendor_data: vec![0xFB, 0xFF, 0x00].into(),
        labels: BTreeMap::from([("zone".into(), "left".into())]),
        last_change: Some(Timestamp {
            seconds: 1_700_000_000,
            nanos: 500_000_000,
        }),
        hold_time: Some(Duration {
            seconds: 1,
            nanos: 500_000_000,
        }),
        priority: Some(0),
        link: Some(Link::Tunnel(Tunnel {
            remote_address: "192.0.2.1".into(),
            through: Some(Box::default()),
        })),
    }
}

#[test]
fn every_kind_of_field_has_the_form_that_protobuf_defines() {
    let text = written(&interface());
    let expected = concat!(
        r#"{"physical_address":"02:00:00:00:00:01","mtu":1500,"enabled":true,"#,
        r#""kind":"KIND_ETHERNET","ip_addresses":["10.0.0.1/24","fd00::1/64"],"#,
        r#""received_bytes":"18446744073709551615","load":0.25,"vendor_data":"+/8A","#,
        r#""labels":{"zone":"left"},"last_change":"2023-11-14T22:13:20.500Z","#,
        r#""hold_time":"1.500s","priority":0,"#,
        r#""tunnel":{"remote_address":"192.0.2.1","through":{}}}"#,
    );
    assert_eq!(text, expected);
    assert_eq!(read(STRICT, &text).unwrap(), interface());
    assert_eq!(written(&Interface::default()), "{}");
}

#[test]
fn names_are_read_in_both_spellings_and_numbers_in_both_forms() {
    for text in [
        r#"{"physical_address":"a","received_bytes":"7","kind":"KIND_LOOPBACK"}"#,
        r#"{"physicalAddress":"a","receivedBytes":7,"kind":2}"#,
        " {\n\t\"physicalAddress\": \"a\", \"received_bytes\": 7.0, \"kind\": 2, \"mtu\": null } \n",
    ] {
        let value = read(STRICT, text).unwrap();
        assert_eq!(value.physical_address, "a");
        assert_eq!(value.received_bytes, 7);
        assert_eq!(value.kind(), Kind::Loopback);
    }
}

#[test]
fn of_a_field_that_stands_twice_the_last_counts() {
    let value = read(
        STRICT,
        r#"{"mtu":1,"receivedBytes":1,"mtu":2,"received_bytes":2}"#,
    )
    .unwrap();
    assert_eq!((value.mtu, value.received_bytes), (2, 2));
}

#[test]
fn what_json_has_no_number_or_name_for_survives() {
    for load in [f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE] {
        let value = Interface {
            load,
            kind: 77,
            ..Interface::default()
        };
        assert_eq!(read(STRICT, &written(&value)).unwrap(), value);
    }
    let value = Interface {
        load: f64::NAN,
        ..Interface::default()
    };
    assert_eq!(written(&value), r#"{"load":"NaN"}"#);
    assert!(read(STRICT, &written(&value)).unwrap().load.is_nan());
}

#[test]
fn what_json_has_no_number_for_survives_in_messages_that_wrap_a_number() {
    let infinite = Reading {
        level: Some(f64::NEG_INFINITY),
        gain: Some(f32::INFINITY),
        history: vec![0.5, f64::INFINITY],
    };
    let text = STRICT.encode(&infinite).unwrap();
    let expected = r#"{"level":"-Infinity","gain":"Infinity","history":[0.5,"Infinity"]}"#;
    assert_eq!(text, expected);
    assert_eq!(Codec::<Reading>::decode(&STRICT, text).unwrap(), infinite);

    let nan = Reading {
        level: Some(f64::NAN),
        gain: Some(f32::NAN),
        history: vec![],
    };
    let text = STRICT.encode(&nan).unwrap();
    assert_eq!(text, r#"{"level":"NaN","gain":"NaN"}"#);
    let read: Reading = STRICT.decode(text).unwrap();
    assert!(read.level.unwrap().is_nan() && read.gain.unwrap().is_nan());

    assert_eq!(STRICT.encode(&f64::NAN).unwrap(), r#""NaN""#);
    let nothing = STRICT.encode(&Reading::default()).unwrap();
    assert_eq!(nothing, "{}");
}

#[test]
fn what_the_message_does_not_know_is_refused_unless_it_is_to_be_ignored() {
    let field = r#"{"mtu":1500,"colour":{"deep":["red"]}}"#;
    let told = read(STRICT, field).unwrap_err();
    assert_eq!(
        told,
        "the message has no field \"colour\" at line 1 column 20"
    );
    assert_eq!(read(LENIENT, field).unwrap().mtu, 1500);

    let nested = r#"{"tunnel":{"remoteAddress":"a","colour":1}}"#;
    assert!(read(STRICT, nested).unwrap_err().contains("\"colour\""));
    assert!(read(LENIENT, nested).unwrap().link.is_some());

    let kind = r#"{"mtu":1500,"kind":"KIND_SECRET"}"#;
    let told = read(STRICT, kind).unwrap_err();
    assert_eq!(told, "the value does not fit its field at line 1 column 32");
    assert_eq!(read(LENIENT, kind).unwrap().kind(), Kind::Unspecified);
}

#[test]
fn a_broken_text_is_told_with_its_place_and_without_its_values() {
    let deep = r#"{"tunnel":"#.to_owned() + &r#"{"through":"#.repeat(500);
    for (text, told) in [
        ("", "no JSON: EOF while parsing a value at line 1 column 0"),
        ("secret", "no JSON: expected value at line 1 column 1"),
        (
            "{\"mtu\":1",
            "no JSON: EOF while parsing an object at line 1 column 8",
        ),
        (
            "{} secret",
            "no JSON: trailing characters at line 1 column 4",
        ),
        (
            "\"secret\"",
            "the value does not fit its field at line 1 column 8",
        ),
        (
            "null",
            "the value does not fit its field at line 1 column 4",
        ),
        (
            "{\"mtu\":\"secret\"}",
            "the value does not fit its field at line 1 column 15",
        ),
        (
            "{\"mtu\":4294967296}",
            "the value does not fit its field at line 1 column 17",
        ),
        (
            "{\"mtu\":-1}",
            "the value does not fit its field at line 1 column 9",
        ),
        (
            "{\"mtu\":1.5}",
            "the value does not fit its field at line 1 column 10",
        ),
        (
            "{\"vendorData\":\"secret!\"}",
            "the value does not fit its field at line 1 column 23",
        ),
        (
            "{\"last_change\":\"secret\"}",
            "the value does not fit its field at line 1 column 23",
        ),
        (
            "{\"labels\":{\"secret\":1}}",
            "the value does not fit its field at line 1 column 21",
        ),
        (
            "{\"peer_name\":\"secret\",\"tunnel\":{}}",
            "more than one field of the oneof \"link\" at line 1 column 34",
        ),
        (
            "{\"secret\n\":1}",
            "no JSON: control character (\\u0000-\\u001F) found while parsing a string at line 2 column 0",
        ),
    ] {
        assert_eq!(read(STRICT, text), Err(told.to_owned()), "{text}");
    }
    assert!(read(STRICT, &deep).unwrap_err().starts_with("no JSON: "));
    let invalid =
        Codec::<Interface>::decode(&STRICT, b"{\"peer_name\":\"\xFF\"}".as_slice().into());
    let told = invalid.unwrap_err().to_string();
    assert!(told.starts_with("no JSON: invalid unicode"), "{told}");
}

#[test]
fn what_has_no_form_in_json_cannot_be_written() {
    let late = Interface {
        last_change: Some(Timestamp {
            seconds: i64::MAX,
            nanos: 0,
        }),
        ..Interface::default()
    };
    let deep = (0..200).fold(Tunnel::default(), |inner, _| Tunnel {
        remote_address: String::new(),
        through: Some(Box::new(inner)),
    });
    let deep = Interface {
        link: Some(Link::Tunnel(deep)),
        ..Interface::default()
    };
    for value in [late, deep] {
        let told = STRICT.encode(&value).unwrap_err().to_string();
        assert!(!told.contains(&i64::MAX.to_string()), "{told}");
    }
}

#[test]
fn no_bytes_from_outside_make_json_panic() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let text = STRICT.encode(&interface()).unwrap();
    let mut understood = 0;
    for _ in 0..5_000 {
        let mut bytes = text.to_vec();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..bytes.len());
            match random.u8(..3) {
                0 => bytes[at] = *random.choice(b"{}[]\",:0129-+.eEntfu\\ \x00\xFF").unwrap(),
                1 => drop(bytes.drain(at..bytes.len().min(at + random.usize(1..20)))),
                _ => bytes.extend_from_within(at..),
            }
            if bytes.is_empty() {
                break;
            }
        }
        if let Ok(value) = Codec::<Interface>::decode(&STRICT, bytes.into()) {
            understood += 1;
            // A change can make a timestamp that JSON cannot hold, but none that panics.
            if let Ok(again) = STRICT.encode(&value) {
                assert_eq!(Codec::<Interface>::decode(&STRICT, again).unwrap(), value);
            }
        }
    }
    assert!(understood > 20, "the test breaks too much: {understood}");
}

#[tokio::test]
async fn a_store_is_shared_with_those_who_write_json() {
    let store = Memory::new();
    let routes = Typed::<Route, _, _>::new(store.clone(), ProtoJson::default());
    store
        .put("by-hand", r#"{"nextHop":"10.0.0.1"}"#)
        .await
        .unwrap();
    store
        .put("newer", r#"{"next_hop":"10.0.0.2","metric":1}"#)
        .await
        .unwrap();
    store.put("empty", "").await.unwrap();
    let route = Route {
        destination: "10.1.0.0/16".into(),
        next_hop: "10.0.0.3".into(),
    };
    routes.put("ours", &route).await.unwrap();

    let entries = routes.list(KeyRange::all()).await.unwrap().entries;
    let entries: Vec<_> = entries.try_collect().await.unwrap();
    let hops = entries.iter().map(|entry| match &entry.value {
        Ok(route) => (entry.key.to_string(), route.next_hop.clone()),
        Err(error) => (entry.key.to_string(), error.to_string()),
    });
    let expected = [
        ("by-hand", "10.0.0.1"),
        (
            "empty",
            "cannot decode the value of \"empty\" at revision 4: no JSON: EOF while parsing a value at line 1 column 0",
        ),
        (
            "newer",
            "cannot decode the value of \"newer\" at revision 3: the message has no field \"metric\" at line 1 column 31",
        ),
        ("ours", "10.0.0.3"),
    ];
    let expected = expected.map(|(key, hop)| (key.to_owned(), hop.to_owned()));
    assert_eq!(hops.collect::<Vec<_>>(), expected);
    let raw = store.get("ours").await.unwrap().unwrap();
    assert_eq!(
        raw.value,
        r#"{"destination":"10.1.0.0/16","next_hop":"10.0.0.3"}"#
    );
}

#[tokio::test]
async fn a_value_without_a_form_in_json_is_not_sent() {
    let interfaces = Typed::<Interface, _, _>::new(Memory::new(), STRICT);
    let mut late = interface();
    late.last_change = Some(Timestamp {
        seconds: i64::MAX,
        nanos: 0,
    });
    let error = interfaces.put("eth0", &late).await.unwrap_err();
    assert!(matches!(&error, Error::Encode { key, .. } if key == "eth0"));
    assert!(interfaces.get("eth0").await.unwrap().is_none());
}

#[tokio::test]
async fn what_looks_like_a_variable_in_a_stored_value_comes_back_as_it_was_put() {
    let store = Memory::new();
    let codecs = [AnyCodec::Protobuf, AnyCodec::Json, AnyCodec::LenientJson];
    let texts = [
        "$HOME",
        "${HOME}",
        "$${HOME:-left}",
        "$(HOME)",
        "%s",
        "%(HOME)s",
        "%HOME%",
        "{{ HOME }}",
        "~/${HOME}/%d",
    ];
    for (codec, text) in codecs
        .iter()
        .flat_map(|codec| texts.map(|text| (codec, text)))
    {
        let value = Interface {
            physical_address: text.into(),
            ip_addresses: vec![text.into()],
            vendor_data: text.into(),
            labels: BTreeMap::from([(text.into(), text.into())]),
            ..interface()
        };
        let interfaces = Typed::<Interface, _, _>::new(store.clone(), *codec);
        interfaces.put("eth0", &value).await.unwrap();
        let read = interfaces.get("eth0").await.unwrap().unwrap();
        assert_eq!(read.value, value, "{codec}");
        let mut updates = interfaces.follow(KeyRange::all());
        let Some(Ok(Update::Resync(snapshot))) = updates.next().await else {
            panic!("the first update is a resync");
        };
        assert_eq!(snapshot.entries[0].value, Ok(value), "{codec}");
        // Nor is anything done to it on the way into the store.
        let raw = store.get("eth0").await.unwrap().unwrap();
        let stored = String::from_utf8_lossy(&raw.value);
        assert!(stored.contains(text), "{codec}: {stored}");
    }
}

#[test]
fn one_word_of_the_configuration_chooses_the_codec() {
    #[derive(serde::Deserialize)]
    struct Config {
        #[serde(default)]
        codec: AnyCodec,
    }
    let choice = |text: &str| serde_json::from_str(text).map(|config: Config| config.codec);
    let value = interface();
    let binary = Protobuf.encode(&value).unwrap();
    let text = STRICT.encode(&value).unwrap();
    for (config, codec, bytes) in [
        ("{}", AnyCodec::Protobuf, &binary),
        (r#"{"codec":"protobuf"}"#, AnyCodec::Protobuf, &binary),
        (r#"{"codec":"json"}"#, AnyCodec::Json, &text),
        (r#"{"codec":"lenient-json"}"#, AnyCodec::LenientJson, &text),
    ] {
        let chosen = choice(config).unwrap();
        assert_eq!(chosen, codec);
        assert_eq!(chosen.encode(&value).unwrap(), bytes);
        assert_eq!(
            Codec::<Interface>::decode(&chosen, bytes.clone()).unwrap(),
            value
        );
        let word = serde_json::to_string(&chosen).unwrap();
        assert_eq!(word, format!("\"{chosen}\""));
    }
    let newer = r#"{"colour":"red"}"#;
    assert!(Codec::<Interface>::decode(&AnyCodec::Json, newer.into()).is_err());
    assert!(Codec::<Interface>::decode(&AnyCodec::LenientJson, newer.into()).is_ok());

    let told = choice(r#"{"codec":"xml"}"#).unwrap_err().to_string();
    assert!(
        told.starts_with(
            "unknown variant `xml`, expected one of `protobuf`, `json`, `lenient-json`"
        ),
        "{told}"
    );
}
