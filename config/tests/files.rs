//! Which file a plugin gets, and what happens when it is not there.

use std::fs;
use std::time::Duration;

use keyval_config::{ConfigDir, Environment, Error, Origin, duration, read};
use serde::Deserialize;
use tempfile::TempDir;

type TestResult = Result<(), Box<dyn std::error::Error>>;

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Named {
    name: String,
}

fn folder(files: &[(&str, &str)]) -> Result<TempDir, Box<dyn std::error::Error>> {
    let folder = TempDir::new()?;
    for (name, text) in files {
        fs::write(folder.path().join(name), text)?;
    }
    Ok(folder)
}

fn name_of(config: &ConfigDir, plugin: &str) -> Result<String, Error> {
    Ok(config.load::<Named>(plugin)?.value.name)
}

#[test]
fn a_plugin_without_a_file_runs_on_its_defaults() -> TestResult {
    let folder = folder(&[("other.yaml", "name: other")])?;
    let config = ConfigDir::new(folder.path());
    assert_eq!(config.find("etcd")?, None);
    let loaded = config.load::<Named>("etcd")?;
    assert_eq!(loaded.value, Named::default());
    assert_eq!(loaded.origin, Origin::Defaults);
    assert_eq!(loaded.origin.to_string(), "defaults");
    Ok(())
}

#[test]
fn the_endings_are_tried_in_order() -> TestResult {
    let endings = ["yaml", "yml", "conf"];
    let folder = TempDir::new()?;
    let config = ConfigDir::new(folder.path());
    for ending in endings {
        let path = folder.path().join(format!("etcd.{ending}"));
        fs::write(path, format!("name: {ending}"))?;
    }
    for ending in endings {
        let path = folder.path().join(format!("etcd.{ending}"));
        let loaded = config.load::<Named>("etcd")?;
        assert_eq!(loaded.value.name, ending);
        assert_eq!(loaded.origin.to_string(), path.display().to_string());
        fs::remove_file(path)?;
    }
    assert_eq!(config.find("etcd")?, None);
    Ok(())
}

#[test]
fn an_option_beats_the_variable_and_the_variable_beats_the_folder() -> TestResult {
    let folder = folder(&[
        ("etcd-backup.yaml", "name: folder"),
        ("variable.yaml", "name: variable"),
        ("option.yaml", "name: option"),
    ])?;
    let config = ConfigDir::new(folder.path());
    assert_eq!(name_of(&config, "etcd-backup")?, "folder");

    let path = folder.path().join("variable.yaml");
    let config = config.with_environment(Environment::from_iter([(
        "ETCD_BACKUP_CONFIG",
        path.as_os_str(),
    )]));
    assert_eq!(name_of(&config, "etcd-backup")?, "variable");

    let config = config.with_file("etcd-backup", folder.path().join("option.yaml"));
    assert_eq!(name_of(&config, "etcd-backup")?, "option");
    Ok(())
}

#[test]
fn a_relative_name_is_looked_for_in_the_folder_too() -> TestResult {
    let folder = folder(&[("special.conf", "name: special")])?;
    let environment = Environment::from_iter([("ETCD_CONFIG", "special.conf")]);
    let config = ConfigDir::new(folder.path()).with_environment(environment);
    assert_eq!(name_of(&config, "etcd")?, "special");
    Ok(())
}

#[test]
fn a_file_named_explicitly_must_exist() -> TestResult {
    let folder = folder(&[("etcd.yaml", "name: folder")])?;
    let absent = folder.path().join("absent.yaml");

    let config = ConfigDir::new(folder.path()).with_file("etcd", &absent);
    assert_eq!(
        config.load::<Named>("etcd").unwrap_err().to_string(),
        format!(
            "the option for plugin etcd names {}, which does not exist",
            absent.display()
        )
    );

    let environment = Environment::from_iter([("ETCD_CONFIG", "absent.yaml")]);
    let config = ConfigDir::new(folder.path()).with_environment(environment);
    assert_eq!(
        config.load::<Named>("etcd").unwrap_err().to_string(),
        format!(
            "ETCD_CONFIG names absent.yaml or {}, which does not exist",
            absent.display()
        )
    );
    Ok(())
}

#[test]
fn a_variable_set_to_nothing_counts_as_not_set() -> TestResult {
    let folder = folder(&[("etcd.yaml", "name: folder")])?;
    let environment = Environment::from_iter([("ETCD_CONFIG", ""), ("CONFIG_DIR", "")]);
    let config = ConfigDir::from_environment(folder.path(), environment)?;
    assert_eq!(name_of(&config, "etcd")?, "folder");
    Ok(())
}

#[test]
fn the_variable_config_dir_names_the_folder() -> TestResult {
    let named = folder(&[("etcd.yaml", "name: named")])?;
    let default = folder(&[("etcd.yaml", "name: default")])?;
    let environment = Environment::from_iter([("CONFIG_DIR", named.path())]);
    let config = ConfigDir::from_environment(default.path(), environment)?;
    assert_eq!(name_of(&config, "etcd")?, "named");

    let config = ConfigDir::from_environment(default.path(), Environment::empty())?;
    assert_eq!(name_of(&config, "etcd")?, "default");
    Ok(())
}

