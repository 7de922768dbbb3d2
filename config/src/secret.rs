//! A text that is never shown: passwords and tokens.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

use crate::error::Error;
use crate::file::read_text;

/// What stands in place of a secret wherever it would be shown.
pub(crate) const HIDDEN: &str = "***";
/// By this name a reader knows that its messages show no value.
pub(crate) const SECRET: &str = "keyval_config::Secret";

/// A password or token: `Debug`, `Display` and `Serialize` show `***`, only [`expose`] the text.
///
/// In YAML it is the text itself, or `file:` and the absolute path of a file that holds it, such as
/// a mounted Kubernetes secret; one newline at the end of that file does not belong to the secret.
/// The file is read once, when the configuration is loaded. The text is taken as it stands: nothing in
/// it is expanded. `***` is refused, as that is what a configuration that was printed has in place of
/// its secrets. The default, no text at all, is shown as such.
///
/// [`expose`]: Secret::expose
///
/// # Examples
/// ```
/// use keyval_config::{Secret, parse};
///
/// #[derive(Debug, serde::Deserialize)]
/// struct Login {
///     user: String,
///     password: Secret,
/// }
///
/// # let path = std::env::temp_dir().join(format!("keyval-secret-{}", std::process::id()));
/// std::fs::write(&path, "open sesame\n").expect("the temporary folder is writable");
/// let text = format!("user: root\npassword: file:{}", path.display());
/// let login: Login = parse("etcd.yaml", &text)?;
/// assert_eq!(login.password.expose(), "open sesame");
/// assert_eq!(format!("{login:?}"), r#"Login { user: "root", password: *** }"#);
/// # std::fs::remove_file(&path).ok();
/// # keyval_config::Result::Ok(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text to be hidden.
    ///
    /// # Examples
    /// ```
    /// let token = keyval_config::Secret::new("open sesame");
    /// assert_eq!(token.to_string(), "***");
    /// ```
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Reads a secret from a file, as `file:` does; one newline at the end does not belong to it.
    ///
    /// # Examples
    /// ```
    /// use keyval_config::Secret;
    ///
    /// # let path = std::env::temp_dir().join(format!("keyval-secret-of-{}", std::process::id()));
    /// std::fs::write(&path, "open sesame\n").expect("the temporary folder is writable");
    /// assert_eq!(Secret::from_file(&path)?.expose(), "open sesame");
    /// # std::fs::remove_file(&path).ok();
    /// # keyval_config::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// If the file cannot be read, or is no small text; the error never repeats its content.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, Error> {
        let mut text = read_text(path.as_ref())?;
        if text.ends_with('\n') {
            text.pop();
            if text.ends_with('\r') {
                text.pop();
            }
        }
        Ok(Self(text))
    }

    /// The text itself, to be handed to whoever checks it and to nobody else.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(keyval_config::Secret::new("open sesame").expose(), "open sesame");
    /// ```
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// True if there is no text, as in the default.
    ///
    /// # Examples
    /// ```
    /// assert!(keyval_config::Secret::default().is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.is_empty() { "" } else { HIDDEN })
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "null"],
            "writeOnly": true,
            "description": "The secret itself, or file: and the absolute path of a file that holds it.",
        })
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(SECRET, SecretVisitor)
    }
}

/// Resolves the text or the file it refers to; no message of it repeats the value.
struct SecretVisitor;

impl SecretVisitor {
    /// Serde's own message would show the value.
    fn refuse<E: de::Error>(self) -> Result<Secret, E> {
        Err(E::custom("a secret is a text: put it in quotes"))
    }
}

impl<'de> Visitor<'de> for SecretVisitor {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a secret as text, or file: and an absolute path")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<Secret, D::Error> {
        deserializer.deserialize_str(self)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
        if text == HIDDEN {
            let message = "*** stands for a secret that was not shown; write the secret itself, or \
                           file: and the path of a file that holds it";
            return Err(E::custom(message));
        }
        match text.strip_prefix("file:") {
            Some(path) => from_file(Path::new(path)).map_err(E::custom),
            None => Ok(Secret(text.to_owned())),
        }
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Secret, E> {
        self.refuse()
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Secret, E> {
        self.refuse()
    }

    fn visit_i128<E: de::Error>(self, _: i128) -> Result<Secret, E> {
        self.refuse()
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Secret, E> {
        self.refuse()
    }

    fn visit_u128<E: de::Error>(self, _: u128) -> Result<Secret, E> {
        self.refuse()
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Secret, E> {
        self.refuse()
    }

    fn visit_bytes<E: de::Error>(self, _: &[u8]) -> Result<Secret, E> {
        self.refuse()
    }
}

fn from_file(path: &Path) -> Result<Secret, String> {
    if !path.is_absolute() {
        // Relative to what would depend on where the process was started; and the text may be a
        // password that begins so, which is not to be shown.
        return Err("a secret that begins with file: needs an absolute path after it".into());
    }
    let secret =
        Secret::from_file(path).map_err(|error| format!("cannot use the secret: {error}"))?;
    if secret.is_empty() {
        return Err(format!(
            "cannot use the secret: {} is empty",
            path.display()
        ));
    }
    Ok(secret)
}
