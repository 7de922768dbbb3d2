//! The flags that every agent has, for programs that use clap.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};
use keyval_config::{ConfigDir, Environment, Error, Section};

use crate::host::Host;
use crate::label::{AgentLabel, LabelError};

/// What stands before the id of the flag for a plugin's file.
const FILE: &str = "plugin-config:";
const FOLDER: &str = "config-dir";
const SET: &str = "set";
const CHECK: &str = "check-config";
const PRINT: &str = "print-config";
const SCHEMA: &str = "print-schema";
const LABEL: &str = "microservice-label";

/// The flags that every agent has.
///
/// | flag | |
/// |---|---|
/// | `--config-dir DIR` | the folder of the YAML files; before `CONFIG_DIR` |
/// | `--<plugin>-config FILE` | the file of one plugin; before `<PLUGIN>_CONFIG` |
/// | `--set PLUGIN.KEY=VALUE` | one value, over files and variables; may be repeated |
/// | `--check-config` | check the configuration of every plugin, with the files that it names; start nothing |
/// | `--print-config[=PLUGIN]` | show what holds in the end, with origins, as YAML; looks at no file that it names |
/// | `--print-schema PLUGIN` | show the JSON Schema of a plugin's file, for editors |
/// | `--microservice-label LABEL` | the agent's name; before `MICROSERVICE_LABEL` |
///
/// They can be flattened into a program's own: it is [`Args`]. As the flags for files depend on the
/// plugins, [`with_plugins`](Self::with_plugins) adds those to the whole command.
///
/// # Examples
/// ```
/// use clap::{Args, Command, FromArgMatches};
/// use plugin_runtime::{Host, KvPlugin, MemoryBackend, StandardArgs};
///
/// let command = StandardArgs::augment_args(Command::new("agent"));
/// let command = StandardArgs::with_plugins(command, ["store"]);
/// let matches = command.try_get_matches_from(["agent", "--set=store.min-ttl=5s", "--print-config"])?;
/// let args = StandardArgs::from_arg_matches(&matches)?;
///
/// let mut host = Host::new(args.config("config")?);
/// host.add(KvPlugin::<MemoryBackend>::named("store"));
/// let answer = args.answer(&host)?;
/// assert!(answer.is_some_and(|shown| shown.contains("min-ttl: 5s  # --set store.min-ttl\n")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct StandardArgs {
    folder: Option<PathBuf>,
    files: BTreeMap<String, PathBuf>,
    settings: Vec<String>,
    question: Option<Question>,
    label: Option<String>,
}

/// What a program is asked instead of running.
#[derive(Clone, Debug)]
enum Question {
    Check,
    /// Of one plugin, or of all.
    Print(Option<String>),
    Schema(String),
}

