//! What is wrong from the start ends the start: with what to change, and nothing left half started.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::{Arc, Mutex};

use keyval::BrokerExt;
use plugin_runtime::{
    Backends, ConfigDir, Context, Host, KvHandle, KvPlugin, MemoryBackend, Plugin, PluginResult,
    WaitPolicy,
};
use tempfile::TempDir;

/// A plugin that writes down what is done to it.
struct Witness(&'static str, Arc<Mutex<Vec<String>>>);

impl Witness {
    fn note(&self, what: &str) {
        self.1.lock().unwrap().push(format!("{what} {}", self.0));
    }
}

impl Plugin for Witness {
    type Handle = ();

    fn name(&self) -> &str {
        self.0
    }

    fn handle(&self) {}

    async fn init(&mut self, _cx: &mut Context) -> PluginResult {
        self.note("init");
        Ok(())
    }

    async fn close(&mut self) -> PluginResult {
        self.note("close");
        Ok(())
    }
}

/// Runs an agent with a plugin before and one behind what `add` adds, which must end its start.
///
/// Returns the error, without the folder it is about.
async fn refused(folder: &Path, add: impl FnOnce(&mut Host)) -> String {
    let notes = Arc::default();
    let mut host = Host::new(ConfigDir::new(folder));
    host.add(Witness("before", Arc::clone(&notes)));
    add(&mut host);
    host.add(Witness("behind", Arc::clone(&notes)));
    let error = host.run(std::future::pending()).await.unwrap_err();
    // What was up is closed, and what comes later was never begun.
    assert_eq!(*notes.lock().unwrap(), ["init before", "close before"]);
    let folder = format!("{}/", folder.display());
    error.to_string().replace(&folder, "")
}

fn folder(file: &str, text: impl AsRef<[u8]>) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(file), text).unwrap();
    folder
}

#[tokio::test]
async fn wrong_yaml_of_every_kind_ends_the_start_with_its_place() {
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let below = vec![format!("*a{}", level - 1); 9].join(", ");
        laughs.push_str(&format!("a{level}: &a{level} [{below}]\n"));
    }
    let at = |text: &str, place: &str| (text.to_owned(), place.to_owned());
    for (text, told) in [
        at("min-tll: 2s", ":1:1: unknown key \"min-tll\""),
        at("min-ttl: 2s\nmin-ttl: 3s", ":2:1: key \"min-ttl\" is set"),
        at("max-txn-ops: many", ":1:14: max-txn-ops: expected an int"),
        at("max-txn-ops: 0", ":1:14: max-txn-ops: is 0: give it a"),
        at("min-ttl: soon", ":1:10: min-ttl: \"soon\" is not a dura"),
        at("min-ttl: 'soon", ":1:10: unclosed quote"),
        at("[2s]", ":1:1: expected a map"),
        at("min-ttl: 2s\n---\n", ":2:1: a second document begins"),
        at(&"[".repeat(1000), ": nested more than 32 deep"),
        at(&laughs, ": aliases multiply to too many values"),
        at(&"#".repeat(10 << 20), " is larger than 1048576 bytes"),
    ] {
        let folder = folder("store.yaml", &text);
        let error = refused(folder.path(), |host| {
            host.add(KvPlugin::<MemoryBackend>::named("store"));
        });
        let error = error.await;
        let start = error.strip_prefix("plugin store failed in init: store.yaml");
        let text: String = text.chars().take(40).collect();
        let start = start.unwrap_or_else(|| panic!("{text:?}: {error}"));
        let (place, words) = told.split_once(": ").unwrap_or((&told, ""));
        assert!(
            start.starts_with(place) && start.contains(words),
            "{text:?}: {error}"
        );
        assert!(error.len() < 1000, "{text:?}: {error}");
    }
}

#[tokio::test]
async fn a_configuration_that_is_no_text_or_no_file_ends_the_start() {
    let garbage = folder("store.yaml", b"min-ttl: \xff\xfe");
    let named_as_folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(named_as_folder.path().join("store.yaml")).unwrap();
    for (folder, words) in [(garbage, "UTF-8"), (named_as_folder, "not a regular file")] {
        let error = refused(folder.path(), |host| {
            host.add(KvPlugin::<MemoryBackend>::named("store"));
        });
        let error = error.await;
        assert!(
            error.contains("store.yaml") && error.contains(words),
            "{error}"
        );
    }
}

#[tokio::test]
async fn an_unknown_backend_ends_the_start_with_those_that_there_are() {
    let folder = folder("store.yaml", "backend: redis");
    let error = refused(folder.path(), |host| {
        let backends = Backends::new().without("etcd", "rebuild with --features etcd");
        host.add(KvPlugin::chosen("store", backends));
    });
    assert_eq!(
        error.await.lines().next().unwrap(),
        "plugin store failed in init: store.yaml:1:10: backend: unknown value \"redis\", \
         expected one of memory"
    );
}

/// A plugin that cannot do without its store.
struct Needs(KvHandle);

impl Plugin for Needs {
    type Handle = ();

    fn name(&self) -> &str {
        "needs"
    }

    fn handle(&self) {}

