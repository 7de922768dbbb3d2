//! Files in the folder that belong to no plugin, and look as if they should.

use std::fs;
use std::path::{Path, PathBuf};

use crate::dir::{ConfigDir, ENDINGS};
use crate::suggest::closest;

impl ConfigDir {
    /// Tells of each file in the folder whose name is close to that of a plugin, and is that of none, unless
    /// it is in use, because something names it. What else is there may be the business of other programs.
    /// Nothing where the folder cannot be read.
    ///
    /// # Examples
    /// ```
    /// use keyval_config::ConfigDir;
    ///
    /// # let folder = std::env::temp_dir().join(format!("keyval-stray-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder).expect("the temporary folder is writable");
    /// std::fs::write(folder.join("stroe.yaml"), "").expect("the folder is writable");
    /// std::fs::write(folder.join("nginx.conf"), "").expect("the folder is writable");
    /// let told = ConfigDir::new(&folder).stray_files(["store", "probe"]);
    /// assert_eq!(told.len(), 1);
    /// assert!(told[0].ends_with("stroe.yaml belongs to no plugin, did you mean store.yaml?"));
    /// # std::fs::remove_dir_all(&folder).ok();
    /// ```
    #[must_use]
    pub fn stray_files<'a>(&self, plugins: impl IntoIterator<Item = &'a str>) -> Vec<String> {
        let plugins: Vec<&str> = plugins.into_iter().collect();
        let Ok(files) = fs::read_dir(self.path()) else {
            return Vec::new();
        };
        let used = self.used_files(&plugins);
        let paths = files.filter_map(|file| Some(file.ok()?.path()));
        let mut told: Vec<String> = paths
            .filter_map(|path| stray(&path, &plugins, &used))
            .collect();
        told.sort();
        told
    }

    /// The plugins that have a file, with that file. What is wrong with one is told elsewhere.
    fn used_files<'a>(&self, plugins: &[&'a str]) -> Vec<(&'a str, PathBuf)> {
        let used = plugins.iter().filter_map(|plugin| {
            let file = self.find(plugin).ok()??;
            Some((*plugin, file))
        });
        used.collect()
    }
}

fn stray(path: &Path, plugins: &[&str], used: &[(&str, PathBuf)]) -> Option<String> {
    let (name, ending) = (path.file_stem()?.to_str()?, path.extension()?.to_str()?);
    let is_used = || used.iter().any(|(_, file)| are_one(file, path));
    if !ENDINGS.contains(&ending) || plugins.contains(&name) || is_used() {
        return None;
    }
    let meant = closest(name, plugins)?;
    let path = path.display();
    let file = used.iter().find(|(plugin, _)| *plugin == meant);
    Some(match file {
        // It would be a second one under any name.
        Some((_, file)) => {
            let file = file.display();
            format!("{path} belongs to no plugin: {meant} uses {file}")
        }
        None => format!("{path} belongs to no plugin, did you mean {meant}.{ending}?"),
    })
}

/// Whether two paths lead to the same file.
fn are_one(one: &Path, other: &Path) -> bool {
    let whole = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    one == other || whole(one) == whole(other)
}
