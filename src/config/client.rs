//! Which sidecar the client commands talk to: flags, variables, and the file of contexts.
//!
//! The first of these that names an address wins: `--url`, `--context`, `SIDECAR_URL`, `SIDECAR_CONTEXT`, the
//! current context, and last the sidecar of this host, at `HOST` and `PORT` as it reads them itself. The
//! token comes from where the address comes from, unless a flag or a variable names one: a token of one sidecar is
//! never sent to another.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use reqwest::Url;
use serde::Deserialize;

use super::environment::Environment;
use super::error::ConfigError;
use super::secrets::{self, SharedSecrets};
use super::settings::SecretFile;
use crate::secret::Secret;
use crate::setting;
use crate::text::plain;

const CONTEXTS: &str = "opencode-sidecar/contexts.toml";
const DEFAULT_PORT: u16 = 3003;

/// Where the sidecar is.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Connection")]
#[group(skip)]
pub(crate) struct ConnectionArgs {
    /// Address of the sidecar; default: the current context, else port 3003 of this host (`SIDECAR_URL`)
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// File with the bearer token; the token itself has the variable `SIDECAR_TOKEN` (`SIDECAR_TOKEN_FILE`)
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    token_file: Option<PathBuf>,
    /// Context of ~/.config/opencode-sidecar/contexts.toml (`SIDECAR_CONTEXT`)
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

/// One sidecar, and what prompts for it use unless they say otherwise.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) url: Url,
    pub(crate) token: Option<Secret>,
    /// Certificates to trust besides the system's.
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) defaults: ModelDefaults,
}

/// The model that a context names.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct ModelDefaults {
    pub(crate) provider: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) endpoint: Option<String>,
    pub(crate) key_file: Option<PathBuf>,
}

/// What the client commands read of the environment.
#[derive(Debug)]
pub(crate) struct ClientEnvironment(Environment);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ContextFile {
    /// The one that is used unless another is named.
    pub(super) current: Option<String>,
    #[serde(default)]
    pub(super) contexts: BTreeMap<String, Context>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Context {
    pub(super) url: String,
    pub(super) token: Option<String>,
    pub(super) token_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    #[serde(flatten)]
    pub(super) defaults: ModelDefaults,
}

// === impl ClientEnvironment ===

impl ClientEnvironment {
    pub(super) const fn new(environment: Environment) -> Self {
        Self(environment)
    }

    /// Whether a terminal is to be shown colours, as <https://no-color.org> has it.
    pub(crate) fn wants_colour(&self) -> bool {
        let dumb = self.value("TERM").is_some_and(|term| term == "dumb");
        self.value("NO_COLOR").is_none() && !dumb
    }

    /// Where files are kept that may be lost.
    pub(crate) fn cache_dir(&self) -> PathBuf {
        match (self.value("XDG_CACHE_HOME"), self.value("HOME")) {
            (Some(cache), _) => cache.into(),
            (None, Some(home)) => Path::new(&home).join(".cache"),
            (None, None) => "/tmp".into(),
        }
        .join("opencode-sidecar")
    }

    /// The provider key of a prompt, unless a file is named.
    pub(crate) fn api_key(&self) -> Option<Secret> {
        self.value("SIDECAR_API_KEY").map(Secret::new)
    }

    /// The sidecar that the flags and variables name.
    pub(crate) fn target(&self, args: &ConnectionArgs) -> Result<Target, ConfigError> {
        let mut target = self.addressed(args)?;
        if let Some(token) = self.token(args)? {
            target.token = Some(token);
        }
        Ok(target)
    }

    fn addressed(&self, args: &ConnectionArgs) -> Result<Target, ConfigError> {
        if let Some(text) = &args.url {
            return at("--url", text);
        }
        if let Some(name) = &args.context {
            return self.context(name);
        }
        if let Some(text) = self.value("SIDECAR_URL") {
            return at("SIDECAR_URL", &text);
        }
        if let Some(name) = self.value("SIDECAR_CONTEXT") {
            return self.context(&name);
        }
        match self.contexts()? {
            Some((
                _,
                ContextFile {
                    current: Some(name),
                    ..
                },
            )) => self.context(&name),
            _ => self.here(),
        }
    }

    /// The token that flags or variables name for whatever sidecar it is.
    fn token(&self, args: &ConnectionArgs) -> Result<Option<Secret>, ConfigError> {
        if let Some(file) = &args.token_file {
            return secret_file("--token-file", file).map(Some);
        }
        if let Some(token) = self.value("SIDECAR_TOKEN") {
            return one_word("SIDECAR_TOKEN", &token).map(Some);
        }
        let file = self.value("SIDECAR_TOKEN_FILE");
        file.map(|file| secret_file("SIDECAR_TOKEN_FILE", Path::new(&file)))
            .transpose()
    }