impl StandardArgs {
    /// Adds a flag `--<plugin>-config` for each of these plugins, but for one named `check` or `print`,
    /// whose flag would mean something else: a host refuses such a plugin.
    #[must_use]
    pub fn with_plugins<'a>(
        command: Command,
        plugins: impl IntoIterator<Item = &'a str>,
    ) -> Command {
        let taken = |plugin: &&str| ["check", "print"].contains(plugin);
        let plugins = plugins.into_iter().filter(|plugin| !taken(plugin));
        plugins.fold(command, |command, plugin| {
            let arg = Arg::new(format!("{FILE}{plugin}"))
                .long(format!("{plugin}-config"))
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help(format!("The configuration of {plugin}"));
            command.arg(arg)
        })
    }

    /// The configuration that the flags, the environment of the process and the files make.
    ///
    /// The folder is that of `--config-dir`, else of `CONFIG_DIR`, else `default`.
    ///
    /// # Errors
    /// [`Error::Missing`] and [`Error::Read`] for a folder that was named and is none,
    /// [`Error::Setting`] for `--set` that sets nothing.
    pub fn config(&self, default: impl Into<PathBuf>) -> keyval_config::Result<ConfigDir> {
        self.config_in(default, Environment::process())
    }

    /// As [`config`](Self::config), in the environment given.
    ///
    /// # Errors
    /// As [`config`](Self::config).
    pub fn config_in(
        &self,
        default: impl Into<PathBuf>,
        environment: Environment,
    ) -> keyval_config::Result<ConfigDir> {
        let mut config = match &self.folder {
            Some(folder) => ConfigDir::new(folder)
                .must_exist("--config-dir")?
                .with_environment(environment),
            None => ConfigDir::from_environment(default, environment)?,
        };
        for (plugin, file) in &self.files {
            config = config.with_file(plugin, file);
        }
        for setting in &self.settings {
            config = config.with_flag(setting)?;
        }
        Ok(config)
    }

    /// The label of the agent: that of `--microservice-label`, else of `MICROSERVICE_LABEL` in the
    /// environment of the process, if it is set and not empty.
    ///
    /// # Errors
    /// [`LabelError`] if what is given is no label; it names the flag or the variable.
    pub fn label(&self) -> Result<Option<AgentLabel>, LabelError> {
        self.label_in(&Environment::process())
    }

    /// As [`label`](Self::label), in the environment given.
    ///
    /// # Errors
    /// As [`label`](Self::label).
    ///
    /// # Examples
    /// ```
    /// use keyval_config::Environment;
    /// use plugin_runtime::StandardArgs;
    ///
    /// let environment = Environment::from_iter([("MICROSERVICE_LABEL", "vpp1")]);
    /// let label = StandardArgs::default().label_in(&environment)?;
    /// assert_eq!(label.map(|label| label.to_string()).as_deref(), Some("vpp1"));
    /// # Ok::<(), plugin_runtime::LabelError>(())
    /// ```
    pub fn label_in(&self, environment: &Environment) -> Result<Option<AgentLabel>, LabelError> {
        match &self.label {
            Some(text) => AgentLabel::from_flag(text).map(Some),
            None => AgentLabel::from_env(environment),
        }
    }

    /// What to print instead of running the host, if that was asked for.
    ///
    /// Reads the configuration of every plugin that tells it by
    /// [`sections`](crate::Plugin::sections), and starts none.
    ///
    /// # Errors
    /// [`Refused`], with everything that is wrong in the configurations.
    pub fn answer(&self, host: &Host) -> Result<Option<String>, Refused> {
        let Some(question) = &self.question else {
            return Ok(None);
        };
        host.check_configurable().map_err(Refused::of)?;
        let (config, sections) = (host.config(), host.sections());
        match question {
            Question::Check => check(config, sections, &host.stray_files()),
            Question::Print(None) => print(config, sections.iter()),
            Question::Print(Some(name)) => {
                let section = find(sections, name, "--print-config")?;
                section.print(config).map_err(Refused::of)
            }
            Question::Schema(name) => find(sections, name, "--print-schema").map(Section::schema),
        }
        .map(Some)
    }
}

/// Checks all, and tells of all that is wrong, or else of files that may be meant for a plugin.
fn check(config: &ConfigDir, sections: &[Section], stray: &[String]) -> Result<String, Refused> {
    let mut told = String::from("the configuration is in order:\n");
    let mut errors = Vec::new();
    for section in sections {
        match check_one(config, section) {
            Ok(text) => told.push_str(&format!("  {}: {text}\n", section.name())),
            Err(error) => errors.push(error),
        }
    }
    for file in stray {
        told.push_str(&format!("  warning: {file}\n"));
    }
    match errors.is_empty() {
        true => Ok(told),
        false => Err(Refused { errors }),
    }
}

/// Where the configuration comes from, or why the plugin is disabled.
fn check_one(config: &ConfigDir, section: &Section) -> keyval_config::Result<String> {
    let origin = section.check(config)?;
    let disabled = section.disabled(config)?;
    Ok(disabled.map_or_else(|| origin.to_string(), |cause| format!("disabled: {cause}")))
}

/// Shows all, each as a document of its own.
fn print<'a>(
    config: &ConfigDir,
    sections: impl Iterator<Item = &'a Section>,
) -> Result<String, Refused> {
    let mut shown = String::new();
    let mut errors = Vec::new();
    for section in sections {
        match section.print(config) {
            Ok(yaml) => shown.push_str(&format!("--- # {}\n{yaml}", section.name())),
            Err(error) => errors.push(error),
        }
    }
    match errors.is_empty() {
        true => Ok(shown),
        false => Err(Refused { errors }),
    }
}

