//! Leases on etcd, and the stream on which all of a store are renewed.

mod leases;
mod remaining;
mod stream;

pub(crate) use crate::lease::leases::{first_lost, give_back, grant_for_put};
pub(crate) use crate::lease::stream::Renewals;
