//! Which etcd the tests run on.

use std::path::{Path, PathBuf};

/// The variable that names an etcd program; it wins over everything else.
const BIN: &str = "KEYVAL_ETCD_BIN";
/// The variable that names a container image with an etcd in it.
const IMAGE: &str = "KEYVAL_ETCD_IMAGE";

/// What to start: a program, or a container image.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    Program(PathBuf),
    Image(String),
}

/// The container image with an etcd in it, for tests that need containers.
///
/// # Panics
/// If none is named.
#[cfg(feature = "containers")]
pub(crate) fn image() -> String {
    std::env::var(IMAGE)
        .unwrap_or_else(|_| panic!("a test in containers needs an image: set {IMAGE}"))
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
    let path = std::env::var_os("PATH").unwrap_or_default();
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/bin");
    std::env::split_paths(&path)
        .chain([fetched])
        .map(|folder| folder.join("etcd"))
        .find(|program| program.is_file())
        .map_or_else(
            || panic!("no etcd to test with: run `cargo xtask etcd`, or set {BIN} or {IMAGE}"),
            Source::Program,
        )
}
