//! Puts the settings together: flag, then environment, then config.toml, then default.
//!
//! The settings are declared in one place ([`Settings`], in `args`). Whatever the environment or the file says of a setting is checked
//! by that setting's own parser and becomes the default of its flag, so that no layer has a second list of settings.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, CommandFactory as _, FromArgMatches as _};

use crate::args::Args;
pub use crate::args::{EXIT_CODES, NOTES, Settings, Share, parse_name};
use crate::home::{self, Home, HomeError};
use crate::platform;

/// The prefix of the variables of the environment.
const ENV_PREFIX: &str = "MEMCLOUD_";

/// The name of the configuration file where nobody names one.
const FILE_NAME: &str = "config.toml";

/// Flags that are not settings: not in the environment, not in the file.
const FLAGS_ONLY: [&str; 4] = ["background", "no_discovery", "help", "version"];

/// Settings that say where the file is, and so cannot be in it.
const NOT_IN_FILE: [&str; 2] = ["home", "config"];

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The flags are wrong, or ask for help or the version: [`clap::Error::exit`] knows what to do.
    #[error(transparent)]
    Usage(#[from] clap::Error),
    /// The configuration file cannot be read.
    #[error(transparent)]
    File(#[from] HomeError),
    /// A configuration file was named and is not there.
    #[error("there is no configuration file {}", .0.display())]
    Missing(PathBuf),
    /// The configuration file is not TOML.
    #[error("{}: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and what.
        reason: String,
    },
    /// The configuration file has a key that is no setting.
    #[error("{}: unknown key '{key}'{}", path.display(), near.as_ref().map(|near| format!(", perhaps '{near}' is meant")).unwrap_or_default())]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// A setting whose name is like it.
        near: Option<String>,
    },
    /// The value of a setting is wrong.
    #[error("{origin}: {reason}")]
    Value {
        /// Where the value stands.
        origin: Origin,
        /// What is wrong.
        reason: String,
    },
}

/// Where a value stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// In this variable of the environment.
    Env(String),
    /// In this file under this key.
    File(PathBuf, String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Env(name) => write!(f, "environment variable {name}"),
            Origin::File(path, key) => write!(f, "{}: key '{key}'", path.display()),
        }
    }
}

impl Settings {
    /// The settings of these arguments (the program's name first), this environment, and the configuration file that they name.
    ///
    /// `env` looks up a variable; an empty one counts as absent.
    ///
    /// # Errors
    /// See [`ConfigError`]: each names the flag, the variable, or the file and the key.
    pub fn load(
        args: impl IntoIterator<Item = impl Into<OsString>>,
        env: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, ConfigError> {
        let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
        let env = |name: &str| env(name).filter(|value| !value.is_empty());
        let command = command();

        // The first pass answers --help and wrong flags, and tells where the file is.
        let flags = command.clone().try_get_matches_from(&args)?;
        let home = match given(&flags, "home").or_else(|| env(&env_name("home"))) {
            Some(home) => PathBuf::from(home),
            None => Home::default_path()?,
        };
        let file = match given(&flags, "config").or_else(|| env(&env_name("config"))) {
            Some(path) => File::read(path.into(), true)?,
            None => File::read(usual_file(&home, &env), false)?,
        };
        file.check_keys(&command)?;

        let home_is_named = given(&flags, "home").is_some() || env(&env_name("home")).is_some();
        let defaults = Defaults {
            home,
            home_is_named,
            config: file.path.clone(),
            env: &env,
        };
        let mut layered = command.clone();
        for arg in command.get_arguments().filter(|arg| is_setting(arg)) {
            if let Some(value) =
                layer_below_flags(arg, &env, &file)?.or_else(|| defaults.of(arg.get_id().as_str()))
            {
                layered = layered.mut_arg(arg.get_id(), |arg| arg.default_value(value));
            }
        }
        let parsed = Args::from_arg_matches(&layered.try_get_matches_from(&args)?)?;
        let mut settings = parsed.settings;
        settings.discovery &= !parsed.no_discovery;
        settings.started_with = settings.background.then(|| other_flags(&args)).flatten();
        Ok(settings)
    }
}

/// All that can be typed behind `memnode`, with the variable of each setting in its help.
pub fn command() -> Command {
    explained(Args::command())
}

/// A setting under its three names.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The flag, with what it takes, its default and why it is there.
    pub flag: Arg,
    /// The variable of the environment.
    pub variable: String,
    /// The key of config.toml. `None` for what says where that file is.
    pub key: Option<String>,
}

