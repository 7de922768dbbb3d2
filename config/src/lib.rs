//! Layered, typed YAML configuration for plugins.
