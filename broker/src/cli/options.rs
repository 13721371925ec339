//! What `serve`, `demo` and `config check` share: where the configuration comes from.
//!
//! The flags of single settings are made from the table of settings.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches};
use toml::Value;

use super::Cli;
use crate::ServerConfig;
use crate::config::{Flag, Key, SERVER, Source};

/// Where the configuration comes from.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Options {
    /// A TOML file with the configuration; `fanfare config default` writes one.
    #[arg(long, value_name = "FILE", env = "FANFARE_CONFIG")]
    config: Option<PathBuf>,

    #[command(flatten)]
    settings: SettingFlags,

    /// Sets anything that the file could, as limits.outbox_max=2MiB. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_and_value)]
    set: Vec<(String, String)>,
}

impl Options {
    /// The source that these options describe.
    pub(super) fn source(self) -> Source {
        let set = self.set.into_iter().map(|(key, text)| {
            let name = format!("--set {key}");
            Flag { name, key, text }
        });
        Source {
            file: self.config,
            flags: self.settings.0.into_iter().chain(set).collect(),
            other_variables: other_variables(),
        }
    }

    /// The same with another file.
    pub(super) fn with_file(self, file: Option<PathBuf>) -> Self {
        Self { config: file.or(self.config), ..self }
    }
}

fn key_and_value(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("use KEY=VALUE, as limits.outbox_max=2MiB")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

/// The environment variables of flags that are no settings.
fn other_variables() -> Vec<String> {
    let cli = Cli::command();
    let arguments = cli.get_subcommands().flat_map(Command::get_arguments);
    let names = arguments.filter_map(Arg::get_env);
    names.map(|name| name.to_string_lossy().into_owned()).collect()
}

/// The settings that have a flag of their own.
#[derive(Clone, Debug)]
struct SettingFlags(Vec<Flag>);

fn keys() -> impl Iterator<Item = (&'static str, Key)> {
    SERVER.iter().filter_map(|setting| Some((setting.flag?, Key::Server(setting))))
}

impl clap::Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        let mut defaults = ServerConfig::default();
        keys().fold(command, |command, (flag, key)| {
            let default = key.get(&mut defaults);
            let is_list = default.is_array();
            let meaning = key.meaning();
            let first = meaning.split_inclusive(". ").next().unwrap_or_default().trim_end();
            let default = match default {
                Value::String(text) => format!(" [default: {text}]"),
                _ => String::new(),
            };
            let variable = key.variable().map(|name| format!(" [env: {name}]")).unwrap_or_default();
            let argument = Arg::new(flag)
                .long(flag)
                .value_name(key.metavar())
                .help(format!("{first}{default}"))
                .long_help(format!("{meaning}{default}{variable}"))
                .value_parser(move |text: &str| key.check_text(text).map(|()| text.to_owned()));
            let action = if is_list { ArgAction::Append } else { ArgAction::Set };
            command.arg(argument.action(action))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = keys().filter_map(|(flag, key)| {
            let texts: Vec<&str> = matches.get_many::<String>(flag)?.map(String::as_str).collect();
            Some(Flag { name: format!("--{flag}"), key: key.name(), text: texts.join(",") })
        });
        Ok(Self(given.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
