//! What can go wrong with a plugin, told with its name and the stage of its life.

use std::fmt;
use std::time::Duration;

use keyval::BoxError;

/// The result of running a host.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a host did not start, or did not run to an orderly end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Two plugins have one name; none was started.
    #[error("two plugins are named {name:?}: give each its own name")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// A plugin's name cannot name its configuration; none was started.
    #[error(
        "{name:?} cannot name a plugin: use at most 63 ASCII letters, digits, - and _, beginning with a \
         letter or digit"
    )]
    InvalidName {
        /// The name.
        name: String,
    },
    /// A flag is about a plugin that there is not, or plugins cannot be configured apart; none was started.
    #[error(transparent)]
    Config(#[from] keyval_config::Error),
    /// A plugin failed. Every plugin that had been started was closed all the same.
    #[error("{first}{}", others_text(.others))]
    Plugin {
        /// The failure that ended the run.
        #[source]
        first: Failure,
        /// What failed besides, while the others were closed.
        others: Vec<Failure>,
    },
}

/// The failure of one plugin at one stage.
#[derive(Debug)]
#[non_exhaustive]
pub struct Failure {
    /// The plugin.
    pub plugin: String,
    /// What it was at.
    pub stage: Stage,
    /// What happened.
    pub cause: Cause,
}

/// A stage in the life of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// It is brought up.
    Init,
    /// All plugins are up; it begins its work.
    AfterInit,
    /// It works.
    Run,
    /// Its tasks end, then it is closed.
    Close,
}

/// How a plugin failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Cause {
    /// It returned an error.
    Failed(BoxError),
    /// It panicked; the text is the panic's.
    Panicked(String),
    /// It did not end within its deadline, and was abandoned.
    TimedOut(Duration),
    /// Tasks of it did not end within its close deadline, and were aborted.
    TasksLeft {
        /// Their names.
        tasks: Vec<String>,
        /// The deadline.
        after: Duration,
    },
}

impl Failure {
    pub(crate) fn new(plugin: &str, stage: Stage, cause: Cause) -> Self {
        Self {
            plugin: plugin.to_owned(),
            stage,
            cause,
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            Cause::Failed(error) => Some(&**error),
            Cause::Panicked(_) | Cause::TimedOut(_) | Cause::TasksLeft { .. } => None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            plugin,
            stage,
            cause,
        } = self;
        write!(f, "plugin {plugin} failed in {stage}: {cause}")
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Init => "init",
            Self::AfterInit => "after_init",
            Self::Run => "run",
            Self::Close => "close",
        })
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => error.fmt(f),
            Self::Panicked(message) => write!(f, "it panicked: {message}"),
            Self::TimedOut(after) => write!(f, "it did not end within {after:?}"),
            Self::TasksLeft { tasks, after } => {
                let tasks = tasks.join(", ");
                write!(f, "these tasks did not end within {after:?}: {tasks}")
            }
        }
    }
}

fn others_text(others: &[Failure]) -> String {
    others
        .iter()
        .map(|failure| format!("; also, {failure}"))
        .collect()
}
