//! The standard flags: what they change, and what they answer instead of a run.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used)]

use std::fs;

use clap::{Arg, ArgAction, Args, Command, FromArgMatches};
use keyval_config::{Environment, Origin};
use plugin_runtime::{
    Backends, Context, Host, KvPlugin, MemoryBackend, Plugin, PluginResult, Section, StandardArgs,
};
use tempfile::TempDir;

/// A program's own command, with the standard flags in it.
fn command() -> Command {
    let demo = Arg::new("demo").long("demo").action(ArgAction::SetTrue);
    let command = StandardArgs::augment_args(Command::new("agent")).arg(demo);
    StandardArgs::with_plugins(command, ["store", "backup", "check"])
}

fn parse(arguments: &[&str]) -> StandardArgs {
    let arguments = ["agent", "--demo"].iter().chain(arguments);
    let matches = command().try_get_matches_from(arguments).unwrap();
    assert!(matches.get_flag("demo"));
    StandardArgs::from_arg_matches(&matches).unwrap()
}

/// A host with two stores, of which nothing is started.
fn host(args: &StandardArgs, folder: &TempDir) -> Host {
    let config = args.config_in(folder.path(), Environment::empty());
    let mut host = Host::new(config.unwrap());
    let backends = Backends::new().without("etcd", "rebuild with --features etcd");
    host.add(KvPlugin::chosen("store", backends));
    host.add(KvPlugin::<MemoryBackend>::named("backup"));
    host
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// What is told, without the folder it is about.
fn told(folder: &TempDir, text: &impl ToString) -> String {
    let path = format!("{}/", folder.path().display());
    text.to_string().replace(&path, "")
}

#[test]
fn without_a_question_there_is_no_answer() {
    let folder = folder(&[("store.yaml", "backend: nonsense")]);
    let args = parse(&["--set", "store.memory.min-ttl=3s"]);
    assert_eq!(args.answer(&host(&args, &folder)).unwrap(), None);
}

#[test]
fn a_check_tells_where_each_configuration_comes_from() {
    let folder = folder(&[("store.yaml", "backend: memory")]);
    let args = parse(&["--check-config"]);
    let answer = args.answer(&host(&args, &folder)).unwrap().unwrap();
    assert_eq!(
        told(&folder, &answer),
        "the configuration is in order:\n  store: store.yaml\n  backup: defaults\n"
    );
}

#[test]
fn a_plugin_that_is_disabled_is_shown_as_such_with_what_enables_it() {
    let folder = folder(&[]);
    let shown = |flags: &[&str]| {
        let args = parse(flags);
        let config = args.config_in(folder.path(), Environment::empty());
        let mut host = Host::new(config.unwrap());
        let plugin = KvPlugin::<MemoryBackend>::named("backup");
        host.add(plugin.disabled_unless_configured());
        told(&folder, &args.answer(&host).unwrap().unwrap())
    };
    let why = "disabled: nothing configures it; write backup.yaml to enable it";
    assert_eq!(
        shown(&["--check-config"]),
        format!("the configuration is in order:\n  backup: {why}\n")
    );
    assert_eq!(
        shown(&["--print-config"]),
        format!("--- # backup\n# {why}\n")
    );
    assert_eq!(shown(&["--print-config=backup"]), format!("# {why}\n"));
    let set = "--set=backup.min-ttl=9s";
    assert!(shown(&["--print-config", set]).contains("\nmin-ttl: 9s  # --set backup.min-ttl\n"));
    assert_eq!(
        shown(&["--check-config", set]),
        "the configuration is in order:\n  backup: --set backup.min-ttl\n"
    );
}

#[test]
fn a_check_tells_all_that_is_wrong_and_where() {
    let folder = folder(&[
        ("store.yaml", "backend: memory\nmemory:\n  max-txn-ops: 0\n"),
        ("backup.yaml", "min-tll: 1s\n"),
    ]);
    let args = parse(&["--check-config"]);
    let refused = args.answer(&host(&args, &folder)).unwrap_err();
    assert_eq!(refused.errors().len(), 2);
    assert_eq!(
        told(&folder, &refused),
        "store.yaml:3:16: memory.max-txn-ops: is 0: give it a size or leave it out\n  \
           |\n\
         3 |   max-txn-ops: 0\n  \
           |                ^\n\
         backup.yaml:1:1: unknown key \"min-tll\", did you mean \"min-ttl\"?\n  \
           |\n\
         1 | min-tll: ...\n  \
           | ^"
    );
}

#[test]
fn what_is_printed_of_one_plugin_can_be_its_file() {
    let folder = folder(&[("backup.yaml", "min-ttl: 9s\nretain-for: 1h\n")]);
    let args = parse(&["--print-config=backup", "--set=backup.max-txn-ops=64"]);
    let printed = args.answer(&host(&args, &folder)).unwrap().unwrap();
    assert_eq!(
        told(&folder, &printed),
        "max-txn-ops: 64  # --set backup.max-txn-ops\n\
         max-request-bytes: 1572864  # default\n\
         min-ttl: 9s  # backup.yaml:1\n\
         retain-revisions: ~  # default\n\
         retain-for: 1h  # backup.yaml:2\n"
    );
    fs::write(folder.path().join("backup.yaml"), &printed).unwrap();
    let args = parse(&["--print-config=backup"]);
    let again = args.answer(&host(&args, &folder)).unwrap().unwrap();
    let values = |text: &str| -> Vec<String> {
        let values = text.lines().map(|line| line.split("  #").next().unwrap());
        values.map(str::to_owned).collect()
    };
    assert_eq!(values(&again), values(&printed));
}

#[test]
fn what_is_printed_of_all_plugins_is_a_document_of_each() {
    let args = parse(&["--print-config"]);
    let printed = args.answer(&host(&args, &folder(&[]))).unwrap().unwrap();
    assert!(
        printed.starts_with("--- # store\nbackend: memory  # default\nmemory:\n  max-txn-ops: 128"),
        "{printed}"
    );
    assert!(printed.contains("\n--- # backup\nmax-txn-ops: 128  # default\n"));
}

#[test]
fn a_schema_is_printed_for_the_plugin_that_is_named() {
    let args = parse(&["--print-schema", "backup"]);
    let schema = args.answer(&host(&args, &folder(&[]))).unwrap().unwrap();
    assert_eq!(
        schema,
        Section::of::<plugin_runtime::MemorySettings>("x").schema()
    );

    let args = parse(&["--print-schema", "bakcup"]);
    let refused = args.answer(&host(&args, &folder(&[]))).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "--print-schema bakcup is about no plugin of this program, did you mean backup?; \
         there are: store, backup"
    );
}

