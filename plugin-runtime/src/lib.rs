//! A plugin host for agents built on keyval.
