//! The values that the agent keeps: network interfaces.

use std::fmt;

/// A network interface. Generated code looks the same; this one needs no protoc.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Interface {
    #[prost(string, tag = "1")]
    pub(crate) address: String,
    #[prost(uint32, tag = "2")]
    pub(crate) mtu: u32,
    #[prost(bool, tag = "3")]
    pub(crate) up: bool,
}

impl Interface {
    /// An interface that is up.
    pub(crate) fn up(address: &str, mtu: u32) -> Self {
        Self {
            address: address.to_owned(),
            mtu,
            up: true,
        }
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.up { "up" } else { "down" };
        // Whoever can write to the store is not to write to the terminal.
        let address = self.address.escape_debug().to_string();
        write!(f, "{address:<12}  mtu {:<5}  {state}", self.mtu)
    }
}
