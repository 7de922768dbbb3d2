//! Rules, and configurations that are checked, shown and described without their types.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use keyval_config::{
    Choice, ConfigDir, Environment, Error, Findings, HumanDuration, Secret, Section, Validate,
    duration, parse_valid, schemars,
};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

type TestResult = Result<(), Box<dyn std::error::Error>>;

/// The configuration of a server.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, schemars::JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
struct Server {
    endpoints: Vec<String>,
    #[serde(with = "duration")]
    #[schemars(with = "HumanDuration")]
    dial_timeout: Duration,
    cert_file: Option<String>,
    key_file: Option<String>,
    password: Secret,
    tokens: Vec<Secret>,
    labels: BTreeMap<String, String>,
    limits: Limits,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, schemars::JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
struct Limits {
    /// The most operations.
    max_operations: u16,
    hosts: Vec<Host>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Host {
    name: String,
    ratio: f64,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            endpoints: vec!["127.0.0.1:2379".into()],
            dial_timeout: Duration::from_secs(1),
            cert_file: None,
            key_file: None,
            password: Secret::default(),
            tokens: Vec::new(),
            labels: BTreeMap::new(),
            limits: Limits::default(),
        }
    }
}

impl Validate for Server {
    fn validate(&self, findings: &mut Findings) {
        if self.cert_file.is_some() && self.key_file.is_none() {
            findings.refuse("cert-file", "is set without key-file: write both, or none");
        }
        if self.dial_timeout < Duration::from_millis(1) {
            findings.refuse("dial-timeout", "must be at least 1ms");
        }
        findings.within("limits", &self.limits);
    }
}

impl Validate for Limits {
    fn validate(&self, findings: &mut Findings) {
        for (index, host) in self.hosts.iter().enumerate() {
            if host.name.is_empty() {
                findings.refuse(&format!("hosts[{index}].name"), "must not be empty");
            }
        }
    }
}

fn folder(files: &[(&str, &str)]) -> Result<(TempDir, ConfigDir), std::io::Error> {
    let folder = TempDir::new()?;
    for (name, text) in files {
        fs::write(folder.path().join(name), text)?;
    }
    let config = ConfigDir::new(folder.path());
    Ok((folder, config))
}

/// What an error says, without the folder that it is in.
fn told(folder: &TempDir, error: &Error) -> String {
    let path = format!("{}/", folder.path().display());
    error.to_string().replace(&path, "")
}

#[test]
fn every_rule_that_is_broken_points_at_the_line() -> TestResult {
    let text = "\
cert-file: a.pem
dial-timeout: 5
limits:
  hosts:
    - name: a
    - {ratio: 1}
    - name: ''
";
    let error = parse_valid::<Server>("server.yaml", text).unwrap_err();
    let heads: Vec<String> = error
        .to_string()
        .lines()
        .filter(|line| line.starts_with("server.yaml"))
        .map(str::to_owned)
        .collect();
    assert_eq!(
        heads,
        [
            "server.yaml:1:12: cert-file: is set without key-file: write both, or none",
            "server.yaml:2:15: dial-timeout: must be at least 1ms",
            // It is missing: this is where it should be.
            "server.yaml:6:7: limits.hosts[1].name: must not be empty",
            "server.yaml:7:13: limits.hosts[2].name: must not be empty",
        ]
    );
    let Error::Refused(findings) = error else {
        panic!("not a finding: {error}");
    };
    assert_eq!(findings[0].path(), "cert-file");
    assert_eq!(
        findings[1].snippet(),
        Some("  |\n2 | dial-timeout: 5\n  |               ^")
    );
    Ok(())
}

#[test]
fn a_broken_rule_names_the_variable_or_flag_that_broke_it() -> TestResult {
    let (folder, config) = folder(&[("server.yaml", "key-file: b.pem\ncert-file: a.pem\n")])?;
    config.load_valid::<Server>("server")?;

    let environment = Environment::from_iter([("SERVER__DIAL_TIMEOUT", "0")]);
    let config = config.with_environment(environment);
    let error = config.load_valid::<Server>("server").unwrap_err();
    let expected = "SERVER__DIAL_TIMEOUT: must be at least 1ms";
    assert_eq!(told(&folder, &error), expected);

    // A flag may break the rule for a value of the file.
    let config = config.with_environment(Environment::empty());
    let config = config.with_flag("server.key-file=~")?;
    let error = config.load_valid::<Server>("server").unwrap_err();
    let expected = "server.yaml:2:12: cert-file: is set without key-file: write both, or none";
    assert!(told(&folder, &error).starts_with(expected), "{error}");
    Ok(())
}

