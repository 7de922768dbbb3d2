//! Follows a range for ever: a snapshot, then every change.
