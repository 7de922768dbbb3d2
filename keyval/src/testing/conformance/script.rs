//! Random histories: what the model test does to a store and to the model.

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};

use crate::options::{Order, Projection};

/// The names that steps use: few, so that they meet, and close to each other in order.
pub(super) const NAMES: [&[u8]; 6] = [b"a", b"a\0", b"a/", b"a/b", b"b", b"\xff"];
/// The values that steps use: few, so that compares sometimes hold.
pub(super) const VALUES: [&str; 3] = ["", "x", "y"];
/// One step of a random history. Numbers are taken modulo what there is to choose from, so that a
/// step makes sense wherever shrinking leaves it.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Get {
        name: usize,
        at: When,
    },
    List {
        range: Range,
        at: When,
        view: View,
    },
    Put {
        name: usize,
        value: usize,
        how: How,
        only_if: Option<If>,
    },
    Delete {
        range: Range,
        previous: bool,
    },
    Txn {
        compares: Vec<(usize, usize, Side)>,
        then: Vec<Do>,
        otherwise: Vec<Do>,
    },
}

/// One operation of a transaction.
#[derive(Clone, Debug)]
pub(super) enum Do {
    Get { range: Range, view: View },
    Put { name: usize, value: usize, how: How },
    Delete { range: Range, previous: bool },
}

#[derive(Clone, Copy, Debug)]
pub(super) enum When {
    Now,
    /// At one of the revisions that the history has made, or just before.
    Past(usize, bool),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Range {
    Key(usize),
    Prefix(usize),
    Span(usize, usize),
    All,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    pub(super) limit: Option<usize>,
    pub(super) page: Option<usize>,
    pub(super) projection: Projection,
    pub(super) order: Order,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct How {
    pub(super) previous: bool,
    pub(super) keep_value: bool,
    pub(super) keep_lifetime: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum If {
    Absent,
    Exists,
    Modified(Guess),
    Value(usize),
}

/// The given side of a compare.
#[derive(Clone, Copy, Debug)]
pub(super) enum Side {
    Version(u64),
    Created(Guess),
    Modified(Guess),
    Value(usize),
    NoLease,
}

/// A revision to compare with.
#[derive(Clone, Copy, Debug)]
pub(super) enum Guess {
    /// What stands in the store.
    Right,
    /// One of the revisions that the history has made.
    Past(usize),
    Zero,
}

fn name() -> impl Strategy<Value = usize> {
    0..NAMES.len()
}

fn range() -> impl Strategy<Value = Range> {
    prop_oneof![
        4 => name().prop_map(Range::Key),
        2 => name().prop_map(Range::Prefix),
        2 => (name(), name()).prop_map(|(start, end)| Range::Span(start, end)),
        1 => Just(Range::All),
    ]
}

fn when() -> impl Strategy<Value = When> {
    prop_oneof![
        Just(When::Now),
        (any::<usize>(), any::<bool>()).prop_map(|(index, before)| When::Past(index, before)),
    ]
}

fn view() -> impl Strategy<Value = View> {
    let projection = prop_oneof![
        4 => Just(Projection::Entries),
        1 => Just(Projection::Keys),
        1 => Just(Projection::Count),
    ];
    let order = prop_oneof![Just(Order::Ascending), Just(Order::Descending)];
    let few = || proptest::option::of(1..5_usize);
    (few(), few(), projection, order).prop_map(|(limit, page, projection, order)| View {
        limit,
        page,
        projection,
        order,
    })
}

fn how() -> impl Strategy<Value = How> {
    let rarely = || proptest::bool::weighted(0.15);
    (any::<bool>(), rarely(), rarely()).prop_map(|(previous, keep_value, keep_lifetime)| How {
        previous,
        keep_value,
        keep_lifetime,
    })
}

fn guess() -> impl Strategy<Value = Guess> {
    prop_oneof![
        3 => Just(Guess::Right),
        2 => any::<usize>().prop_map(Guess::Past),
        1 => Just(Guess::Zero),
    ]
}

fn condition() -> impl Strategy<Value = If> {
    prop_oneof![
        Just(If::Absent),
        Just(If::Exists),
        guess().prop_map(If::Modified),
        (0..VALUES.len()).prop_map(If::Value),
    ]
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![
        (0..4_u64).prop_map(Side::Version),
        guess().prop_map(Side::Created),
        guess().prop_map(Side::Modified),
        (0..VALUES.len()).prop_map(Side::Value),
        Just(Side::NoLease),
    ]
}

fn operation() -> impl Strategy<Value = Do> {
    prop_oneof![
        (range(), view()).prop_map(|(range, view)| Do::Get { range, view }),
        (name(), 0..VALUES.len(), how()).prop_map(|(name, value, how)| Do::Put {
            name,
            value,
            how
        }),
        (range(), any::<bool>()).prop_map(|(range, previous)| Do::Delete { range, previous }),
    ]
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let compare = (name(), 0..4_usize, side());
    prop_oneof![
        2 => (name(), when()).prop_map(|(name, at)| Step::Get { name, at }),
        3 => (range(), when(), view())
            .prop_map(|(range, at, view)| Step::List { range, at, view }),
        5 => (name(), 0..VALUES.len(), how(), proptest::option::of(condition()))
            .prop_map(|(name, value, how, only_if)| Step::Put { name, value, how, only_if }),
        2 => (range(), any::<bool>())
            .prop_map(|(range, previous)| Step::Delete { range, previous }),
        4 => (vec(compare, 0..3), vec(operation(), 0..4), vec(operation(), 0..3))
            .prop_map(|(compares, then, otherwise)| Step::Txn { compares, then, otherwise }),
    ]
}