#[test]
fn a_flag_names_the_folder_and_the_file_of_a_plugin() {
    let ours = folder(&[("store.yaml", "backend: memory")]);
    let other = folder(&[("other.yaml", "min-ttl: 4s")]);
    let path = other.path().join("other.yaml");
    let args = parse(&[
        "--config-dir",
        ours.path().to_str().unwrap(),
        "--backup-config",
        path.to_str().unwrap(),
    ]);
    let environment = Environment::from_iter([
        ("CONFIG_DIR", "/no/such/folder"),
        ("BACKUP_CONFIG", "/no/such/file"),
        ("BACKUP__MAX_TXN_OPS", "5"),
    ]);
    let config = args.config_in("/not/this", environment).unwrap();
    assert_eq!(config.path(), ours.path());
    let loaded = config
        .load::<plugin_runtime::MemorySettings>("backup")
        .unwrap();
    assert_eq!(loaded.origin, Origin::File(path));
    assert_eq!(loaded.value.min_ttl.as_secs(), 4);
    assert_eq!(loaded.value.max_txn_ops, 5);
}

#[test]
fn a_flag_that_names_nothing_is_refused_before_anything_starts() {
    let folder = folder(&[]);
    let config = |arguments: &[&str]| {
        let config = parse(arguments).config_in(folder.path(), Environment::empty());
        config.unwrap_err().to_string()
    };
    assert_eq!(
        config(&["--config-dir", "/no/such/folder"]),
        "--config-dir names /no/such/folder, which does not exist"
    );
    assert!(config(&["--set", "store"]).contains("write plugin.key=value"));
    for wrong in [
        &["--redis-config=x"][..],
        &["--check-config", "--print-config"],
        &["--print-config", "store"],
        &["--print-schema"],
    ] {
        let arguments = ["agent"].iter().chain(wrong);
        assert!(
            command().try_get_matches_from(arguments).is_err(),
            "{wrong:?}"
        );
    }
}

