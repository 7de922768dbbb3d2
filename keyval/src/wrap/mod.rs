//! Stores around stores: each adds one thing and forwards the rest.
//!
//! They are made for this order, from the outside in:
//! `Observe(Retry(Timeout(Prefixed(store))))`.
//!
//! - `Observe` stands outside, so that it measures what the caller lives through: one operation,
//!   with its repetitions, and its last outcome. Inside of `Retry` it would count attempts, and
//!   inside of `Timeout` it would take every deadline for a caller who went away.
//! - `Retry` stands outside of `Timeout`, so that each attempt has a deadline of its own. The other
//!   way round one slow attempt uses up the time of all, and the deadline drops `Retry` in the
//!   middle: a write of which the store had said that it was not applied is reported as one that
//!   may have been.
//! - `Prefixed` stands innermost, so that a span and a metric can name the scope. It confines
//!   wherever it stands, so it may as well stand outermost, where many scopes share one stack:
//!   `Prefixed(Observe(Retry(Timeout(store))))`.

mod lease_book;
mod observe;
mod prefixed;
mod retry;
mod timeout;

pub use self::observe::Observe;
pub use self::prefixed::Prefixed;
pub use self::retry::{Retry, RetryPolicy};
pub use self::timeout::Timeout;
