//! How endpoints are shown: an endpoint may hold a password by mistake.

use serde::ser::{Serialize, Serializer};

/// Shows the endpoints to whoever may see the configuration.
pub(super) fn endpoints<S: Serializer>(
    endpoints: &[String],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    without_passwords(endpoints).serialize(serializer)
}

/// What stands before an @ may be a password; such an endpoint is refused when it is used.
pub(super) fn without_passwords(endpoints: &[String]) -> Vec<&str> {
    let shown = |endpoint| match endpoint {
        endpoint if str::contains(endpoint, '@') => "***",
        endpoint => endpoint,
    };
    endpoints
        .iter()
        .map(|endpoint| shown(&**endpoint))
        .collect()
}