    /// The sidecar of this host, found as it finds its own settings.
    fn here(&self) -> Result<Target, ConfigError> {
        let bad = |name: &str, value: String, accepts: &str| ConfigError::BadValue {
            name: name.to_owned(),
            value,
            accepts: accepts.to_owned(),
        };
        let port = match self.value("PORT") {
            Some(text) => setting::port(&text).map_err(|accepts| bad("PORT", text, accepts))?,
            None => DEFAULT_PORT,
        };
        let host = match self.value("HOST") {
            Some(text) => {
                let host = setting::address(&text).map_err(|accepts| bad("HOST", text, accepts))?;
                Some(host).filter(|host| !host.is_unspecified())
            }
            None => None,
        };
        let address = std::net::SocketAddr::new(host.unwrap_or([127, 0, 0, 1].into()), port);
        let mut target = at("HOST", &format!("http://{address}"))?;
        let file = self.value("OPENCODE_SHARED_SECRET_FILE").map(PathBuf::from);
        let file = SecretFile {
            opencode_shared_secret_file: file,
        };
        target.token = SharedSecrets::read(file, &self.0)?.first();
        Ok(target)
    }

    pub(super) fn context(&self, name: &str) -> Result<Target, ConfigError> {
        let Some((path, file)) = self.contexts()? else {
            return Err(ConfigError::Usage(format!(
                "the context {name} cannot be used: there is no ~/.config/{CONTEXTS}"
            )));
        };
        let Some(context) = file.contexts.get(name).cloned() else {
            let known: Vec<&str> = file.contexts.keys().map(String::as_str).collect();
            return Err(ConfigError::Usage(format!(
                "{} has no context {name}; it has {}",
                path.display(),
                if known.is_empty() {
                    "none".to_owned()
                } else {
                    known.join(", ")
                }
            )));
        };
        let mut target = at(&format!("url of the context {name}"), &context.url)?;
        target.token = match (&context.token, &context.token_file) {
            (Some(token), None) => Some(one_word(&format!("token of the context {name}"), token)?),
            (None, Some(file)) => Some(secret_file(
                &format!("token_file of the context {name}"),
                &self.path(file),
            )?),
            (None, None) => None,
            (Some(_), Some(_)) => {
                return Err(ConfigError::Usage(format!(
                    "the context {name} has token and token_file: keep one"
                )));
            }
        };
        target.ca_file = context.ca_file.map(|file| self.path(&file));
        target.defaults = context.defaults;
        target.defaults.key_file = target.defaults.key_file.map(|file| self.path(&file));
        Ok(target)
    }

    /// The file of contexts, if it holds a token and others than its owner may read it.
    pub(crate) fn exposed_contexts(&self) -> Option<PathBuf> {
        use std::os::unix::fs::PermissionsExt as _;
        let (path, file) = self.contexts().ok()??;
        let has_token = file
            .contexts
            .values()
            .any(|context| context.token.is_some());
        let mode = std::fs::metadata(&path).ok()?.permissions().mode();
        (has_token && mode & 0o077 != 0).then_some(path)
    }

    pub(super) fn contexts(&self) -> Result<Option<(PathBuf, ContextFile)>, ConfigError> {
        let base = match self.value("XDG_CONFIG_HOME") {
            Some(base) => PathBuf::from(base),
            None => match self.value("HOME") {
                Some(home) => Path::new(&home).join(".config"),
                None => return Ok(None),
            },
        };
        let path = base.join(CONTEXTS);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(bad_file("the file of contexts", &path, &error.to_string())),
        };
        // Only where the mistake is: its line may hold a token.
        let file = toml::from_str(&text).map_err(|error| {
            let line = error
                .span()
                .and_then(|span| text.get(..span.start))
                .map_or(1, |before| before.matches('\n').count() + 1);
            bad_file(
                "the file of contexts",
                &path,
                &format!("line {line}: {}", error.message()),
            )
        })?;
        Ok(Some((path, file)))
    }

    /// `~/` is the home directory, as in a shell.
    fn path(&self, path: &Path) -> PathBuf {
        match (path.strip_prefix("~"), self.value("HOME")) {
            (Ok(rest), Some(home)) => Path::new(&home).join(rest),
            _ => path.to_owned(),
        }
    }

    fn value(&self, name: &str) -> Option<String> {
        self.0.setting(name).map(|(_, value)| value)
    }
}

/// The secret in a file, or on stdin if the file is `-`.
pub(crate) fn secret_file(name: &str, path: &Path) -> Result<Secret, ConfigError> {
    let path = if path == Path::new("-") {
        Path::new("/dev/stdin")
    } else {
        path
    };
    let text = secrets::read_file(path).map_err(|reason| bad_file(name, path, &reason))?;
    one_word(name, &text)
}

fn one_word(name: &str, text: &str) -> Result<Secret, ConfigError> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(Secret::new(text));
    }
    Err(ConfigError::BadSecret {
        name: name.to_owned(),
        accepts: "one word of printable ASCII characters".to_owned(),
    })
}

fn at(name: &str, text: &str) -> Result<Target, ConfigError> {
    // As curl takes it.
    let whole = if text.contains("://") {
        text.to_owned()
    } else {
        format!("http://{text}")
    };
    let url = setting::url(&whole).map_err(|accepts| {
        let (name, accepts) = (name.to_owned(), accepts.to_owned());
        if text.contains('@') {
            return ConfigError::BadSecret { name, accepts };
        }
        ConfigError::BadValue {
            name,
            value: text.to_owned(),
            accepts,
        }
    })?;
    Ok(Target {
        url,
        token: None,
        ca_file: None,
        defaults: ModelDefaults::default(),
    })
}

fn bad_file(name: &str, path: &Path, reason: &str) -> ConfigError {
    ConfigError::BadFile {
        name: name.to_owned(),
        path: path.to_owned(),
        reason: plain(reason),
    }
}

#[cfg(test)]
mod tests;
