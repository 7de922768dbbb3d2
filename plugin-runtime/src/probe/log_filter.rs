//! What is logged, changed while the agent runs.

use std::fmt;
use std::sync::Arc;

use keyval::BoxError;
use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::reload;

/// The filter of a program's log, which [`ProbePlugin`](crate::ProbePlugin) shows and changes at
/// `/log`.
///
/// # Examples
/// ```
/// use plugin_runtime::LogFilter;
/// use tracing_subscriber::layer::SubscriberExt;
///
/// let (filter, layer) = LogFilter::new("info,keyval=debug")?;
/// let subscriber = tracing_subscriber::registry()
///     .with(layer)
///     .with(tracing_subscriber::fmt::layer());
/// // A program installs it by `subscriber.init()`.
/// # tracing::subscriber::with_default(subscriber, || {
/// filter.set("warn,keyval::follow=trace")?;
/// assert!(filter.get().contains("keyval::follow=trace"));
/// assert!(filter.set("keyval=loud").is_err());
/// # Ok::<_, plugin_runtime::BoxError>(()) }).map_err(drop).unwrap();
/// # Ok::<_, plugin_runtime::BoxError>(())
/// ```
#[derive(Clone)]
pub struct LogFilter {
    get: Arc<Get>,
    set: Arc<Set>,
}

type Get = dyn Fn() -> String + Send + Sync;
type Set = dyn Fn(&str) -> Result<(), BoxError> + Send + Sync;

impl LogFilter {
    /// A filter with these directives, and the layer that obeys it, for a subscriber of
    /// `tracing-subscriber`.
    ///
    /// Directives are those of `RUST_LOG`: a level for all, `target=level` for a part of the program
    /// whether or not it has logged anything yet, separated by commas.
    ///
    /// # Errors
    /// Text that says which directive is wrong and how.
    pub fn new<S: 'static>(
        directives: &str,
    ) -> Result<(Self, reload::Layer<EnvFilter, S>), BoxError> {
        let (layer, handle) = reload::Layer::new(parse(directives)?);
        let reader = handle.clone();
        let get = move || match reader.with_current(ToString::to_string) {
            Ok(directives) => directives,
            Err(gone) => gone.to_string(),
        };
        let set = move |directives: &str| Ok(handle.reload(parse(directives)?)?);
        Ok((Self::from_fns(get, set), layer))
    }

    /// A filter of any other kind: how to read it and how to change it. Neither may block.
    pub fn from_fns(
        get: impl Fn() -> String + Send + Sync + 'static,
        set: impl Fn(&str) -> Result<(), BoxError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            get: Arc::new(get),
            set: Arc::new(set),
        }
    }

    /// The directives that hold now, in whatever order.
    #[must_use]
    pub fn get(&self) -> String {
        (self.get)()
    }

    /// Puts other directives in their place.
    ///
    /// # Errors
    /// Text that says which directive is wrong and how; then nothing changes.
    pub fn set(&self, directives: &str) -> Result<(), BoxError> {
        (self.set)(directives)
    }
}

impl fmt::Debug for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LogFilter").field(&self.get()).finish()
    }
}

/// Reads directives; a lone word must be a level, since a misspelt one would be taken for a target,
/// and silence all the rest.
fn parse(directives: &str) -> Result<EnvFilter, BoxError> {
    let directives = directives.trim();
    if directives.is_empty() {
        return Err("no directive: off is the one that logs nothing".into());
    }
    for directive in directives.split(',').map(str::trim) {
        let is_word = directive
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_');
        if is_word && directive.parse::<LevelFilter>().is_err() {
            return Err(format!(
                "{directive:?} is no level: use off, error, warn, info, debug or trace, \
                 or {directive}=trace if it is a target"
            )
            .into());
        }
    }
    EnvFilter::try_new(directives).map_err(|error| format!("{directives:?}: {error}").into())
}
