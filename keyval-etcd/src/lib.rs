//! The etcd v3 backend of keyval.
