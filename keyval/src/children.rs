//! One level of a tree of keys, without reading what lies below it.
