//! A file that has its name only once it is whole.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use keyval::{Error, Outcome, Result};
use tokio::fs::{self, File, OpenOptions};
use tokio::io::{AsyncWriteExt, BufWriter};

/// How much is written at a time.
const BUFFER: usize = 1 << 20;

/// A file that is being written beside its place, under its name and `.part`; it is removed unless
/// it is kept.
pub(super) struct PartFile {
    path: PathBuf,
    part: PathBuf,
    file: BufWriter<File>,
    kept: bool,
}

impl PartFile {
    /// Begins a file that only its owner will read.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is a file of either name; [`Error::Backend`] if it cannot be
    /// written.
    pub(super) async fn create(path: &Path) -> Result<Self> {
        refuse_to_overwrite(path).await?;
        let mut part = OsString::from(path);
        part.push(".part");
        let part = PathBuf::from(part);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        // All that is stored, the passwords of the users included.
        #[cfg(unix)]
        options.mode(0o600);
        let file = match options.open(&part).await {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(Error::invalid(format!(
                    "{} exists: wait for whoever writes it, or remove what was left behind",
                    part.display()
                )));
            }
            Err(error) => return Err(failed(&part, error)),
        };
        Ok(Self {
            path: path.to_owned(),
            part,
            file: BufWriter::with_capacity(BUFFER, file),
            kept: false,
        })
    }

    /// Writes these bytes behind the others.
    ///
    /// # Errors
    /// [`Error::Backend`] if they cannot be written.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_all(bytes).await;
        written.map_err(|error| failed(&self.part, error))
    }

    /// Gives the file its name, once it certainly is on the disk.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is a file of the name by now; [`Error::Backend`] if it cannot be
    /// written.
    pub(super) async fn keep(mut self) -> Result<()> {
        self.on_disk()
            .await
            .map_err(|error| failed(&self.part, error))?;
        refuse_to_overwrite(&self.path).await?;
        fs::rename(&self.part, &self.path)
            .await
            .map_err(|error| failed(&self.path, error))?;
        self.kept = true;
        // The name, too, has to be on the disk.
        #[cfg(unix)]
        sync_folder_of(&self.path)
            .await
            .map_err(|error| failed(&self.path, error))?;
        Ok(())
    }

    async fn on_disk(&mut self) -> io::Result<()> {
        self.file.flush().await?;
        self.file.get_ref().sync_all().await
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if !self.kept {
            // There is nobody to be told if this fails; what is left has no name of a whole file.
            drop(std::fs::remove_file(&self.part));
        }
    }
}

async fn refuse_to_overwrite(path: &Path) -> Result<()> {
    match fs::try_exists(path).await {
        Ok(false) => Ok(()),
        Ok(true) => Err(Error::invalid(format!(
            "{} exists, and is not overwritten: remove it, or take another name",
            path.display()
        ))),
        Err(error) => Err(failed(path, error)),
    }
}

#[cfg(unix)]
async fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    File::open(folder).await?.sync_all().await
}

fn failed(path: &Path, error: io::Error) -> Error {
    Error::Backend {
        message: format!("cannot write {}: {error}", path.display()),
        outcome: Outcome::NotApplied,
        source: Some(Box::new(error)),
    }
}