#[test]
fn what_is_printed_tells_origins_hides_secrets_and_loads_again() -> TestResult {
    let secret = tempfile::NamedTempFile::new()?;
    fs::write(secret.path(), "hunter2")?;
    let file = secret.path().display();
    let text = format!(
        "# Ours.\nendpoints: [a:1, 'b c']\npassword: hunter2\ntokens: [hunter2, 'file:{file}']\n\
         labels: {{'a b': 'x: \"y\" # z', yes: 'true', n: \"~\", e: \"\\u0007\\n\\x85\\U0001F600\"}}\n\
         limits:\n  hosts: [{{name: left, ratio: 1.5}}]\n"
    );
    let (folder, config) = folder(&[("server.yaml", &text)])?;
    let config = config
        .with_environment(Environment::from_iter([("SERVER__CERT_FILE", "a.pem")]))
        .with_flag("server.key-file=b.pem")?
        .with_value("server", "limits.max-operations", "7");
    let printed = Section::of::<Server>("server").print(&config)?;
    let path = format!("{}/", folder.path().display());
    assert_eq!(
        printed.replace(&path, ""),
        format!(
            "endpoints:  # server.yaml:2\n\
             \x20 - a:1\n\
             \x20 - \"b c\"\n\
             dial-timeout: 1s  # default\n\
             cert-file: a.pem  # SERVER__CERT_FILE\n\
             key-file: b.pem  # --set server.key-file\n\
             # password: \"***\"  # server.yaml:3\n\
             tokens:  # server.yaml:4\n\
             \x20 # - \"***\"\n\
             \x20 - file:{file}\n\
             labels:\n\
             \x20 \"a b\": \"x: \\\"y\\\" # z\"  # server.yaml:5\n\
             \x20 e: \"\\u0007\\n\\u0085\\U0001f600\"  # server.yaml:5\n\
             \x20 \"n\": \"~\"  # server.yaml:5\n\
             \x20 \"yes\": \"true\"  # server.yaml:5\n\
             limits:\n\
             \x20 max-operations: 7  # the program's own server.limits.max-operations\n\
             \x20 hosts:  # server.yaml:7\n\
             \x20   - {{name: left, ratio: 1.5}}\n"
        )
    );

    let mut loaded = config.load::<Server>("server")?.value;
    let again: Server = parse_valid("printed.yaml", &printed)?;
    // But for the secrets, which are not in it.
    assert_eq!(loaded.tokens.remove(0), Secret::new("hunter2"));
    loaded.password = Secret::default();
    assert_eq!(again, loaded);
    Ok(())
}

#[test]
fn the_stars_of_a_printed_secret_are_no_secret() {
    let error = parse_valid::<Server>("server.yaml", "password: '***'").unwrap_err();
    let told = error.to_string();
    let expected = "server.yaml:1:11: password: *** stands for a secret that was not shown; write \
                    the secret itself, or file: and the path of a file that holds it";
    assert!(told.starts_with(expected), "{told}");
}

#[test]
fn a_check_refuses_what_a_start_would_refuse() -> TestResult {
    let section = Section::of::<Server>("server");
    let (folder, config) = folder(&[("server.yaml", "dial-timeout: 5")])?;
    let error = section.check(&config).unwrap_err();
    let expected = "server.yaml:1:15: dial-timeout: must be at least 1ms";
    assert!(told(&folder, &error).starts_with(expected), "{error}");

    let error = section
        .check(&config.with_flag("server.endpoint=a")?)
        .unwrap_err();
    let expected = "--set server.endpoint: unknown key \"endpoint\", did you mean \"endpoints\"?";
    assert_eq!(told(&folder, &error), expected);
    Ok(())
}

/// What stands beside a choice.
#[derive(Debug, Default, Deserialize, PartialEq, Serialize, schemars::JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
struct Hosting {
    allow_delayed_start: Option<bool>,
}

impl Validate for Hosting {}

#[derive(Debug, Default, Deserialize, PartialEq, Serialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Memory {
    limit: u8,
}

impl Validate for Memory {
    fn validate(&self, findings: &mut Findings) {
        if self.limit > 9 {
            findings.refuse("limit", "must be at most 9");
        }
    }
}

