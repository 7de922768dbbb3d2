//! What covers what: defaults, file, variables, flags, the program.

use std::fs;
use std::time::Duration;

use keyval_config::{ConfigDir, Environment, Error, Origin, Secret, duration};
use serde::Deserialize;
use tempfile::TempDir;

type TestResult = Result<(), Box<dyn std::error::Error>>;

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
struct Store {
    endpoints: Vec<String>,
    #[serde(with = "duration")]
    dial_timeout: Duration,
    user: String,
    password: Secret,
    retries: Option<u8>,
    insecure: bool,
    limits: Limits,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
struct Limits {
    max_operations: u32,
    #[serde(rename = "max_bytes")]
    max_bytes: u32,
}

const FILE: &str = "\
# The store.
endpoints: [file:1]
dial-timeout: 1s
user: file
limits:
  max-operations: 1
";

fn folder(text: &str) -> Result<(TempDir, ConfigDir), std::io::Error> {
    let folder = TempDir::new()?;
    fs::write(folder.path().join("etcd-a.yaml"), text)?;
    let config = ConfigDir::new(folder.path());
    Ok((folder, config))
}

fn variables<const N: usize>(variables: [(&str, &str); N]) -> Environment {
    Environment::from_iter(variables)
}

fn load(config: &ConfigDir) -> Result<Store, Error> {
    Ok(config.load::<Store>("etcd-a")?.value)
}

#[test]
fn each_layer_covers_those_below_it_and_says_where_it_comes_from() -> TestResult {
    let (folder, config) = folder(FILE)?;
    let user = |config: &ConfigDir| -> Result<(String, Origin), Error> {
        let loaded = config.load::<Store>("etcd-a")?;
        // What another layer says does not touch its neighbours.
        assert_eq!(loaded.value.dial_timeout, Duration::from_secs(1));
        assert_eq!(
            loaded.origin,
            Origin::File(folder.path().join("etcd-a.yaml"))
        );
        assert_eq!(loaded.origin_of("retries"), Origin::Defaults);
        let origin = loaded.origin_of("user");
        Ok((loaded.value.user, origin))
    };
    let file = Origin::File(folder.path().join("etcd-a.yaml"));
    assert_eq!(user(&config)?, ("file".into(), file));

    let config = config.with_environment(variables([("ETCD_A__USER", "variable")]));
    let variable = Origin::Variable("ETCD_A__USER".into());
    assert_eq!(user(&config)?, ("variable".into(), variable));

    let config = config.with_flag("etcd-a.user=first")?;
    let config = config.with_flag("etcd-a.user=flag")?;
    let flag = Origin::Flag("etcd-a.user".into());
    assert_eq!(user(&config)?, ("flag".into(), flag));

    let code = config.clone().with_value("etcd-a", "user", "code");
    let origin = Origin::Code("etcd-a.user".into());
    assert_eq!(user(&code)?, ("code".into(), origin.clone()));
    // Whatever the order in which they were given.
    let code = code.with_flag("etcd-a.user=late")?;
    assert_eq!(user(&code)?, ("code".into(), origin));
    Ok(())
}

#[test]
fn without_a_file_single_values_stand_over_the_defaults() -> TestResult {
    let config = ConfigDir::new("/no/such/folder");
    assert_eq!(config.load::<Store>("etcd-a")?.origin, Origin::Defaults);

    let environment = variables([("ETCD_A__LIMITS__MAX_OPERATIONS", "7")]);
    let loaded = config
        .with_environment(environment)
        .load::<Store>("etcd-a")?;
    assert_eq!(loaded.value.limits.max_operations, 7);
    assert_eq!(loaded.value.endpoints, Vec::<String>::new());
    let variable = Origin::Variable("ETCD_A__LIMITS__MAX_OPERATIONS".into());
    assert_eq!(loaded.origin, variable);
    assert_eq!(loaded.origin_of("limits.max-operations"), variable);
    Ok(())
}

#[test]
fn a_single_value_is_of_the_type_that_is_expected() -> TestResult {
    let (_folder, config) = folder(FILE)?;
    let config = config
        .with_flag("etcd-a.endpoints=a:1, b:2")?
        .with_flag("etcd-a.dial-timeout=1m30s")?
        .with_flag("etcd-a.user=007: [not # yaml")?
        .with_flag("etcd-a.password={hunter2}")?
        .with_flag("etcd-a.retries=3")?
        .with_flag("etcd-a.insecure=on")?
        .with_flag("etcd-a.limits={max-operations: 5}")?;
    let store = load(&config)?;
    assert_eq!(store.endpoints, ["a:1", "b:2"]);
    assert_eq!(store.dial_timeout, Duration::from_secs(90));
    assert_eq!(store.user, "007: [not # yaml");
    assert_eq!(store.password.expose(), "{hunter2}");
    assert_eq!(store.retries, Some(3));
    assert!(store.insecure);
    assert_eq!(store.limits.max_operations, 5);

    let config = config
        .with_flag("etcd-a.endpoints=[\"c:3\", d:4]")?
        .with_flag("etcd-a.user=")?
        .with_flag("etcd-a.retries=~")?
        .with_flag("etcd-a.limits.max-operations=6")?;
    let store = load(&config)?;
    assert_eq!(store.endpoints, ["c:3", "d:4"]);
    assert_eq!((&*store.user, store.retries), ("", None));
    assert_eq!(store.limits.max_operations, 6);
    Ok(())
}

#[test]
fn nothing_in_a_value_is_expanded() -> TestResult {
    let (_folder, config) = folder("user: ${HOME} $HOME $(id) `id` %HOME%\n")?;
    let environment = variables([
        ("HOME", "expanded"),
        ("ETCD_A__ENDPOINTS", "$HOME"),
        ("ETCD_EXPAND_ENV_VARIABLES", "true"),
    ]);
    let config = config.with_environment(environment);
    let store = load(&config.with_flag("etcd-a.password=${HOME}")?)?;
    assert_eq!(store.user, "${HOME} $HOME $(id) `id` %HOME%");
    assert_eq!(store.endpoints, ["$HOME"]);
    assert_eq!(store.password.expose(), "${HOME}");
    Ok(())
}

#[test]
fn a_variable_reaches_keys_that_it_cannot_spell() -> TestResult {
    let (_folder, config) = folder("limits: {max_bytes: 1}")?;
    let environment = variables([("ETCD_A__LIMITS__MAX_BYTES", "2")]);
    for config in [config, ConfigDir::new("/no/such/folder")] {
        let loaded = config
            .with_environment(environment.clone())
            .load::<Store>("etcd-a")?;
        assert_eq!(loaded.value.limits.max_bytes, 2);
        let origin = loaded.origin_of("limits.max_bytes");
        assert_eq!(origin, Origin::Variable("ETCD_A__LIMITS__MAX_BYTES".into()));
    }
    Ok(())
}

#[test]
fn variables_of_others_keep_their_meaning() -> TestResult {
    let (_folder, config) = folder(FILE)?;
    let environment = variables([
        ("ETCD_A_ENDPOINTS", "x:9"),
        ("ETCD_A_SERVICE_HOST", "10.0.0.1"),
        ("ETCD__USER", "the plugin etcd is another"),
        ("XETCD_A__USER", "x"),
        ("etcd_a__user", "x"),
        ("ETCD_A__USER", ""),
    ]);
    let store = load(&config.with_environment(environment))?;
    assert_eq!(store.endpoints, ["file:1"]);
    assert_eq!(store.user, "file");
    Ok(())
}

#[test]
fn a_wrong_single_value_is_told_by_its_variable_or_flag() -> TestResult {
    let (_folder, config) = folder(FILE)?;
    for (name, value, told) in [
        (
            "ETCD_A__DIAL_TIMOUT",
            "2s",
            "ETCD_A__DIAL_TIMOUT: unknown key \"dial-timout\", did you mean \"dial-timeout\"? \
             Name the variable ETCD_A__DIAL_TIMEOUT.",
        ),
        (
            "ETCD_A__LIMITS__MAX_OPERATION",
            "2",
            "ETCD_A__LIMITS__MAX_OPERATION: limits: unknown key \"max-operation\", did you mean \
             \"max-operations\"? Name the variable ETCD_A__LIMITS__MAX_OPERATIONS.",
        ),
        (
            "ETCD_A__DIAL_TIMEOUT",
            "2 parsecs",
            "ETCD_A__DIAL_TIMEOUT: \"2 parsecs\" is not a duration: unknown unit \"parsecs\"; write \
             it as 300ms, 1.5s, 1h30m or 1d",
        ),
        (
            "ETCD_A__RETRIES",
            "300",
            "ETCD_A__RETRIES: expected an integer from 0 to 255",
        ),
        (
            "ETCD_A__LIMITS",
            "{max-operations: many}",
            "ETCD_A__LIMITS: limits.max-operations: expected an integer from 0 to 4294967295",
        ),
        (
            "ETCD_A__LIMITS",
            "{max-operations: [",
            "ETCD_A__LIMITS: unclosed bracket '['",
        ),
        (
            "ETCD_A__LIMITS",
            "5",
            "ETCD_A__LIMITS: expected a map, `key: value`",
        ),
        (
            "ETCD_A__USER__NAME",
            "x",
            "ETCD_A__USER__NAME: there is nothing to set below user, which is no map in",
        ),
        (
            "ETCD_A____USER",
            "x",
            "ETCD_A____USER: the name has no key between two __; write ETCD_A__KEY, \
             ETCD_A__MAP__KEY",
        ),
    ] {
        let config = config.clone().with_environment(variables([(name, value)]));
        let error = load(&config).unwrap_err().to_string();
        assert!(error.starts_with(told), "{name}={value}: {error}");
    }

    let deep = format!("etcd-a{}=1", ".limits".repeat(50_000));
    let error = load(&config.clone().with_flag(&deep)?).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("nested more than 32 deep") && error.len() < 1000);