/// All settings, in the order of [`Settings`].
pub fn settings() -> Vec<Setting> {
    let mut command = Args::command();
    // From then on each flag knows how many values it takes.
    command.build();
    let flags = command.get_arguments().filter(|arg| is_setting(arg));
    flags
        .map(|flag| {
            let id = flag.get_id().as_str();
            Setting {
                flag: flag.clone(),
                variable: env_name(id),
                key: (!NOT_IN_FILE.contains(&id)).then(|| id.to_owned()),
            }
        })
        .collect()
}

/// All arguments but the program's name and `--background`; `None` where one is not UTF-8.
fn other_flags(args: &[OsString]) -> Option<Vec<String>> {
    args.iter()
        .skip(1)
        .filter(|arg| *arg != "--background")
        .map(|arg| arg.to_str().map(str::to_owned))
        .collect()
}

/// The configuration file where nobody names one: `config.toml` in the folder that systemd gives a service for its configuration
/// (systemd.exec(5), `ConfigurationDirectory`), where it is there, else in the node's own.
fn usual_file(home: &Path, env: &impl Fn(&str) -> Option<OsString>) -> PathBuf {
    env("CONFIGURATION_DIRECTORY")
        .map(|folder| PathBuf::from(folder).join(FILE_NAME))
        .filter(|file| file.exists())
        .unwrap_or_else(|| home.join(FILE_NAME))
}

/// What the environment, else the file says of a setting, checked.
fn layer_below_flags(
    arg: &Arg,
    env: &impl Fn(&str) -> Option<OsString>,
    file: &File,
) -> Result<Option<OsString>, ConfigError> {
    let id = arg.get_id().as_str();
    let found = match env(&env_name(id)) {
        Some(value) => Some((Origin::Env(env_name(id)), value)),
        None => file
            .value(arg)?
            .map(|value| (Origin::File(file.path.clone(), id.to_owned()), value.into())),
    };
    let Some((origin, value)) = found else {
        return Ok(None);
    };
    check_value(arg, &value).map_err(|reason| ConfigError::Value { origin, reason })?;
    Ok(Some(value))
}

/// Runs a value through the parser of its flag.
fn check_value(arg: &Arg, value: &OsStr) -> Result<(), String> {
    let mut flag = OsString::from(format!("--{}=", arg.get_id().as_str().replace('_', "-")));
    flag.push(value);
    let parsed = Command::new("value")
        .no_binary_name(true)
        .arg(arg.clone())
        .try_get_matches_from([flag]);
    let Err(error) = parsed else { return Ok(()) };
    match std::error::Error::source(&error) {
        Some(reason) => Err(reason.to_string()),
        // The first line alone: the others speak of flags.
        None => Err(error
            .to_string()
            .lines()
            .next()
            .unwrap_or("is wrong")
            .replacen("error: ", "", 1)),
    }
}

fn env_name(id: &str) -> String {
    format!("{ENV_PREFIX}{}", id.to_ascii_uppercase())
}

fn is_setting(arg: &Arg) -> bool {
    !FLAGS_ONLY.contains(&arg.get_id().as_str())
}

/// The value of a flag that was given.
fn given(flags: &ArgMatches, id: &str) -> Option<OsString> {
    let is_given = flags.value_source(id) == Some(ValueSource::CommandLine);
    is_given
        .then(|| flags.get_raw(id)?.next().map(OsStr::to_owned))
        .flatten()
}

