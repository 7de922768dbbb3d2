//! Promises across crates, proven on real servers.
