//! The methods that wrap a store: `store.prefixed("a/")`, `.timeout(..)`, `.retry(..)`.
