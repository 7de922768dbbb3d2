//! The name by which an agent's keys are told from those of others.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use keyval::Prefix;
use keyval_config::Environment;

/// The variable that names an agent.
const VARIABLE: &str = "MICROSERVICE_LABEL";
/// What the keys of all agents begin with.
const ALL_AGENTS: &str = "/vnf-agent/";

/// The label of an agent: one segment of its keys, all of which begin with `/vnf-agent/<label>/`.
///
/// Not empty, without a slash, white space or control characters.
///
/// # Examples
/// ```
/// use plugin_runtime::AgentLabel;
///
/// let label = AgentLabel::new("vpp1")?;
/// assert_eq!(label.prefix(), "/vnf-agent/vpp1/".into());
/// assert!(AgentLabel::new("rack 7/vpp1").is_err());
/// # Ok::<_, plugin_runtime::LabelError>(())
/// ```
#[doc(alias("servicelabel", "GetAgentPrefix"))]
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentLabel(Arc<str>);

/// Why a text is no label.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin}{text:?} is no label of an agent: {problem}")]
#[non_exhaustive]
pub struct LabelError {
    origin: &'static str,
    text: String,
    problem: &'static str,
}

impl AgentLabel {
    /// The label that this text is.
    ///
    /// # Errors
    /// [`LabelError`] with what is wrong with the text.
    pub fn new(text: impl Into<String>) -> Result<Self, LabelError> {
        Self::checked(text.into(), "")
    }

    /// The label that the variable `MICROSERVICE_LABEL` names, if it is set and not empty.
    ///
    /// # Errors
    /// [`LabelError`] if it is set to what is no label.
    ///
    /// # Examples
    /// ```
    /// use keyval_config::Environment;
    /// use plugin_runtime::AgentLabel;
    ///
    /// let environment = Environment::from_iter([("MICROSERVICE_LABEL", "vpp1")]);
    /// let label = AgentLabel::from_env(&environment)?;
    /// assert_eq!(label, Some(AgentLabel::new("vpp1")?));
    /// assert_eq!(AgentLabel::from_env(&Environment::empty())?, None);
    /// # Ok::<_, plugin_runtime::LabelError>(())
    /// ```
    pub fn from_env(environment: &Environment) -> Result<Option<Self>, LabelError> {
        const ORIGIN: &str = "MICROSERVICE_LABEL: ";
        match environment.get(VARIABLE) {
            None => Ok(None),
            Some(text) => match text.into_string() {
                Ok(text) => Self::checked(text, ORIGIN).map(Some),
                Err(text) => Err(LabelError {
                    origin: ORIGIN,
                    text: text.to_string_lossy().into_owned(),
                    problem: "it is not UTF-8",
                }),
            },
        }
    }

    /// The label that the flag gives.
    #[cfg(feature = "cli")]
    pub(crate) fn from_flag(text: &str) -> Result<Self, LabelError> {
        Self::checked(text.to_owned(), "--microservice-label: ")
    }

    fn checked(text: String, origin: &'static str) -> Result<Self, LabelError> {
        let problem = if text.is_empty() {
            "it is empty"
        } else if text.contains('/') {
            "a label is one segment of a key, without a slash"
        } else if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            "it has white space or control characters"
        } else {
            return Ok(Self(text.into()));
        };
        Err(LabelError {
            origin,
            text,
            problem,
        })
    }

    /// The label as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the keys of this agent begin with: `/vnf-agent/<label>/`.
    #[must_use]
    pub fn prefix(&self) -> Prefix {
        Prefix::new(format!("{ALL_AGENTS}{}/", self.0))
    }

    /// What the keys of every agent begin with: `/vnf-agent/`.
    #[must_use]
    pub fn all_agents() -> Prefix {
        Prefix::new(ALL_AGENTS)
    }
}

impl FromStr for AgentLabel {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        Self::new(text)
    }
}

impl fmt::Display for AgentLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use keyval_config::Environment;

    use super::AgentLabel;

    #[test]
    fn what_is_no_segment_of_a_key_is_no_label() {
        for (text, problem) in [
            ("", "it is empty"),
            ("a/b", "one segment of a key"),
            ("/", "one segment of a key"),
            ("a b", "white space"),
            ("a\n", "white space or control"),
            ("a\0", "control characters"),
        ] {
            let error = AgentLabel::new(text).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
    }

    #[test]
    fn a_wrong_label_of_the_environment_names_its_variable_and_an_empty_one_is_none() {
        for text in ["a/b", "a b"] {
            let environment = Environment::from_iter([("MICROSERVICE_LABEL", text)]);
            let error = AgentLabel::from_env(&environment).unwrap_err().to_string();
            assert!(error.starts_with("MICROSERVICE_LABEL: "), "{error}");
        }
        let environment = Environment::from_iter([("MICROSERVICE_LABEL", "")]);
        assert_eq!(AgentLabel::from_env(&environment), Ok(None));
    }

    #[test]
    fn a_label_is_a_segment_below_all_agents() {
        for text in ["vpp1", "rack-7.vpp_1", "\u{e4}"] {
            let label: AgentLabel = text.parse().unwrap();
            assert_eq!(label.to_string(), text);
            assert_eq!(label.prefix(), format!("/vnf-agent/{text}/").into());
            assert!(AgentLabel::all_agents().nest(&format!("{text}/").into()) == label.prefix());
        }
    }
}
