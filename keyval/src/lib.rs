//! A pluggable key-value data broker: one contract, many stores.
