//! Flags and environment to a checked [`Config`]. The only reader of either.
//!
//! A flag wins over its variable, an empty variable counts as not set, and the first bad value ends
//! the start with one line that names it and says what is accepted. Secret files are read here and
//! nowhere else; `SharedSecrets` reads its file again when it changes.

mod checked;
mod client;
mod command_line;
mod contexts;
mod effective;
mod environment;
mod error;
mod secrets;
mod settings;

pub use self::checked::Config;
pub(crate) use self::client::{
    ClientEnvironment, ConnectionArgs, ModelDefaults, Target, secret_file,
};
pub use self::command_line::{
    Command, Drain, Healthcheck, from_process, from_variables, variables,
};
pub(crate) use self::command_line::{client_environment, commands};
pub(crate) use self::contexts::NamedContext;
pub(crate) use self::effective::{
    EffectiveSetting, Inspection, Origin, check, effective, inspection,
};
pub use self::error::ConfigError;
pub(crate) use self::secrets::{Renewal, SharedSecrets};
pub(crate) use self::settings::Announce;