fn find<'a>(sections: &'a [Section], name: &str, flag: &str) -> Result<&'a Section, Refused> {
    let found = sections.iter().find(|section| section.name() == name);
    found.ok_or_else(|| {
        Refused::of(Error::UnknownPlugin {
            given: format!("{flag} {name}"),
            plugin: name.to_owned(),
            known: sections
                .iter()
                .map(|section| section.name().to_owned())
                .collect(),
        })
    })
}

/// Why a configuration is refused: everything that is wrong with it, one after the other.
#[derive(Debug)]
pub struct Refused {
    errors: Vec<Error>,
}

impl Refused {
    fn of(error: Error) -> Self {
        Self {
            errors: vec![error],
        }
    }

    /// What is wrong, in the order of the plugins; never nothing.
    #[must_use]
    pub fn errors(&self) -> &[Error] {
        &self.errors
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            let between = if index > 0 { "\n" } else { "" };
            write!(f, "{between}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Refused {}

impl Args for StandardArgs {
    fn augment_args(command: Command) -> Command {
        command
            .next_help_heading("Configuration")
            .arg(
                Arg::new(FOLDER)
                    .long(FOLDER)
                    .value_name("DIR")
                    .value_parser(value_parser!(PathBuf))
                    .help("The folder of the YAML files, one per plugin; before CONFIG_DIR"),
            )
            .arg(
                Arg::new(SET)
                    .long(SET)
                    .value_name("PLUGIN.KEY=VALUE")
                    .action(ArgAction::Append)
                    .help("One value, over files and variables such as PLUGIN__KEY"),
            )
            .arg(
                Arg::new(CHECK)
                    .long(CHECK)
                    .action(ArgAction::SetTrue)
                    .conflicts_with_all([PRINT, SCHEMA])
                    .help(
                        "Check the configuration of every plugin, with the files that it names; start \
                         nothing",
                    ),
            )
            .arg(
                Arg::new(PRINT)
                    .long(PRINT)
                    .value_name("PLUGIN")
                    .num_args(0..=1)
                    .require_equals(true)
                    .default_missing_value("")
                    .conflicts_with(SCHEMA)
                    .help("Show what holds in the end as YAML, with origins; start nothing"),
            )
            .arg(
                Arg::new(SCHEMA)
                    .long(SCHEMA)
                    .value_name("PLUGIN")
                    .help("Show the JSON Schema of a plugin's file; start nothing"),
            )
            .arg(
                Arg::new(LABEL)
                    .long(LABEL)
                    .value_name("LABEL")
                    .help("The agent's name; before MICROSERVICE_LABEL"),
            )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for StandardArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut args = Self::default();
        args.update_from_arg_matches(matches)?;
        Ok(args)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        let text = |id: &str| matches.get_one::<String>(id).cloned();
        if let Some(folder) = matches.get_one::<PathBuf>(FOLDER) {
            self.folder = Some(folder.clone());
        }
        if let Some(label) = text(LABEL) {
            self.label = Some(label);
        }
        let settings = matches.get_many::<String>(SET).unwrap_or_default();
        self.settings.extend(settings.cloned());
        let given = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
        let files = matches.ids().map(clap::Id::as_str).filter(|id| given(id));
        for (id, plugin) in files.filter_map(|id| Some((id, id.strip_prefix(FILE)?))) {
            if let Some(file) = matches.get_one::<PathBuf>(id) {
                self.files.insert(plugin.to_owned(), file.clone());
            }
        }
        if matches.get_flag(CHECK) {
            self.question = Some(Question::Check);
        } else if let Some(plugin) = text(PRINT) {
            let plugin = Some(plugin).filter(|plugin| !plugin.is_empty());
            self.question = Some(Question::Print(plugin));
        } else if let Some(plugin) = text(SCHEMA) {
            self.question = Some(Question::Schema(plugin));
        }
        Ok(())
    }
}

/// A value that is set may be a secret.
impl fmt::Debug for StandardArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StandardArgs")
            .field("folder", &self.folder)
            .field("files", &self.files)
            .field("question", &self.question)
            .field("label", &self.label)
            .finish_non_exhaustive()
    }
}
