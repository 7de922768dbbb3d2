//! The plan of a list, carried out on keys in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Included, Unbounded};

use keyval::{Key, KeyRange, Order};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};

use super::plan::{Ask, Front, Plan};

const ORDERS: [Order; 2] = [Order::Ascending, Order::Descending];

/// What it took to read a list.
#[derive(Debug)]
struct Cost {
    requests: usize,
    /// How often one had to wait for all that was under way.
    waits: usize,
    /// The most ranges that were under way or had arrived before their turn.
    most: usize,
}

/// Reads a range by the plan: what is asked for is answered when there is nothing else to do, all
/// at once, or one of it, by chance.
fn read(
    keys: &BTreeSet<Key>,
    range: &KeyRange,
    order: Order,
    page: usize,
    mut chance: Option<fastrand::Rng>,
) -> (Vec<Key>, Cost) {
    let mut plan = Plan::new(range.clone(), order);
    let mut arrived = BTreeMap::new();
    let mut asked = vec![Ask {
        id: 0,
        range: range.clone(),
    }];
    let mut listed = Vec::new();
    let mut cost = Cost {
        requests: 1,
        waits: 0,
        most: 0,
    };
    loop {
        match plan.front() {
            Front::End => return (listed, cost),
            Front::Arrived(id) => {
                plan.take();
                listed.extend(arrived.remove(&id).expect("it has arrived"));
                continue;
            }
            Front::Waiting => {}
        }
        while let Some(ask) = plan.next(page) {
            cost.requests += 1;
            asked.push(ask);
        }
        cost.most = cost.most.max(asked.len() + arrived.len());
        cost.waits += 1;
        assert!(!asked.is_empty(), "it waits for nothing");
        let answered: Vec<Ask> = match &mut chance {
            Some(chance) => vec![asked.swap_remove(chance.usize(..asked.len()))],
            None => std::mem::take(&mut asked),
        };
        for Ask { id, range } in answered {
            assert!(!range.is_empty(), "{range}");
            let mut found = in_order(keys, &range, order);
            let count = found.len();
            found.truncate(page);
            plan.arrived(id, found.iter(), count as u64, count > found.len());
            arrived.insert(id, found);
        }
    }
}

fn in_order(keys: &BTreeSet<Key>, range: &KeyRange, order: Order) -> Vec<Key> {
    let end = range.end().map_or(Unbounded, Excluded);
    let found = keys
        .range::<Key, _>((Included(range.start()), end))
        .cloned();
    match order {
        Order::Ascending => found.collect(),
        Order::Descending => found.rev().collect(),
    }
}

/// Keys as programs name them.
fn shapes(count: usize) -> Vec<(&'static str, BTreeSet<Key>)> {
    let mut rng = fastrand::Rng::with_seed(7);
    let uuid = |rng: &mut fastrand::Rng| {
        let all = rng.u128(..);
        format!(
            "k/{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            all as u32,
            (all >> 32) as u16,
            (all >> 48) as u16 & 0xFFF,
            (all >> 64) as u16 & 0x3FFF | 0x8000,
            (all >> 80) as u64
        )
    };
    let keys =
        |name: &mut dyn FnMut(usize) -> Vec<u8>| (0..count).map(|n| name(n).into()).collect();
    vec![
        ("decimal", keys(&mut |n| format!("k/{n:08}").into())),
        ("long decimal", keys(&mut |n| format!("k/{n:020}").into())),
        ("bare decimal", keys(&mut |n| format!("k/{n}").into())),
        (
            "hex",
            keys(&mut |_| format!("k/{:016x}", rng.u64(..)).into()),
        ),
        ("uuid", keys(&mut |_| uuid(&mut rng).into())),
        (
            "binary",
            keys(&mut |_| [b"k/".to_vec(), rng.u64(..).to_be_bytes().to_vec()].concat()),
        ),
        (
            "clustered",
            keys(&mut |n| format!("k/{:04}/{n:08}", n / 1000).into()),
        ),
        (
            "small clusters",
            keys(&mut |n| format!("k/node-{:05}/pod/{:02}", n / 30, n % 30).into()),
        ),
        (
            "names",
            keys(&mut |n| {
                let kind = ["config/interface", "config/route", "status", "zone/x"][n % 4];
                format!("k/{kind}/{}{n}", ["left", "right", "up"][n % 3]).into()
            }),
        ),
        (
            "one large cluster",
            keys(&mut |n| match n % 100 {
                0 => format!("k/{:08x}", rng.u32(..)).into(),
                _ => format!("k/77/{n:010}").into(),
            }),
        ),
    ]
}