    let config = config.with_flag("etcd-a.limits.max-operations=many")?;
    assert_eq!(
        load(&config).unwrap_err().to_string(),
        "--set etcd-a.limits.max-operations: expected an integer from 0 to 4294967295"
    );
    Ok(())
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_no_text_is_refused() -> TestResult {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    let (_folder, config) = folder(FILE)?;
    let value = OsString::from_vec(b"caf\xe9".to_vec());
    let config = config.with_environment(Environment::from_iter([("ETCD_A__USER", value)]));
    let error = load(&config).unwrap_err().to_string();
    assert_eq!(error, "ETCD_A__USER: the value is not UTF-8");
    Ok(())
}

#[test]
fn no_error_of_a_single_value_shows_a_secret() -> TestResult {
    let (_folder, config) = folder(FILE)?;
    for flag in [
        "etcd-a.password=file:hunter2",
        "etcd-a.pasword=hunter2",
        "etcd-a.password.hunter=hunter2",
        "etcd-a.limits={password: hunter2}",
        "etcd-a.limits=[hunter2",
        "etcd-a.limits={a: *hunter2}",
    ] {
        let config = config.clone().with_flag(flag)?;
        let error = load(&config).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{flag}: {error}");
        assert!(!format!("{error:?} {config:?}").contains("hunter2"));
    }
    let error = config.with_flag("hunter2").unwrap_err();
    assert_eq!(
        error.to_string(),
        "\"--set\" sets nothing: write plugin.key=value"
    );
    Ok(())
}

#[test]
fn a_flag_needs_a_plugin_and_a_key() {
    let told = |flag: &str| {
        let config = ConfigDir::new("config");
        config.with_flag(flag).unwrap_err().to_string()
    };
    for flag in ["etcd=1", "etcd.=1", "etcd..a=1", "etcd.a.=1"] {
        assert!(told(flag).contains("write plugin.key=value"), "{flag}");
    }
    for flag in ["=1", ".a=1", "a/b.c=1"] {
        assert!(told(flag).contains("cannot name a plugin"), "{flag}");
    }
}

#[test]
fn a_flag_for_no_plugin_is_refused_and_not_ignored() -> TestResult {
    let config = ConfigDir::new("config").with_flag("etcd-a.user=x")?;
    config.check_plugins(["store", "etcd-a"])?;
    let told = |config: &ConfigDir| config.check_plugins(["store", "etcd"]).unwrap_err();
    assert_eq!(
        told(&config).to_string(),
        "--set etcd-a.user is about no plugin of this program, did you mean etcd?; \
         there are: store, etcd"
    );
    let config = ConfigDir::new("config").with_file("stoer", "x.yaml");
    let error = told(&config).to_string();
    assert!(error.contains("did you mean store?"), "{error}");
    Ok(())
}
