//! The examples, run as a newcomer would: each runs to its end and prints what it says it shows.
//!
//! `cargo test -p plugin-runtime` builds them beforehand; see `agent.rs` for when it does not.

#![allow(clippy::unwrap_used)]

use std::env::consts::EXE_EXTENSION;
use std::process::Command;

/// Runs an example, in an empty folder; returns what it printed.
fn printed(example: &str) -> String {
    // Tests are in target/debug/deps, examples in target/debug/examples.
    let mut program = std::env::current_exe().unwrap();
    program.pop();
    program.pop();
    let program = program.join("examples").join(example);
    if !program.with_extension(EXE_EXTENSION).exists() {
        let build = ["build", "-p", "plugin-runtime", "--example", example];
        let built = Command::new(env!("CARGO")).args(build).status();
        assert!(built.unwrap().success());
    }
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(program)
        .current_dir(folder.path())
        .env_remove("CONFIG_DIR")
        .env_remove("STORE_CONFIG")
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}");
    assert_eq!(told, "");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn two_scopes_of_one_store_do_not_see_each_other() {
    assert_eq!(
        printed("two_scopes"),
        "red sees color = #f00\n\
         blue sees color = #00f\n\
         the store has teams/blue/color\n\
         the store has teams/red/color\n"
    );
}

#[test]
fn presence_ends_with_the_plugin_and_others_see_it() {
    assert_eq!(
        printed("presence"),
        "worker is here, at 10.0.0.7\neverybody is here: closing\nworker is gone\n"
    );
}

#[test]
fn a_delayed_start_works_once_the_store_is_there() {
    let printed = printed("delayed_start");
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines[0], "the follower is up");
    assert!(
        lines[1].starts_with("the store is missing: not connected yet"),
        "{printed}"
    );
    assert_eq!(
        lines[2..],
        [
            "in a hurry: unavailable (KV0101)",
            "the door opens",
            "the put that waited is revision 2",
            "the follower has seen revision 2",
        ]
    );
}

#[test]
fn a_reload_is_taken_whole_or_not_at_all() {
    assert_eq!(
        printed("reload"),
        "greeter: hello\n\
         greeter: good morning\n\
         changed: greeter\n\
         refused: greeter: :1:1: unknown key \"txet\", did you mean \"text\"?\n\
         refused: greeter: :2:7: port: cannot change while the program runs: set it back, or restart\n\
         refused: greeter: :1:7: text: must not be empty\n\
         degraded: good morning\n\
         greeter: good night\n\
         changed: greeter\n\
         ok\n"
    );
}

#[test]
fn an_own_backend_is_chosen_by_yaml_and_says_what_it_lacks() {
    assert_eq!(
        printed("own_backend"),
        "the store is a shelf\n\
         seen at revision 1\n\
         too much: the request is too large: 110 bytes where the limit is 100\n\
         a session: shelf does not support leases\n"
    );
}
