//! What a snapshot in a file promises.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use keyval::{BrokerExt, Error};
use keyval_etcd::{EtcdConfig, EtcdStore};
use keyval_tests::etcd::Etcd;
use keyval_tests::fake::FakeEtcd;

/// How long a snapshot may take.
const SOON: Duration = Duration::from_secs(60);

/// The names of the files in a folder.
fn files(folder: &Path) -> Vec<String> {
    let items = std::fs::read_dir(folder).expect("it is there");
    let names = items.map(|item| item.expect("it can be read").file_name());
    names
        .map(|name| name.into_string().expect("it is text"))
        .collect()
}

/// Makes the data of a member of a snapshot, as an administrator does.
fn restore(snapshot: &Path, data: &Path) {
    let etcdctl = keyval_tests::etcdctl();
    // Of etcd 3.6 on, only this one can.
    let etcdutl = etcdctl.with_file_name("etcdutl");
    let runs = Command::new(&etcdutl).arg("version").output().is_ok();
    let restored = Command::new(if runs { etcdutl } else { etcdctl })
        .env("ETCDCTL_API", "3")
        .args(["snapshot", "restore"])
        .arg(snapshot)
        .arg("--data-dir")
        .arg(data)
        .output()
        .expect("etcdctl can be started");
    let said = String::from_utf8_lossy(&restored.stderr);
    assert!(restored.status.success(), "{said}");
}

#[tokio::test]
async fn a_member_that_is_restored_from_a_snapshot_has_all_up_to_it() {
    let server = Etcd::start();
    let store = server.store().await;
    let value = vec![7; 100_000];
    for key in 0..20 {
        store.put(format!("{key}"), value.clone()).await.unwrap();
    }
    let last = store.put("last", "before").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("etcd.db");
    let saved = store
        .admin()
        .snapshot(&server.endpoint(), &path, SOON)
        .await
        .unwrap();
    assert_eq!(files(folder.path()), ["etcd.db"]);
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(bytes.len() as u64, saved.size);
    assert!(bytes.ends_with(&saved.sha256));
    assert!(saved.revision >= last, "{saved:?}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "only its owner may read it");
    }

    store.put("last", "after").await.unwrap();
    let data = folder.path().join("restored");
    restore(&path, &data);
    let data = format!("--data-dir={}", data.display());
    let restored = Etcd::start_with(&[&data]);
    let store = restored.store().await;
    assert_eq!(store.get("last").await.unwrap().unwrap().value, "before");
    for key in 0..20 {
        let entry = store.get(format!("{key}")).await.unwrap();
        assert_eq!(entry.unwrap().value, value);
    }
}

#[tokio::test]
async fn a_snapshot_overwrites_nothing() {
    let server = Etcd::start();
    let admin = server.store().await.admin();
    for name in ["etcd.db", "etcd.db.part"] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(name), "dear").unwrap();
        let path = folder.path().join("etcd.db");
        let saved = admin.snapshot(&server.endpoint(), &path, SOON).await;
        let error = saved.unwrap_err();
        assert_eq!(error.kind(), "invalid", "{error}");
        assert!(error.to_string().contains(name), "{error}");
        let kept = std::fs::read_to_string(folder.path().join(name));
        assert_eq!(kept.unwrap(), "dear");
        assert_eq!(files(folder.path()), [name]);
    }
}

#[tokio::test]
async fn a_folder_that_is_missing_is_told() {
    let server = Etcd::start();
    let admin = server.store().await.admin();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing/etcd.db");
    let saved = admin.snapshot(&server.endpoint(), &path, SOON).await;
    let error = saved.unwrap_err();
    assert!(matches!(error, Error::Backend { .. }), "{error}");
    assert!(error.to_string().contains("missing/etcd.db"), "{error}");
}

#[tokio::test]
async fn a_copy_that_is_not_whole_leaves_no_file() {
    let whole = {
        let server = Etcd::start();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("etcd.db");
        let admin = server.store().await.admin();
        let saved = admin.snapshot(&server.endpoint(), &path, SOON).await;
        saved.unwrap();
        std::fs::read(path).unwrap()
    };
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    let short = whole[..whole.len() - 32].to_vec();
    let shorter = whole[..whole.len() - 512].to_vec();
    for (sent, whole) in [
        (whole, true),
        (changed, false),
        (short, false),
        (shorter, false),
        (Vec::new(), false),
    ] {
        let fake = FakeEtcd::new("3.5.16").with_snapshot(sent);
        let endpoint = fake.serve_on_loopback().await.to_string();
        let config = EtcdConfig::default().with_endpoints([&endpoint]);
        let admin = EtcdStore::connect(&config).await.unwrap().admin();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("etcd.db");
        let saved = admin.snapshot(&endpoint, &path, SOON).await;
        assert_eq!(saved.is_ok(), whole, "{saved:?}");
        assert_eq!(files(folder.path()).len(), usize::from(whole));
        if let Err(error) = saved {
            assert!(error.to_string().contains(&endpoint), "{error}");
        }
    }
}