/// Adds the name of its variable to the help of each setting.
fn explained(command: Command) -> Command {
    command.mut_args(|arg| {
        if !is_setting(&arg) {
            return arg;
        }
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let variable = env_name(arg.get_id().as_str());
        arg.help(format!("{help} [env: {variable}]"))
    })
}

/// The defaults that depend on the host.
struct Defaults<'a> {
    home: PathBuf,
    home_is_named: bool,
    config: PathBuf,
    env: &'a dyn Fn(&str) -> Option<OsString>,
}

impl Defaults<'_> {
    fn of(&self, id: &str) -> Option<OsString> {
        match id {
            "home" => Some(self.home.clone().into()),
            "config" => Some(self.config.clone().into()),
            "socket" => self.socket().map(Into::into),
            "name" => Some(host_name().into()),
            _ => None,
        }
    }

    /// As the clients look for it, with a folder that a flag named in the place of the variable.
    fn socket(&self) -> Option<PathBuf> {
        memproto::local::socket_path(|name| match name {
            "MEMCLOUD_HOME" => self.home_is_named.then(|| self.home.clone().into()),
            _ => (self.env)(name),
        })
    }
}

/// The name of the host as the name of a node.
fn host_name() -> String {
    platform::host_name()
        .and_then(|name| parse_name(&name).ok())
        .unwrap_or_else(|| "memnode".to_owned())
}

/// The configuration file; empty where there is none.
struct File {
    path: PathBuf,
    table: toml::Table,
}

impl File {
    fn read(path: PathBuf, must_exist: bool) -> Result<Self, ConfigError> {
        let Some(bytes) = home::read_checked(&path, platform::check_unwritable_by_anybody)? else {
            if must_exist {
                return Err(ConfigError::Missing(path));
            }
            return Ok(Self {
                path,
                table: toml::Table::new(),
            });
        };
        let syntax = |reason: String| ConfigError::Syntax {
            path: path.clone(),
            reason,
        };
        let text = String::from_utf8(bytes).map_err(|_| syntax("it is not UTF-8".to_owned()))?;
        let table = text
            .parse()
            .map_err(|error: toml::de::Error| syntax(error.to_string()))?;
        Ok(Self { path, table })
    }

    fn check_keys(&self, command: &Command) -> Result<(), ConfigError> {
        let settings: Vec<&str> = command
            .get_arguments()
            .filter(|arg| is_setting(arg))
            .map(|arg| arg.get_id().as_str())
            .filter(|id| !NOT_IN_FILE.contains(id))
            .collect();
        match self.table.keys().find(|key| !settings.contains(&key.as_str())) {
            None => Ok(()),
            Some(key) => {
                let path = self.path.clone();
                Err(ConfigError::UnknownKey {
                    path,
                    key: key.clone(),
                    near: nearest(key, &settings),
                })
            }
        }
    }

    /// The value of a setting as its flag would have it.
    fn value(&self, arg: &Arg) -> Result<Option<String>, ConfigError> {
        let key = arg.get_id().as_str();
        let Some(value) = self.table.get(key) else {
            return Ok(None);
        };
        let text = match (value, arg.get_value_delimiter()) {
            (toml::Value::Array(items), Some(delimiter)) => items
                .iter()
                .map(scalar)
                .collect::<Option<Vec<_>>>()
                .map(|items| items.join(&delimiter.to_string())),
            _ => scalar(value),
        };
        text.map(Some).ok_or_else(|| ConfigError::Value {
            origin: Origin::File(self.path.clone(), key.to_owned()),
            reason: format!("this setting is no {}", value.type_str()),
        })
    }
}

/// The setting whose name is most like this key, where one is like it at all.
fn nearest(key: &str, settings: &[&str]) -> Option<String> {
    let likeness = |setting: &&str| (strsim::jaro(key, setting), (*setting).to_owned());
    let best = settings.iter().map(likeness).max_by(|a, b| a.0.total_cmp(&b.0));
    // As clap does for flags.
    best.filter(|(likeness, _)| *likeness > 0.7)
        .map(|(_, setting)| setting)
}

fn scalar(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(truth) => Some(truth.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