/// A type that cannot do without one of its keys.
#[derive(Debug, Default, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Strict {
    url: String,
    port: Option<u16>,
}

impl Validate for Strict {}

fn choice() -> Choice {
    Choice::new("backend", "memory")
        .beside::<Hosting>()
        .with::<Memory>("memory")
        .with::<Server>("server")
        .without("redis", "rebuild with --features redis")
}

fn store() -> Section {
    Section::choice("store", choice())
}

#[test]
fn what_was_chosen_is_read_in_its_type_with_the_keys_beside_it() -> TestResult {
    let text =
        "backend: memory\nallow-delayed-start: true\nmemory: {limit: 4}\nredis: {any: thing}\n";
    let (folder, config) = folder(&[("store.yaml", text)])?;
    let mut chosen = choice().choose("store", &config)?;
    assert_eq!(chosen.name(), "memory");
    assert_eq!(chosen.settings::<Memory>()?, Memory { limit: 4 });
    let beside = Hosting {
        allow_delayed_start: Some(true),
    };
    assert_eq!(chosen.beside::<Hosting>()?, beside);

    let config = config.with_flag("store.allow-delayed-start=perhaps")?;
    let error = store().check(&config).unwrap_err();
    let expected = "--set store.allow-delayed-start: expected true or false";
    assert_eq!(told(&folder, &error), expected);
    Ok(())
}

/// A configuration with a variable of its own.
#[derive(Debug, Default, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Etcd {
    endpoints: Vec<String>,
}

impl Validate for Etcd {
    fn own_variables(&self) -> &'static [(&'static str, &'static [&'static str])] {
        match self.endpoints.is_empty() {
            true => &[("endpoints", &["ETCD_ENDPOINTS", "ETCDV3_ENDPOINTS"])],
            false => &[],
        }
    }
}

#[test]
fn what_nothing_configures_is_disabled_where_it_asks_for_that_and_nowhere_else() -> TestResult {
    let nothing = ConfigDir::new("/no/such/folder");
    let enabled = Section::of::<Etcd>("etcd");
    assert_eq!(enabled.disabled(&nothing)?, None);
    let section = enabled.disabled_unless_configured();
    let why = "nothing configures it; write /no/such/folder/etcd.yaml to enable it";
    assert_eq!(section.disabled(&nothing)?.as_deref(), Some(why));
    assert_eq!(section.print(&nothing)?, format!("# disabled: {why}\n"));

    let (_folder, empty) = folder(&[("etcd.conf", "# nothing yet")])?;
    let variable = |name| Environment::from_iter([(name, "a:1")]);
    for config in [
        empty,
        nothing.clone().with_environment(variable("ETCD_ENDPOINTS")),
        nothing
            .clone()
            .with_environment(variable("ETCD__ENDPOINTS")),
        nothing.clone().with_flag("etcd.endpoints=a:1")?,
    ] {
        assert_eq!(section.disabled(&config)?, None, "{config:?}");
    }
    let wrong = nothing.with_flag("etcd.endpoint=a:1")?;
    assert!(section.disabled(&wrong).is_err());
    Ok(())
}

#[test]
fn a_variable_of_its_own_name_counts_where_nothing_else_is_said() -> TestResult {
    let section = Section::of::<Etcd>("etcd");
    let variables = [("ETCD_ENDPOINTS", " , "), ("ETCDV3_ENDPOINTS", "a:1,,b:2 ")];
    let environment = Environment::from_iter(variables);
    let (_folder, config) = folder(&[("etcd.yaml", "")])?;
    for config in [config, ConfigDir::new("/no/such/folder")] {
        let config = config.with_environment(environment.clone());
        let printed = section.print(&config)?;
        let expected = "endpoints:  # ETCDV3_ENDPOINTS\n  - a:1\n  - b:2\n";
        assert_eq!(printed, expected);
        let loaded = config.load_valid::<Etcd>("etcd")?;
        assert_eq!(loaded.value.endpoints, ["a:1", "b:2"]);
        // A check tells of it as a load does.
        assert_eq!(section.check(&config)?, loaded.origin);

        let printed = section.print(&config.with_flag("etcd.endpoints=c:3")?)?;
        let expected = "endpoints:  # --set etcd.endpoints\n  - c:3\n";
        assert_eq!(printed, expected);
    }
    Ok(())
}

