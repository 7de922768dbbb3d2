//! How endpoints are shown: an endpoint may hold a password by mistake.

use serde::ser::{Serialize, Serializer};

use super::endpoint::Endpoint;

/// Shows the endpoints to whoever may see the configuration.
pub(super) fn endpoints<S: Serializer>(
    endpoints: &[String],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    without_passwords(endpoints).serialize(serializer)
}

/// What is no endpoint may hold a password; it is refused when it is used.
pub(super) fn without_passwords(endpoints: &[String]) -> Vec<&str> {
    let shown = |endpoint: &'_ String| Endpoint::parse(endpoint).is_ok();
    let endpoints = endpoints.iter();
    endpoints
        .map(|endpoint| if shown(endpoint) { endpoint } else { "***" })
        .collect()
}
