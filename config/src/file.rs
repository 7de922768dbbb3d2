//! Reads a small text file, and nothing that is not one.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use crate::error::{Error, Invalid, Result};
use crate::snippet::position_of;

/// The largest configuration or secret accepted, in bytes.
pub(crate) const MAX_SIZE: usize = 1024 * 1024;

/// Reads a regular file of at most [`MAX_SIZE`] bytes of UTF-8.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    let read_error = |source| Error::Read {
        path: path.to_owned(),
        source,
    };

    // Opening a pipe would wait for its writer, perhaps for ever.
    if !fs::metadata(path).map_err(read_error)?.is_file() {
        return Err(read_error(io::Error::other("it is not a regular file")));
    }
    let file = File::open(path).map_err(read_error)?;
    let mut bytes = Vec::new();
    // The size is not asked for: the file may grow while it is read.
    file.take(MAX_SIZE as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(read_error)?;
    if bytes.len() > MAX_SIZE {
        return Err(Error::TooLarge {
            file: path.display().to_string(),
            limit: MAX_SIZE,
        });
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        // Of a binary file or a secret nothing is shown, only where the fault is.
        Error::Invalid(Box::new(Invalid {
            file: path.display().to_string(),
            position: Some(position_of(&error.as_bytes()[..valid])),
            path: String::new(),
            path_is_told: false,
            message: "the text is not UTF-8 from here on; save the file as UTF-8".into(),
            did_you_mean: None,
            snippet: None,
        }))
    })
}
