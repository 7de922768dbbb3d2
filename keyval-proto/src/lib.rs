//! Protobuf-typed handles over any keyval store.
