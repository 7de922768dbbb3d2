//! What a view shows, in words of its own.

use std::sync::Arc;

use keyval::{Entry, MirrorSnapshot};

use crate::error::Decoded;

/// A view as it was at one revision; never changes. In key order, and cheap to keep.
pub type ViewSnapshot<T> = MirrorSnapshot<Decoded<T>>;

/// An entry of a view; its value is shared, and is an error if its bytes were no value.
pub type ViewEntry<T> = Entry<Arc<Decoded<T>>>;