#[test]
fn long_lists_of_the_usual_keys_take_few_requests_several_at_a_time() {
    const PAGES: usize = 100;
    for (shape, keys) in shapes(20_000) {
        for order in ORDERS {
            let range = KeyRange::prefix("k/");
            let (listed, cost) = read(&keys, &range, order, keys.len() / PAGES, None);
            assert_eq!(listed, in_order(&keys, &range, order), "{shape}");
            assert!(cost.most <= 6, "{shape} {order:?}: {cost:?}");
            let (requests, waits) = match shape {
                "decimal" | "hex" | "uuid" | "binary" => (PAGES * 14 / 10, PAGES * 4 / 10),
                // Hard to guess, which must cost little beside one page after the other.
                "names" => (PAGES * 4, PAGES * 15 / 10),
                _ => (PAGES * 35 / 10, PAGES * 11 / 10),
            };
            assert!(
                cost.requests <= requests && cost.waits <= waits,
                "{shape} {order:?}: {cost:?}"
            );
        }
    }
}

#[test]
fn a_list_of_one_page_takes_one_request() {
    let keys: BTreeSet<Key> = (0..9).map(|n| Key::from(format!("k/{n}"))).collect();
    for order in ORDERS {
        let (listed, cost) = read(&keys, &KeyRange::all(), order, 9, None);
        assert_eq!((listed.len(), cost.requests), (9, 1));
    }
}

/// Any keys: few bytes, so that they are neighbours, or any bytes, or numbers.
fn any_keys() -> impl Strategy<Value = BTreeSet<Key>> {
    let bytes = prop_oneof![
        proptest::collection::vec(
            prop_oneof![Just(0), Just(255), Just(b'0'), Just(b'/')],
            1..6
        ),
        proptest::collection::vec(any::<u8>(), 1..12),
        any::<u16>().prop_map(|n| format!("a/{n}").into_bytes()),
        any::<u16>().prop_map(|n| format!("a/{n:09}").into_bytes()),
        any::<u32>().prop_map(|n| format!("b/{n:x}/{n}").into_bytes()),
    ];
    proptest::collection::btree_set(bytes.prop_map(Key::from), 0..200)
}

fn any_range() -> impl Strategy<Value = KeyRange> {
    let bound = || proptest::collection::vec(any::<u8>(), 1..4).prop_map(Key::from);
    prop_oneof![
        Just(KeyRange::all()),
        Just(KeyRange::prefix("a/")),
        Just(KeyRange::prefix(vec![255])),
        (bound(), bound())
            .prop_map(|(a, b)| KeyRange::span(a.clone().min(b.clone()), a.max(b).successor())),
        bound().prop_map(|start| KeyRange::all().starting_at(start)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_keys_are_listed_exactly_once_and_in_order(
        keys in any_keys(),
        range in any_range(),
        page in 1_usize..20,
        seed in any::<u64>(),
    ) {
        for order in ORDERS {
            let expected = in_order(&keys, &range, order);
            let (listed, cost) = read(&keys, &range, order, page, None);
            assert_eq!(listed, expected);
            assert!(cost.most <= 6, "{cost:?}");
            let chance = fastrand::Rng::with_seed(seed);
            let (listed, _) = read(&keys, &range, order, page, Some(chance));
            assert_eq!(listed, expected);
        }
    }
}
