//! Which etcd the tests run on.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The variable that names an etcd program; it wins over everything else.
const BIN: &str = "KEYVAL_ETCD_BIN";
/// The variable that names a container image with an etcd in it.
const IMAGE: &str = "KEYVAL_ETCD_IMAGE";

/// The variable that names an etcdctl program; it wins over everything else.
const CTL_BIN: &str = "KEYVAL_ETCDCTL_BIN";

/// What to start: a program, or a container image.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    Program(PathBuf),
    Image(String),
}

/// The etcd to test with: `KEYVAL_ETCD_BIN`, `KEYVAL_ETCD_IMAGE`, PATH, or what
/// `cargo xtask etcd` has fetched.
///
/// # Panics
/// If there is none, with what to do about it.
pub(crate) fn find() -> Source {
    if let Some(program) = std::env::var_os(BIN) {
        return Source::Program(program.into());
    }
    if let Some(image) = std::env::var_os(IMAGE) {
        let image = image.into_string();
        return Source::Image(image.expect("the name of an image is text"));
    }
    installed("etcd").map_or_else(
        || panic!("no etcd to test with: run `cargo xtask etcd`, or set {BIN} or {IMAGE}"),
        Source::Program,
    )
}

/// etcd's own command line: `KEYVAL_ETCDCTL_BIN`, the one beside `KEYVAL_ETCD_BIN`, on PATH, or
/// what `cargo xtask etcd` has fetched.
///
/// # Panics
/// If there is none, with what to do about it.
#[must_use]
pub fn etcdctl() -> PathBuf {
    if let Some(program) = std::env::var_os(CTL_BIN) {
        return program.into();
    }
    let etcd = std::env::var_os(BIN).map(PathBuf::from);
    etcd.map(|etcd| etcd.with_file_name("etcdctl"))
        .filter(|program| runs(program))
        .or_else(|| installed("etcdctl"))
        .unwrap_or_else(|| {
            panic!("no etcdctl to test with: run `cargo xtask etcd`, or set {CTL_BIN}")
        })
}

/// The program on PATH, or among those that were fetched.
fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/bin");
    std::env::split_paths(&path)
        .chain([fetched])
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

/// Whether it can be started: an unpacked wheel has programs that cannot.
fn runs(program: &Path) -> bool {
    let version = Command::new(program).arg("version").output();
    version.is_ok_and(|version| version.status.success())
}
