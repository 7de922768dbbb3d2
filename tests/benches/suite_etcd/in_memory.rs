//! Where the servers keep their data.

use std::path::Path;

/// Keeps data in memory where `/dev/shm` is, so that no disk is measured, and says where.
pub(crate) fn keep_data_in_memory() {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        drop(tempfile::env::override_temp_dir(memory));
    }
    println!(
        "the server's data is in {}",
        tempfile::env::temp_dir().display()
    );
}