#[tokio::test]
async fn a_host_refuses_a_flag_for_a_plugin_that_it_does_not_have() {
    let args = parse(&["--set", "stoer.backend=memory"]);
    let host = host(&args, &folder(&[]));
    let error = host.run(std::future::pending()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "--set stoer.backend is about no plugin of this program, did you mean store?; \
         there are: backup, memory, store"
    );
}

#[tokio::test]
async fn names_that_flags_and_variables_cannot_tell_apart_are_refused_by_a_check_and_a_start() {
    for (names, told) in [
        (
            &["a-b", "a_b"][..],
            "the variables of the plugins \"a-b\" and \"a_b\" begin alike",
        ),
        (
            &["A", "a"],
            "the variables of the plugins \"A\" and \"a\" begin alike",
        ),
        (&["check"], "as --check-config means something else"),
        (&["print"], "as --print-config means something else"),
    ] {
        let args = parse(&["--check-config"]);
        let mut host = Host::new(args.config_in("none", Environment::empty()).unwrap());
        for name in names {
            host.add(KvPlugin::<MemoryBackend>::named(*name));
        }
        let refused = args.answer(&host).unwrap_err().to_string();
        assert!(refused.contains(told), "{refused}");
        let error = host.run(std::future::pending()).await.unwrap_err();
        assert_eq!(error.to_string(), refused);
    }
    let mut host = Host::new(plugin_runtime::ConfigDir::new("none"));
    host.add(KvPlugin::<MemoryBackend>::named("x".repeat(10_000)));
    let error = host
        .run(std::future::pending())
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("at most 63") && error.len() < 300, "{error}");
}

#[test]
fn a_check_tells_of_a_file_with_a_misspelt_name() {
    let folder = folder(&[("stroe.yaml", ""), ("nginx.conf", "")]);
    let args = parse(&["--check-config"]);
    let answer = args.answer(&host(&args, &folder)).unwrap().unwrap();
    assert_eq!(
        told(&folder, &answer),
        "the configuration is in order:\n  store: defaults\n  backup: defaults\n  \
         warning: stroe.yaml belongs to no plugin, did you mean store.yaml?\n"
    );
}

/// A plugin that tells nothing of its configuration can be configured all the same.
struct Silent;

impl Plugin for Silent {
    type Handle = ();

    fn name(&self) -> &str {
        "silent"
    }

    fn handle(&self) {}

    async fn init(&mut self, cx: &mut Context) -> PluginResult {
        #[derive(Default, serde::Deserialize)]
        struct Settings {
            greeting: String,
        }
        let loaded = cx.load::<Settings>()?;
        assert_eq!(loaded.value.greeting, "hello");
        Err("it was read".into())
    }
}

#[tokio::test]
async fn a_plugin_without_a_section_takes_flags_too() {
    let args = parse(&["--set", "silent.greeting=hello"]);
    let mut host = host(&args, &folder(&[]));
    host.add(Silent);
    let error = host.run(std::future::pending()).await.unwrap_err();
    assert!(error.to_string().contains("it was read"), "{error}");
}

#[test]
fn the_label_of_the_flag_goes_before_that_of_the_environment() {
    let named = Environment::from_iter([("MICROSERVICE_LABEL", "edge-2")]);
    let label = |arguments: &[&str], environment: &Environment| {
        let label = parse(arguments).label_in(environment);
        label.map(|label| label.map(|label| label.to_string()))
    };
    let flag = ["--microservice-label", "edge-1"];
    assert_eq!(label(&flag, &named), Ok(Some("edge-1".to_owned())));
    assert_eq!(label(&[], &named), Ok(Some("edge-2".to_owned())));
    assert_eq!(label(&[], &Environment::empty()), Ok(None));
    let wrong = Environment::from_iter([("MICROSERVICE_LABEL", "a/b")]);
    assert_eq!(label(&flag, &wrong), Ok(Some("edge-1".to_owned())));
    for (arguments, environment, origin) in [
        (
            &["--microservice-label=a/b"][..],
            &named,
            "--microservice-label: ",
        ),
        (&[], &wrong, "MICROSERVICE_LABEL: "),
    ] {
        let error = label(arguments, environment).unwrap_err().to_string();
        assert!(error.starts_with(origin), "{error}");
    }
}

#[test]
fn the_flags_do_not_show_what_they_set() {
    let args = parse(&["--set", "store.etcd.password=hunter2"]);
    assert!(!format!("{args:?}").contains("hunter2"));
}
