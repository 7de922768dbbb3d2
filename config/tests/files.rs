//! Which file a plugin gets, and what happens when it is not there.

use std::fs;

use keyval_config::{ConfigDir, Environment, Error, Origin, check_names, read};
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
fn the_endings_are_tried_in_order_and_two_spellings_of_one_are_refused() -> TestResult {
    let endings = ["yaml", "conf"];
    let folder = TempDir::new()?;
    let config = ConfigDir::new(folder.path());
    let write = |ending| {
        let path = folder.path().join(format!("etcd.{ending}"));
        fs::write(path, format!("name: {ending}"))
    };
    write("conf")?;
    write("yml")?;
    assert_eq!(name_of(&config, "etcd")?, "yml");
    write("yaml")?;
    let error = config.find("etcd").unwrap_err().to_string();
    let path = folder.path().join("etcd");
    let path = path.display();
    assert_eq!(
        error,
        format!("there are both {path}.yaml and {path}.yml: keep one of them")
    );
    fs::remove_file(folder.path().join("etcd.yml"))?;
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
                 use at most 63 ASCII letters, digits, - and _, beginning with a letter or digit"
            )
        );
    }
    assert!(config.find(&"x".repeat(63)).is_ok());
    let told = config.find(&"x".repeat(10_000)).unwrap_err().to_string();
    assert!(
        told.contains("use at most 63") && told.len() < 300,
        "{told}"
    );
}

#[test]
fn names_that_variables_cannot_tell_apart_are_refused() {
    for names in [
        ["a-b", "a_b"],
        ["A", "a"],
        ["a", "a__b"],
        ["a--b", "a"],
        ["a", "a_"],
    ] {
        let told = check_names(names).unwrap_err().to_string();
        for name in names {
            assert!(told.contains(&format!("{name:?}")), "{told}");
        }
    }
    for taken in ["check", "print"] {
        let told = check_names(["a", taken]).unwrap_err().to_string();
        assert!(told.contains(&format!("--{taken}-config")), "{told}");
    }
    check_names(["a", "ab", "a-b", "a-bc", "b"]).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn a_file_that_is_almost_that_of_a_plugin_is_told_and_others_are_left_alone() -> TestResult {
    let files = [
        "stroe.yaml",
        "Store.yml",
        "store.yaml",
        "nginx.conf",
        "sotre.txt",
        "prob.conf",
    ];
    let folder = folder(&files.map(|name| (name, "")))?;
    let told = ConfigDir::new(folder.path()).stray_files(["store", "probe"]);
    let path = format!("{}/", folder.path().display());
    let told: Vec<String> = told.iter().map(|line| line.replace(&path, "")).collect();
    assert_eq!(
        told,
        [
            // To take another name would make a second file of it.
            "Store.yml belongs to no plugin: store uses store.yaml",
            "prob.conf belongs to no plugin, did you mean probe.conf?",
            "stroe.yaml belongs to no plugin: store uses store.yaml",
        ]
    );
    assert!(
        ConfigDir::new("/no/such/folder")
            .stray_files(["store"])
            .is_empty()
    );
    Ok(())
}

#[test]
fn a_file_that_something_names_is_in_use_and_told_by_nobody() -> TestResult {
    let folder = folder(&[("store2.yaml", "")])?;
    let plain = ConfigDir::new(folder.path());
    assert_eq!(plain.stray_files(["store"]).len(), 1);
    let variable = Environment::from_iter([("STORE_CONFIG", "store2.yaml")]);
    let around = folder.path().join(".").join("store2.yaml");
    for config in [
        plain.clone().with_environment(variable),
        plain.clone().with_file("store", "store2.yaml"),
        plain
            .clone()
            .with_file("store", folder.path().join("store2.yaml")),
        plain.with_file("store", around),
    ] {
        assert_eq!(config.stray_files(["store"]), [""; 0]);
    }
    Ok(())
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
