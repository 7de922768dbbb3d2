//! The example agent, run as a user would: what it prints, how it ends.
//!
//! `cargo test -p plugin-runtime` builds it beforehand. With `--tests` or `--test agent` it is built
//! here if it is not there at all; after a change to it, build it by `cargo build --example agent`.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used)]

use std::env::consts::EXE_EXTENSION;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Once;

fn agent() -> Command {
    // Tests are in target/debug/deps, examples in target/debug/examples.
    let mut program: PathBuf = std::env::current_exe().unwrap();
    program.pop();
    program.pop();
    let program = program.join("examples").join("agent");
    static BUILT: Once = Once::new();
    BUILT.call_once(|| {
        if !program.with_extension(EXE_EXTENSION).exists() {
            let build = ["build", "-p", "plugin-runtime", "--example", "agent"];
            let built = Command::new(env!("CARGO")).args(build).status();
            assert!(built.unwrap().success());
        }
    });
    let mut command = Command::new(program);
    command
        .env_remove("CONFIG_DIR")
        .env_remove("STORE_CONFIG")
        .env_remove("MICROSERVICE_LABEL")
        .env_remove("RUST_LOG");
    command
}

fn run(arguments: &[&str]) -> Output {
    agent().args(arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn the_demo_shows_every_kind_of_change_and_ends_in_order() {
    let output = run(&["--demo"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
    let printed = stdout(&output);
    let changes: Vec<&str> = printed
        .lines()
        .map(|line| line.get(8..).unwrap_or_default().trim())
        .filter(|line| {
            ["resync", "put", "delete", "expired"]
                .iter()
                .any(|word| line.starts_with(word))
        })
        .collect();
    assert_eq!(
        changes,
        [
            "resync    1 entry",
            "put       eth1  10.0.1.1/24   mtu 1500   up",
            "put       eth0  10.0.0.1/24   mtu 9000   up  mtu was 1500",
            "delete    eth1",
            "put       eth2  10.0.2.1/24   mtu 1500   up",
            "put       tap0  10.0.9.1/30   mtu 1400   up",
            "expired   tap0",
            "delete    eth0",
            "delete    eth2",
        ]
    );
    let ends = "\nagent       ok\n\nclosed in order: demo, interfaces, store\n";
    assert!(printed.ends_with(ends), "{printed}");
}

#[test]
fn the_label_is_that_of_the_flag_then_of_the_environment() {
    for (arguments, scope) in [
        (&["--demo"][..], "/vnf-agent/edge-2/interfaces/"),
        (
            &["--demo", "--microservice-label=edge-1"],
            "/vnf-agent/edge-1/interfaces/",
        ),
    ] {
        let output = agent()
            .env("MICROSERVICE_LABEL", "edge-2")
            .args(arguments)
            .output()
            .unwrap();
        assert!(stdout(&output).contains(scope), "{}", stdout(&output));
    }
}

#[test]
fn bad_arguments_end_with_the_usage_and_code_2() {
    for (arguments, told) in [
        (&["--domo"][..], "unexpected argument '--domo'"),
        (
            &["--config-dir"],
            "a value is required for '--config-dir <DIR>'",
        ),
        #[cfg(feature = "probe")]
        (&["--probe", "9191"], "\"9191\" is no address"),
        #[cfg(not(feature = "probe"))]
        (&["--probe", "127.0.0.1:0"], "rebuild with --features probe"),
        (&["--microservice-label=a/b"], "\"a/b\" is no label"),
        (&["--microservice-label="], "\"\" is no label"),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).contains(told), "{}", stderr(&output));
        assert_eq!(stdout(&output), "");
    }
    let output = run(&["--help"]);
    assert!(output.status.success());
    assert!(stdout(&output).contains("Usage: agent "));
}

#[test]
fn a_wrong_configuration_ends_with_what_to_change_and_code_1() {
    let output = run(&["--config-dir", "/no/such/folder"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("--config-dir names /no/such/folder"));

    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("store.yaml"), "backend: redis").unwrap();
    let output = run(&["--demo", "--config-dir", folder.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let told = stderr(&output);
    assert!(
        told.contains("plugin store failed in init") && told.contains("unknown value \"redis\""),
        "{told}"
    );
}

#[test]
fn its_configuration_is_checked_and_shown_without_starting_it() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("store.yaml"), "memory:\n  min-ttl: 3s\n").unwrap();
    let folder = folder.path().to_str().unwrap();
    let output = run(&["--config-dir", folder, "--check-config"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stdout(&output).starts_with("the configuration is in order:\n  store: "));

    let wrong = ["--set=store.memory.min-tll=1s", "--check-config"];
    let output = run(&["--config-dir", folder, wrong[0], wrong[1]]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout(&output), "");
    let told = stderr(&output);
    assert!(told.contains("did you mean \"min-ttl\"?"), "{told}");

    let output = run(&["--config-dir", folder, "--print-config=store"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let shown = stdout(&output);
    assert!(
        shown.contains("  min-ttl: 3s  # ") && shown.contains("store.yaml:2\n"),
        "{shown}"
    );
}

#[cfg(feature = "etcd")]
#[test]
fn a_check_tells_of_endpoints_and_files_of_no_use_with_their_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    for (yaml, told) in [
        (
            "backend: etcd\netcd:\n  endpoints: [a:1, \"root:hunter2@b:2\"]\n",
            "store.yaml:3:20: etcd.endpoints[1]: is of no use: it has a user",
        ),
        (
            "backend: etcd\netcd:\n  ca-file: /no/such/file\n",
            "store.yaml:3:12: etcd.ca-file: /no/such/file is of no use: No such file",
        ),
        (
            "backend: memory\netcd: {endpionts: [a:1]}\n",
            "store.yaml:2:8: etcd: unknown key \"endpionts\", did you mean \"endpoints\"?",
        ),
    ] {
        std::fs::write(folder.path().join("store.yaml"), yaml).unwrap();
        let output = run(&["--config-dir", path, "--check-config"]);
        assert_eq!(output.status.code(), Some(1), "{yaml}");
        let error = stderr(&output);
        assert!(
            error.contains(told) && !error.contains("hunter2"),
            "{error}"
        );
        // So does a start, before it connects.
        let output = run(&["--config-dir", path, "--demo"]);
        assert_eq!(output.status.code(), Some(1), "{yaml}");
        let error = stderr(&output);
        assert!(
            error.contains(told) && !error.contains("hunter2"),
            "{error}"
        );
    }
}

#[cfg(unix)]
#[test]
fn without_the_demo_it_runs_until_a_signal_and_ends_in_order() {
    for signal in ["-TERM", "-INT"] {
        let mut running = agent().stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(running.stdout.take().unwrap()).lines();
        let up = lines
            .by_ref()
            .map(Result::unwrap)
            .find(|line| line.contains("Ctrl-C stops it"));
        assert!(up.is_some());
        let killed = Command::new("kill")
            .args([signal, &running.id().to_string()])
            .status();
        assert!(killed.unwrap().success());
        assert!(running.wait().unwrap().success());
        let last = lines.map(Result::unwrap).last();
        assert_eq!(last.as_deref(), Some("closed in order: interfaces, store"));
    }
}

#[cfg(all(unix, feature = "probe"))]
#[test]
fn its_probes_answer_where_it_says() {
    use std::io::{Read, Write};

    let mut running = agent()
        .args(["--probe", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(running.stdout.take().unwrap()).lines();
    let mut line = |part: &str| {
        let mut lines = lines.by_ref().map(Result::unwrap);
        lines.find(|line| line.contains(part)).unwrap()
    };
    let told = line("health at http://");
    let address = told.strip_prefix("health at http://").unwrap();
    let address = address.strip_suffix("/readyz?verbose").unwrap().to_owned();
    line("Ctrl-C stops it");
    let mut answer = String::new();
    let mut client = std::net::TcpStream::connect(address).unwrap();
    client
        .write_all(b"GET /readyz HTTP/1.1\r\nHost: agent\r\n\r\n")
        .unwrap();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let killed = Command::new("kill")
        .args(["-TERM", &running.id().to_string()])
        .status();
    assert!(killed.unwrap().success());
    assert_eq!(
        line("closed in order"),
        "closed in order: interfaces, store, probe"
    );
    assert!(running.wait().unwrap().success());
}

#[cfg(all(unix, feature = "etcd"))]
#[test]
fn a_signal_ends_it_while_the_store_does_not_answer() {
    // Connections are taken up by the system, and nobody ever answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let yaml = format!(
        "backend: etcd\netcd:\n  endpoints: [\"{}\"]\n  dial-timeout: 60s\n",
        silent.local_addr().unwrap()
    );
    std::fs::write(folder.path().join("store.yaml"), yaml).unwrap();
    let mut running = agent()
        .args(["--config-dir", folder.path().to_str().unwrap()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // The agent has begun to connect once somebody is at the door.
    let (_connection, _) = silent.accept().unwrap();
    let began = std::time::Instant::now();
    let killed = Command::new("kill")
        .args(["-TERM", &running.id().to_string()])
        .status();
    assert!(killed.unwrap().success());
    assert!(running.wait().unwrap().success());
    assert!(began.elapsed() < std::time::Duration::from_secs(10));
}
