//! Finds etcd's own command line for the tests, fetching it if the system has none.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::etcd::Etcd;
use crate::fetch::{self, Program};
use crate::shell::{capture_ok, command, on_path};

/// The variable that names an etcdctl program; it wins over everything else.
const BIN: &str = "KEYVAL_ETCDCTL_BIN";
/// How long it may take to answer.
const ASK: Duration = Duration::from_secs(20);

const REMEDY: &str = "\
no etcdctl could be found or fetched. Do one of these:
  - install one (Debian and Ubuntu: `apt-get install etcd-client`; macOS: `brew install etcd`)
  - name one: KEYVAL_ETCDCTL_BIN=/path/to/etcdctl";

/// The first etcdctl that answers: the variable's, the one beside this etcd, the one on PATH, or
/// one that is fetched.
///
/// # Errors
/// `KEYVAL_ETCDCTL_BIN` is set to something that is no etcdctl, or there is none at all.
pub(crate) fn find(etcd: &Etcd) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(BIN).map(PathBuf::from) {
        // An explicit wish is never replaced by a guess.
        ask(&path).map_err(|why| Error::failed(format!("{BIN} names no etcdctl: {why}")))?;
        return Ok(path);
    }
    let beside = etcd.program().map(|etcd| etcd.with_file_name("etcdctl"));
    let installed = beside.into_iter().chain(on_path("etcdctl"));
    for path in installed {
        if ask(&path).is_ok() {
            return Ok(path);
        }
    }
    for fetch in [fetch::apt, fetch::pypi] {
        match fetch(Program::Etcdctl).and_then(|path| ask(&path).map(|()| path)) {
            Ok(path) => {
                fetch::publish(&path, Program::Etcdctl)?;
                return Ok(path);
            }
            Err(why) => eprintln!("  no etcdctl fetched: {why}"),
        }
    }
    Err(Error::failed(REMEDY))
}

fn ask(program: &Path) -> Result<()> {
    capture_ok(command(&program.to_string_lossy(), &["version"]), ASK).map(drop)
}
