//! Takes the first command of the README at its word.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::shell::{self, capture, cargo, root, typed};

/// What the first command must print, in this order: the main job, told step by step.
///
/// Words that depend on time or chance (revisions, durations) are left out.
const EXPECTED: &[&str] = &[
    "scope /vnf-agent/demo/interfaces/",
    "  resync    1 entry",
    "  eth0  10.0.0.1/24   mtu 1500   up",
    "  put       eth1  10.0.1.1/24   mtu 1500   up",
    "  put       eth0  10.0.0.1/24   mtu 9000   up  mtu was 1500",
    "  delete    eth1",
    "  put       eth2  10.0.2.1/24   mtu 1500   up",
    "  put       tap0  10.0.9.1/30   mtu 1400   up",
    "  expired   tap0",
    "  delete    eth0",
    "  delete    eth2",
    "\nstore       ok  ",
    "\ninterfaces  ok  ",
    "\ndemo        ok  ",
    "\nagent       ok\n",
    "\nclosed in order: demo, interfaces, store\n",
];

/// How long it may take once it is built.
const LIMIT: Duration = Duration::from_secs(120);

/// Runs the command that the README shows first, and checks what it prints.
pub(crate) fn run() -> Result<()> {
    let path = root().join("README.md");
    let text = std::fs::read_to_string(&path)
        .map_err(|error| Error::failed(format!("cannot read {}: {error}", path.display())))?;
    let words = first_command(&text)?;
    let arguments: Vec<&str> = words.iter().map(String::as_str).collect();
    if let Some(build) = build_of(&arguments) {
        // Built in sight first, so that the time limit is for the program alone.
        shell::run(cargo(&build))?;
    }
    let command = cargo(&arguments);
    let shown = typed(&command);
    println!("$ {shown}");
    let output = capture(command, LIMIT)?;
    let printed = String::from_utf8_lossy(&output.stdout);
    print!("{printed}");
    if !output.status.success() {
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
        return Err(Error::failed(format!(
            "the README's first command, `{shown}`, ended with {}",
            output.status
        )));
    }
    match first_missing(&printed, EXPECTED) {
        None => Ok(()),
        Some(word) => Err(Error::failed(format!(
            "the README's first command, `{shown}`, did not print {word:?} where it is expected; \
             the expected order is {EXPECTED:?}"
        ))),
    }
}

/// What builds the program of a `cargo run`.
fn build_of<'a>(arguments: &[&'a str]) -> Option<Vec<&'a str>> {
    let (&command, rest) = arguments.split_first()?;
    let options = rest.iter().copied().take_while(|&word| word != "--");
    (command == "run").then(|| std::iter::once("build").chain(options).collect())
}

/// The arguments after `cargo` of the first command in the README's first fenced code block.
fn first_command(readme: &str) -> Result<Vec<String>> {
    let block = first_block(readme)
        .ok_or_else(|| Error::failed("README.md has no fenced code block, so no first command"))?;
    let line = block
        .iter()
        .map(|line| line.trim().trim_start_matches("$ "))
        .find(|line| !line.is_empty() && !line.starts_with('#'))
        .ok_or_else(|| Error::failed("README.md's first code block is empty"))?;
    let refuse = |why: &str| Error::failed(format!("README.md's first command, `{line}`, {why}"));
    if line.contains(['\'', '"', '\\', '|', '>', '<', '&', ';', '$', '`', '*']) {
        return Err(refuse("needs a shell; keep it one plain command"));
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    if words.next().as_deref() != Some("cargo") {
        return Err(refuse("is not a cargo command"));
    }
    Ok(words.collect())
}

/// The lines between the first pair of fences.
fn first_block(markdown: &str) -> Option<Vec<&str>> {
    let mut lines = markdown.lines();
    let opening = lines
        .by_ref()
        .find(|line| line.trim_start().starts_with("```"))?
        .trim_start();
    let fence = &opening[..opening.len() - opening.trim_start_matches('`').len()];
    let mut block = Vec::new();
    for line in lines {
        if line.trim() == fence {
            return Some(block);
        }
        block.push(line);
    }
    None
}

/// The first fragment that does not occur after those before it.
fn first_missing<'a>(printed: &str, fragments: &[&'a str]) -> Option<&'a str> {
    let mut rest = printed;
    for fragment in fragments {
        match rest.find(fragment) {
            Some(at) => rest = &rest[at + fragment.len()..],
            None => return Some(fragment),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{build_of, first_command, first_missing};

    #[test]
    fn the_first_command_of_the_first_block_is_taken() {
        let readme = "# keyval\n\nTry `cargo build`, or:\n\n```sh\n# no server needed\n\
                      $ cargo run -p plugin-runtime --example agent -- --demo\n```\n\n```sh\ncargo doc\n```\n";
        let expected = [
            "run",
            "-p",
            "plugin-runtime",
            "--example",
            "agent",
            "--",
            "--demo",
        ];
        assert_eq!(first_command(readme).unwrap(), expected);
    }

    #[test]
    fn a_program_is_built_with_the_options_it_is_run_with() {
        let build = build_of(&["run", "-p", "plugin-runtime", "--", "--demo"]).unwrap();
        assert_eq!(build, ["build", "-p", "plugin-runtime"]);
        assert_eq!(build_of(&["test"]), None);
    }

    #[test]
    fn output_below_the_command_is_not_a_command() {
        let readme = "```console\n$ cargo run\nresync  2 keys\n```\n";
        assert_eq!(first_command(readme).unwrap(), ["run"]);
    }

    #[test]
    fn a_readme_without_a_plain_cargo_command_is_refused_with_the_reason() {
        for (readme, reason) in [
            ("no code here", "no fenced code block"),
            ("```\ncargo run\n", "no fenced code block"),
            ("```sh\n\n# later\n```\n", "is empty"),
            ("```sh\nmake\n```\n", "is not a cargo command"),
            ("```sh\ncargo run | head\n```\n", "needs a shell"),
        ] {
            let told = first_command(readme).unwrap_err().to_string();
            assert!(told.contains(reason), "{readme:?}: {told}");
        }
    }

    #[test]
    fn the_fragments_must_occur_in_order() {
        let printed = "resync @1\nput a\ndelete a\n";
        assert_eq!(first_missing(printed, &["resync", "put", "delete"]), None);
        assert_eq!(first_missing(printed, &["put", "resync"]), Some("resync"));
        assert_eq!(first_missing(printed, &["put", "put"]), Some("put"));
    }
}