#[test]
fn a_choice_has_its_settings_in_its_section_or_in_its_own_file() -> TestResult {
    let (_folder, config) = folder(&[
        ("server.yaml", "cert-file: a\nkey-file: b\n"),
        ("store.yaml", "backend: server\nmemory: {limit: 3}\n"),
    ])?;
    let printed = store().print(&config)?;
    assert!(printed.starts_with("backend: server  # "), "{printed}");
    assert!(printed.contains("\n  cert-file: a  # "), "{printed}");

    let config = config.with_flag("store.backend=memory")?;
    let printed = store().print(&config)?;
    let expected = "backend: memory  # --set store.backend\nallow-delayed-start: ~  # default\n\
                    memory:\n  limit: 3  # ";
    assert!(printed.starts_with(expected), "{printed}");
    Ok(())
}

#[test]
fn a_choice_that_cannot_be_made_says_what_to_write() -> TestResult {
    for (text, expected) in [
        (
            "backend: redis",
            "store.yaml:1:10: backend: \"redis\" is not compiled in; rebuild with --features redis, \
             or choose one of: memory, server",
        ),
        (
            "backend: memroy",
            "store.yaml:1:10: backend: unknown value \"memroy\", did you mean \"memory\"?",
        ),
        (
            "backend: [memory]",
            "store.yaml:1:10: backend: expected a single value, found a list or a map",
        ),
        (
            "memroy: {}",
            "store.yaml:1:1: unknown key \"memroy\", did you mean \"memory\"?",
        ),
        (
            "backend: memory\nmemory: {limit: 10}",
            "store.yaml:2:17: memory.limit: must be at most 9",
        ),
        (
            "backend: memory\nmemory: {limits: 1}",
            "store.yaml:2:10: memory: unknown key \"limits\", did you mean \"limit\"?",
        ),
        (
            "- memory",
            "store.yaml:1:1: expected a map with the key backend",
        ),
        (
            "backend: server\nserver: {}",
            "the settings of server stand both in store.yaml and in server.yaml; keep one of them",
        ),
    ] {
        let (folder, config) = folder(&[("store.yaml", text), ("server.yaml", "cert-file: ~")])?;
        let error = store().check(&config).unwrap_err();
        let told = told(&folder, &error);
        assert_eq!(told.lines().next(), Some(expected));
    }
    Ok(())
}

#[test]
fn a_file_of_what_is_not_chosen_is_passed_over_only_where_that_was_said() -> TestResult {
    let server = ("server.yaml", "cert-file: ~");
    let refused = |config: &ConfigDir| store().check(config).unwrap_err();

    let (folder_of_one, config) = folder(&[server])?;
    let error = refused(&config);
    assert_eq!(
        told(&folder_of_one, &error),
        "there is server.yaml for server, and store uses memory: write `backend: server` in the file of \
         store, or `backend: memory`"
    );

    let (_folder, config) = folder(&[server, ("store.yaml", "backend: memory")])?;
    store().check(&config)?;
    let named = config.clone().with_file("server", "server.yaml");
    assert_eq!(
        refused(&named).to_string(),
        "there is a file, by the option for plugin server, for server, and store uses memory: write \
         `backend: server` in the file of store, or `backend: memory` and name no file for server"
    );
    // As is one that does not even exist.
    let variables = Environment::from_iter([("SERVER_CONFIG", "/no/such/file")]);
    let error = refused(&config.with_environment(variables)).to_string();
    assert!(
        error.starts_with("there is a file, by SERVER_CONFIG, for server"),
        "{error}"
    );
    Ok(())
}