    async fn init(&mut self, _cx: &mut Context) -> PluginResult {
        self.0.put("needs", "is here").await?;
        Ok(())
    }
}

#[tokio::test]
async fn a_missing_dependency_ends_the_start_at_once_by_its_name() {
    // A handle comes from a plugin; here is one that was never added.
    let store = KvPlugin::<MemoryBackend>::named("store").handle();
    let error = refused(Path::new("/no/such/folder"), |host| {
        host.add(Needs(store.with_wait(WaitPolicy::UntilConnected)));
    });
    assert_eq!(
        error.await,
        "plugin needs failed in init: the store of plugin store \
         (its plugin never came up; was it added to the host?) is closed"
    );
}

#[cfg(feature = "probe")]
#[tokio::test]
async fn a_port_in_use_leaves_nothing_half_started() {
    use plugin_runtime::{ProbePlugin, ProbeSettings};

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = refused(Path::new("/no/such/folder"), |host| {
        let settings = ProbeSettings::default().with_listen(address);
        host.add(ProbePlugin::new(host.status()).with_settings(settings));
    });
    let error = error.await;
    assert!(
        error.contains("set another port as `listen`") && error.contains(&address.to_string()),
        "{error}"
    );
}

#[cfg(feature = "etcd")]
mod certificates {
    use keyval_etcd::EtcdConnector;

    use super::*;

    async fn refused_with(yaml: &str) -> String {
        let folder = folder("etcd.yaml", yaml);
        let path = folder.path().join("empty.pem");
        std::fs::write(path, "").unwrap();
        let yaml = yaml.replace("..", &folder.path().display().to_string());
        std::fs::write(folder.path().join("etcd.yaml"), yaml).unwrap();
        let add = |host: &mut Host| {
            host.add(KvPlugin::<EtcdConnector>::named("etcd"));
        };
        refused(folder.path(), add).await
    }

    #[tokio::test]
    async fn certificate_files_of_no_use_end_the_start_with_key_and_file() {
        for (yaml, words) in [
            ("ca-file: ../missing.pem", ["ca-file", "missing.pem"]),
            ("ca-file: ../empty.pem", ["ca-file", "empty.pem"]),
            ("ca-file: ../", ["ca-file", "not a regular file"]),
            (
                "cert-file: ../empty.pem\nkey-file: ../missing.pem",
                ["-file", ".pem"],
            ),
        ] {
            let error = refused_with(yaml).await;
            assert!(error.starts_with("plugin etcd failed in "), "{error}");
            for word in words {
                assert!(error.contains(word), "{yaml}: {error}");
            }
        }
    }

    /// Files that are there and cannot be read by this user, beside one of no use; below `folder`.
    #[cfg(unix)]
    fn unreadable(folder: &Path) -> Vec<(&'static str, &'static str)> {
        use std::os::unix::fs::PermissionsExt;

        let closed = folder.join("closed.pem");
        std::fs::write(folder.join("empty.pem"), "").unwrap();
        std::fs::write(&closed, "").unwrap();
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o000)).unwrap();
        let mut files = vec![("empty.pem/behind.pem", "Not a directory")];
        if std::fs::File::open(&closed).is_ok() {
            println!("not checked: a file without permissions; this user may read every file");
        } else {
            files.push(("closed.pem", "Permission denied"));
        }
        files
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn certificate_files_that_may_not_be_read_are_refused_with_their_path_and_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let path = |file: &str| folder.path().join(file).display().to_string();
        for (file, why) in unreadable(folder.path()) {
            let (file, empty) = (path(file), path("empty.pem"));
            for (yaml, place) in [
                (format!("ca-file: {file}"), ":1:10: ca-file: "),
                (
                    format!("key-file: {empty}\ncert-file: {file}"),
                    ":2:12: cert-file: ",
                ),
                (
                    format!("cert-file: {empty}\nkey-file: {file}"),
                    ":2:11: key-file: ",
                ),
            ] {
                std::fs::write(folder.path().join("etcd.yaml"), &yaml).unwrap();
                // What --check-config says, and then what a start does.
                let mut host = Host::new(ConfigDir::new(folder.path()));
                host.add(KvPlugin::<EtcdConnector>::named("etcd"));
                let checked = host.sections()[0].check(host.config()).unwrap_err();
                let started = refused(folder.path(), |host| {
                    host.add(KvPlugin::<EtcdConnector>::named("etcd"));
                });
                let started = started.await;
                let inside = format!("{}/", folder.path().display());
                for told in [checked.to_string(), started] {
                    let told = told.replace(&inside, "");
                    let file = file.replace(&inside, "");
                    for part in [
                        format!("etcd.yaml{place}{file} is of no use: {why}"),
                        "; name a file of PEM that this program may read".to_owned(),
                    ] {
                        assert!(told.contains(&part), "{yaml}: no {part} in {told}");
                    }
                }
            }
        }
    }

    #[tokio::test]
    async fn a_certificate_without_its_key_ends_the_start_with_its_line() {
        let error = refused_with("endpoints: [a:2379]\ncert-file: ../empty.pem").await;
        assert!(error.contains("etcd.yaml:2:12: cert-file"), "{error}");
        assert!(error.contains("key-file"), "{error}");
    }
}
