//! Puts and gets, typed and raw.

use std::future::Future;
use std::hint::black_box;

use keyval::{BrokerExt, Bytes, Key, Memory};
use keyval_proto::{Codec, Typed};

use crate::rounds::Clock;

/// What is measured.
#[derive(Clone, Copy)]
pub(crate) enum Operation {
    Put,
    Get,
}

/// Keys enough that not one of them is always in the nearest cache.
pub(crate) fn keys() -> Vec<Key> {
    (0..1000)
        .map(|i| Key::from(format!("interfaces/{i:04}")))
        .collect()
}

/// Nanoseconds of each of so many operations.
pub(crate) async fn nanos_of(operations: impl Future<Output = ()>, count: usize) -> f64 {
    let clock = Clock::start();
    operations.await;
    clock.elapsed().as_nanos() as f64 / count as f64
}

impl Operation {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
        }
    }

    pub(crate) async fn typed<T: 'static, C: Codec<T>>(
        self,
        typed: &Typed<T, Memory, C>,
        keys: &[Key],
        value: &T,
        count: usize,
    ) {
        for key in keys.iter().cycle().take(count) {
            match self {
                Self::Put => drop(black_box(typed.put(key, value).await.expect("a put"))),
                Self::Get => drop(black_box(typed.get(key).await.expect("a get"))),
            }
        }
    }

    pub(crate) async fn raw(self, store: &Memory, keys: &[Key], value: &Bytes, count: usize) {
        for key in keys.iter().cycle().take(count) {
            match self {
                Self::Put => drop(black_box(
                    store.put(key, value.clone()).await.expect("a put"),
                )),
                Self::Get => drop(black_box(store.get(key).await.expect("a get"))),
            }
        }
    }
}