#[test]
fn whatever_is_said_of_one_where_nothing_is_chosen_is_refused_and_not_passed_over() -> TestResult {
    let nothing = ConfigDir::new("/no/such/folder");
    let variable = |name, value| Environment::from_iter([(name, value)]);
    let set = "store.server.dial-timeout=2s";
    for (config, what) in [
        (
            nothing.clone().with_flag(set)?,
            "--set store.server.dial-timeout",
        ),
        (
            nothing.clone().with_flag("server.dial-timeout=2s")?,
            "--set server.dial-timeout",
        ),
        (
            nothing
                .clone()
                .with_environment(variable("STORE__SERVER__DIAL_TIMEOUT", "2s")),
            "STORE__SERVER__DIAL_TIMEOUT",
        ),
        (
            nothing
                .clone()
                .with_environment(variable("SERVER__DIAL_TIMEOUT", "2s")),
            "SERVER__DIAL_TIMEOUT",
        ),
    ] {
        let told = store().check(&config).unwrap_err().to_string();
        let expected = format!("there is {what} for server, and store uses memory: write ");
        assert!(told.starts_with(&expected), "{told}");
        store().check(&config.with_flag("store.backend=memory")?)?;
    }
    for (section, other) in [
        ("server: {endpoints: [a:1]}", "server"),
        ("server:", "server"),
        ("redis: {}", "redis"),
        // The value of the key was forgotten.
        ("backend:\nserver: {}", "server"),
    ] {
        let text = format!("allow-delayed-start: true\n{section}\n");
        let (folder, config) = folder(&[("store.yaml", &text)])?;
        let error = store().check(&config).unwrap_err();
        let line = text.lines().count();
        let expected =
            format!("there is a section, at store.yaml:{line}, for {other}, and store uses");
        assert!(told(&folder, &error).starts_with(&expected), "{error}");
        assert!(choice().choose("store", &config).is_err());
        store().check(&config.with_flag("store.backend=memory")?)?;
    }
    // Of what is the default all may be said.
    let (_folder, config) = folder(&[("store.yaml", "memory: {limit: 4}")])?;
    store().check(&config)?;
    store().check(&nothing.with_flag("memory.limit=4")?)?;
    Ok(())
}

#[test]
fn a_variable_of_a_types_own_name_chooses_nothing() -> TestResult {
    let choice = Choice::new("backend", "memory")
        .with::<Memory>("memory")
        .with::<Etcd>("etcd");
    let section = Section::choice("store", choice.clone());
    let environment = Environment::from_iter([("ETCD_ENDPOINTS", "a:1")]);
    let config = ConfigDir::new("/no/such/folder").with_environment(environment);
    section.check(&config)?;
    assert_eq!(choice.choose("store", &config)?.name(), "memory");
    Ok(())
}

#[test]
fn a_slip_in_what_is_not_chosen_is_refused_and_nothing_is_required_of_it() -> TestResult {
    for (text, expected) in [
        (
            "server:\n  dial-timuot: 1s",
            "store.yaml:2:3: server: unknown key \"dial-timuot\", did you mean \"dial-timeout\"?",
        ),
        (
            "server: {dial-timeout: soon}",
            "store.yaml:1:24: server.dial-timeout: \"soon\" is not a duration",
        ),
        (
            "server: [a]",
            "store.yaml:1:9: server: expected a map, `key: value`",
        ),
        (
            "server: {limits: {max-tsks: 1}}",
            "store.yaml:1:19: server.limits: unknown key \"max-tsks\"",
        ),
        (
            "server: {password: file:relative}",
            "store.yaml:1:20: server.password: a secret that begins with file: needs",
        ),
    ] {
        let (folder, config) = folder(&[("store.yaml", text)])?;
        let error = store().check(&config).unwrap_err();
        let told = told(&folder, &error);
        assert!(told.starts_with(expected), "{text}: {told}");
    }
    for name in ["STORE__SERVER__DIAL_TIMUOT", "SERVER__DIAL_TIMUOT"] {
        let environment = Environment::from_iter([(name, "1s")]);
        let config = ConfigDir::new("/no/such/folder").with_environment(environment);
        let told = store().check(&config).unwrap_err().to_string();
        assert!(told.starts_with(name), "{told}");
        assert!(told.contains("did you mean \"dial-timeout\"?"), "{told}");
    }
    let lacks = Choice::new("backend", "memory")
        .with::<Memory>("memory")
        .with::<Strict>("strict");
    let (_folder, config) = folder(&[("store.yaml", "backend: memory\nstrict: {port: 1}")])?;
    let section = Section::choice("store", lacks);
    section.check(&config)?;
    assert!(
        section
            .check(&config.with_flag("store.strict.prot=1")?)
            .is_err()
    );
    // What breaks a rule or names a file that is not there may wait until it is chosen.
    let waits = "backend: memory\nserver:\n  dial-timeout: 0s\n  limits: {}\n  password: file:/no/such/file\n";
    let (_folder, config) = folder(&[("store.yaml", waits)])?;
    store().check(&config)?;
    let chosen = config.with_flag("store.backend=server")?;
    assert!(store().check(&chosen).is_err());
    Ok(())
}

