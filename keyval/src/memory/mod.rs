//! The in-memory store: every promise of the contract, no server.