#[test]
fn a_folder_named_by_the_variable_must_exist_and_be_one() -> TestResult {
    let folder = folder(&[("etcd.yaml", "name: folder")])?;
    for wrong in ["absent", "etcd.yaml"] {
        let path = folder.path().join(wrong);
        let environment = Environment::from_iter([("CONFIG_DIR", &path)]);
        let error = ConfigDir::from_environment("config", environment).unwrap_err();
        let expected = match wrong {
            "absent" => format!("CONFIG_DIR names {}, which does not exist", path.display()),
            _ => format!(
                "cannot read {}: CONFIG_DIR names it, but it is not a folder",
                path.display()
            ),
        };
        assert_eq!(error.to_string(), expected);
    }
    // The default is a habit, not a wish: it need not be there.
    let config = ConfigDir::from_environment("no/such/folder", Environment::empty())?;
    assert_eq!(config.find("etcd")?, None);
    Ok(())
}

#[test]
fn a_plugin_name_cannot_leave_the_folder() {
    let config = ConfigDir::new("config");
    for name in ["", "../etcd", "a/b", "a.b", "-x", "a b", "\u{e9}tcd", "a\0"] {
        let error = config.find(name).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "{name:?} cannot name a plugin's configuration: \
                 use ASCII letters, digits, - and _, beginning with a letter or digit"
            )
        );
    }
}

#[test]
fn what_is_no_regular_file_is_refused_and_not_waited_for() -> TestResult {
    let folder = TempDir::new()?;
    let path = folder.path().join("etcd.yaml");
    fs::create_dir(&path)?;
    let error = ConfigDir::new(folder.path())
        .load::<Named>("etcd")
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot read {}: it is not a regular file", path.display())
    );

    let error = read::<Named>("/dev/zero").unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot read /dev/zero: it is not a regular file"
    );
    Ok(())
}

#[cfg(unix)]
#[test]
fn a_link_to_nowhere_is_an_error_and_not_an_absent_file() -> TestResult {
    let folder = TempDir::new()?;
    std::os::unix::fs::symlink("absent.yaml", folder.path().join("etcd.yaml"))?;
    let error = ConfigDir::new(folder.path())
        .load::<Named>("etcd")
        .unwrap_err();
    assert!(
        error.to_string().contains("etcd.yaml: No such file"),
        "{error}"
    );
    Ok(())
}

#[test]
fn a_file_changed_between_two_loads_is_read_anew() -> TestResult {
    let folder = folder(&[("etcd.yaml", "name: before")])?;
    let config = ConfigDir::new(folder.path());
    assert_eq!(name_of(&config, "etcd")?, "before");
    fs::write(folder.path().join("etcd.yaml"), "name: after")?;
    assert_eq!(name_of(&config, "etcd")?, "after");
    Ok(())
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
struct Etcd {
    endpoints: Vec<String>,
    #[serde(with = "duration")]
    dial_timeout: Duration,
    #[serde(with = "duration")]
    operation_timeout: Duration,
    insecure_transport: bool,
    insecure_skip_tls_verify: bool,
    cert_file: Option<String>,
    key_file: Option<String>,
    ca_file: Option<String>,
    #[serde(with = "duration")]
    auto_compact: Duration,
    resync_after_reconnect: bool,
    allow_delayed_start: bool,
    #[serde(with = "duration")]
    reconnect_interval: Duration,
    #[serde(with = "duration::seconds")]
    session_ttl: Duration,
    expand_env_variables: bool,
}

impl Default for Etcd {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            dial_timeout: Duration::from_secs(1),
            operation_timeout: Duration::from_secs(3),
            insecure_transport: false,
            insecure_skip_tls_verify: false,
            cert_file: None,
            key_file: None,
            ca_file: None,
            auto_compact: Duration::ZERO,
            resync_after_reconnect: false,
            allow_delayed_start: false,
            reconnect_interval: Duration::from_secs(2),
            session_ttl: Duration::from_secs(5),
            expand_env_variables: false,
        }
    }
}

#[test]
fn an_etcd_conf_of_cn_infra_loads_unchanged() -> TestResult {
    let text = r#"
# One or more endpoints, host:port.
endpoints: ["127.0.0.1:2379", "127.0.0.1:2380"]
dial-timeout: 1000000000
operation-timeout: 3s
insecure-transport: true
insecure-skip-tls-verify: false
cert-file: /etc/etcd/cert.pem
key-file:
ca-file: ""
auto-compact: 0
resync-after-reconnect: on
allow-delayed-start: true
reconnect-interval: 2000000000
session-ttl: 10
"#;
    let folder = folder(&[("etcd.conf", text)])?;
    let etcd = ConfigDir::new(folder.path()).load::<Etcd>("etcd")?;
    let expected = Etcd {
        endpoints: vec!["127.0.0.1:2379".into(), "127.0.0.1:2380".into()],
        insecure_transport: true,
        cert_file: Some("/etc/etcd/cert.pem".into()),
        ca_file: Some(String::new()),
        resync_after_reconnect: true,
        allow_delayed_start: true,
        session_ttl: Duration::from_secs(10),
        ..Etcd::default()
    };
    assert_eq!(etcd.value, expected);
    assert_eq!(etcd.origin, Origin::File(folder.path().join("etcd.conf")));
    Ok(())
}
