//! What can name a plugin's configuration: its file, its variables and its flag.

use crate::error::{Error, Result};
use crate::node::in_variables;

/// The most bytes of a name.
const LONGEST: usize = 63;
/// `--check-config` and `--print-config` are flags of their own, and not for the files of plugins.
const TAKEN: [&str; 2] = ["check", "print"];

/// Refuses names of plugins that could not be configured, each on its own and apart from the others.
///
/// # Errors
/// [`Error::PluginName`] for a name that cannot be part of a file's and a variable's name,
/// [`Error::TakenName`] for `check` and `print`, and [`Error::SameVariables`] for two names that
/// variables cannot tell apart.
///
/// # Examples
/// ```
/// use keyval_config::check_names;
///
/// check_names(["store", "store-2"])?;
/// assert_eq!(
///     check_names(["a-b", "a_b"]).unwrap_err().to_string(),
///     "the variables of the plugins \"a-b\" and \"a_b\" begin alike, with A_B_: rename one of them"
/// );
/// # keyval_config::Result::Ok(())
/// ```
pub fn check_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<()> {
    let mut before: Vec<&str> = Vec::new();
    for name in names {
        check_name(name)?;
        if TAKEN.contains(&name) {
            let name = name.to_owned();
            return Err(Error::TakenName { name });
        }
        if let Some(first) = before.iter().find(|first| are_alike(first, name)) {
            return Err(Error::SameVariables {
                first: (*first).to_owned(),
                second: name.to_owned(),
            });
        }
        before.push(name);
    }
    Ok(())
}

/// Refuses a name that cannot be part of a file's and a variable's name, or is too long to be one.
pub(crate) fn check_name(plugin: &str) -> Result<()> {
    let letters = |c: u8| c.is_ascii_alphanumeric();
    let fits = plugin.len() <= LONGEST
        && plugin.bytes().next().is_some_and(letters)
        && plugin.bytes().all(|c| letters(c) || c == b'-' || c == b'_');
    if fits {
        return Ok(());
    }
    let mut name: String = plugin.chars().take(LONGEST).collect();
    if name.len() < plugin.len() {
        name.push_str("...");
    }
    Err(Error::PluginName { name })
}

/// Whether a variable of one can be one of the other: `A__B__C` is the key `b.c` of `a`, and the key `c`
/// of `a__b`.
fn are_alike(one: &str, other: &str) -> bool {
    let (one, other) = (in_variables(one) + "_", in_variables(other) + "_");
    let leads = |short: &str, long: &str| long.starts_with(&format!("{short}_"));
    one == other || leads(&one, &other) || leads(&other, &one)
}
