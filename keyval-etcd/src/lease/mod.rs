//! Leases on etcd, and the stream on which all of a store are renewed.

mod leases;
mod stream;

pub(crate) use crate::lease::leases::{give_back, grant};
pub(crate) use crate::lease::stream::Renewals;
