//! Streams of raw items, decoded as they pass.

use std::any::type_name;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::stream::{Stream, StreamExt};
use keyval::{
    Change, Changes, DeleteReply, Entry, OpReply, PutReply, RangeReply, Snapshot, TxnReply, Update,
};

use crate::codec::Codec;
use crate::error::{DecodeError, Decoded};

const FAILURES: &str = "keyval_decode_errors_total";

/// What holds raw values that can be decoded where they are: entries, changes, snapshots, updates and
/// the replies to puts, deletes and transactions.
///
/// Implemented for these; there is no need to implement it for anything else.
/// [`Typed::decode`](crate::Typed::decode) is the way to call it.
pub trait Decodable {
    /// The same with values of `T`.
    type Of<T>;

    /// Decodes every value; one that cannot be decoded becomes an error in its place.
    fn decode<T>(self, codec: &impl Codec<T>) -> Self::Of<Decoded<T>>;
}

impl Decodable for Entry {
    type Of<T> = Entry<T>;

    fn decode<T>(self, codec: &impl Codec<T>) -> Entry<Decoded<T>> {
        let decoded = codec.decode(self.value.clone()).map_err(|cause| {
            count_failure::<T>();
            DecodeError::new(self.key.clone(), self.modified, cause)
        });
        self.map(|_| decoded)
    }
}

/// Counts a value that could not be decoded, by what it was to be.
fn count_failure<T>() {
    metrics::describe_counter!(FAILURES, "Values that could not be decoded.");
    metrics::counter!(FAILURES, "type" => type_name::<T>()).increment(1);
}

/// What consists of entries is decoded entry by entry.
macro_rules! decodable {
    ($($whole:ident),+) => {$(
        impl Decodable for $whole {
            type Of<T> = $whole<T>;

            fn decode<T>(self, codec: &impl Codec<T>) -> $whole<Decoded<T>> {
                self.map(|entry| entry.decode(codec))
            }
        }
    )+};
}

decodable!(Change, Changes, Snapshot, Update);
decodable!(PutReply, DeleteReply, RangeReply, OpReply, TxnReply);

/// A stream of raw items, decoded as they pass.
///
/// Values that cannot be decoded are items like the others; errors of the stream pass through
/// unchanged. Dropping it stops the work of the stream within.
#[must_use = "a stream does nothing unless it is polled"]
pub struct Decoding<S, T, C> {
    stream: S,
    codec: C,
    value: PhantomData<fn() -> T>,
}

impl<S, T, C: Codec<T>> Decoding<S, T, C> {
    /// Decodes the items of this stream.
    pub fn new(stream: S, codec: C) -> Self {
        Self {
            stream,
            codec,
            value: PhantomData,
        }
    }

    /// The stream within, to ask it what it knows beside its items.
    pub fn inner(&self) -> &S {
        &self.stream
    }

    /// The stream within; what was not polled of it is still in it.
    pub fn into_inner(self) -> S {
        self.stream
    }
}

impl<S, T, C, I, E> Stream for Decoding<S, T, C>
where
    S: Stream<Item = Result<I, E>> + Unpin,
    C: Codec<T>,
    I: Decodable,
{
    type Item = Result<I::Of<Decoded<T>>, E>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = ready!(self.stream.poll_next_unpin(cx));
        Poll::Ready(item.map(|item| item.map(|raw| raw.decode(&self.codec))))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.stream.size_hint()
    }
}

/// The codec is never pinned.
impl<S: Unpin, T, C> Unpin for Decoding<S, T, C> {}

impl<S: fmt::Debug, T, C> fmt::Debug for Decoding<S, T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Decoding").field(&self.stream).finish()
    }
}