/// A type with others in it that cannot do without a key.
#[derive(Debug, Default, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Pair {
    first: Option<Strict>,
    all: Vec<Strict>,
    second: Option<Strict>,
}

impl Validate for Pair {}

#[test]
fn a_slip_behind_a_key_that_is_missing_in_what_is_not_chosen_is_refused() -> TestResult {
    let choice = Choice::new("backend", "memory")
        .with::<Memory>("memory")
        .with::<Pair>("pair");
    let section = Section::choice("store", choice);
    for (text, expected) in [
        (
            "first: {port: 1}, second: {prot: 1}",
            "store.yaml:2:35: pair.second: unknown key \"prot\", did you mean \"port\"?",
        ),
        (
            "first: {}, all: [{port: 1}], second: {port: many}",
            "store.yaml:2:52: pair.second.port: expected an integer",
        ),
        (
            "first: {}, all: [{url: a}, {port: x}]",
            "store.yaml:2:42: pair.all[1].port: expected an integer",
        ),
    ] {
        let text = format!("backend: memory\npair: {{{text}}}");
        let (folder, config) = folder(&[("store.yaml", &text)])?;
        let error = section.check(&config).unwrap_err();
        let told = told(&folder, &error);
        assert!(told.starts_with(expected), "{text}: {told}");
    }
    let text = "backend: memory\npair: {first: {}, all: [{}, {port: 1}], second: {port: 1}}";
    let (_folder, config) = folder(&[("store.yaml", text)])?;
    section.check(&config)?;
    section.check(&config.with_flag("store.pair.first={port: 1}")?)?;
    Ok(())
}

/// A type that names a file, and one that holds it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
struct Tls {
    ca_file: String,
}

impl Validate for Tls {
    fn validate(&self, findings: &mut Findings) {
        if self.ca_file == "none" {
            findings.refuse("ca-file", "must be a file");
        }
    }

    fn inspect(&self, findings: &mut Findings) {
        if !std::path::Path::new(&self.ca_file).exists() {
            findings.refuse("ca-file", "does not exist");
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Both {
    tls: Tls,
}

impl Validate for Both {
    fn validate(&self, findings: &mut Findings) {
        findings.within("tls", &self.tls);
    }

    fn inspect(&self, findings: &mut Findings) {
        findings.within("tls", &self.tls);
    }
}

#[test]
fn what_a_configuration_inside_of_another_names_is_looked_at_after_its_rules() -> TestResult {
    for (file, why) in [
        ("none", "must be a file"),
        ("/no/such/file", "does not exist"),
    ] {
        let text = format!("tls: {{ca-file: {file}}}");
        let (folder, config) = folder(&[("both.yaml", &text)])?;
        let error = config.load_valid::<Both>("both").unwrap_err();
        let expected = format!("both.yaml:1:16: tls.ca-file: {why}\n");
        assert!(told(&folder, &error).starts_with(&expected), "{error}");
        assert_eq!(error.to_string().matches("ca-file: ").count(), 1, "{error}");
    }
    Ok(())
}

#[test]
fn the_schema_knows_every_key_its_default_and_no_other() -> TestResult {
    let schema: serde_json::Value = serde_json::from_str(&Section::of::<Server>("s").schema())?;
    assert_eq!(schema["additionalProperties"], false);
    let properties = &schema["properties"];
    assert_eq!(properties["dial-timeout"]["default"], "1s");
    assert_eq!(
        properties["endpoints"]["default"],
        serde_json::json!(["127.0.0.1:2379"])
    );
    let keys: Vec<&String> = properties
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, _)| key)
        .collect();
    assert_eq!(
        keys,
        [
            "cert-file",
            "dial-timeout",
            "endpoints",
            "key-file",
            "labels",
            "limits",
            "password",
            "tokens"
        ]
    );
    // Durations, secrets and limits stand once, and are referred to.
    for (name, definition) in [
        ("Duration", "pattern"),
        ("Secret", "writeOnly"),
        ("Limits", "properties"),
    ] {
        assert!(
            schema["definitions"][name][definition] != serde_json::Value::Null,
            "{name}"
        );
    }

    let schema: serde_json::Value = serde_json::from_str(&store().schema())?;
    assert_eq!(
        schema["properties"]["backend"]["enum"],
        serde_json::json!(["memory", "server"])
    );
    assert_eq!(
        schema["properties"]["memory"]["anyOf"][0]["properties"]["limit"]["type"],
        "integer"
    );
    Ok(())
}
