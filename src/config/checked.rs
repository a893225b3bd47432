//! Settings to a [`Config`]: what one setting means for several modules, defaults that are looked for on this
//! host, and what is checked before anything starts.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::environment::Environment;
use super::error::ConfigError;
use super::secrets::SharedSecrets;
use super::settings::{Announce, Settings};
use crate::text::plain;
use crate::{
    backend, driver, egress, engine, gateway, journal, sandbox, session, telemetry, trace,
};

/// Where the image keeps the engine's state.
const IMAGE_DATA_DIR: &str = "/var/lib/opencode-sidecar";

/// Everything the program was told, checked.
#[derive(Debug)]
pub struct Config {
    pub(crate) host: IpAddr,
    pub(crate) port: u16,
    /// Where the metrics are served without a token; `None`: nowhere.
    pub(crate) metrics_port: Option<u16>,
    pub(crate) shared_secrets: SharedSecrets,
    /// Origins of web pages that may use the sessions.
    pub(crate) allow_origins: Vec<String>,
    /// Names under which this is asked for, besides those of the host and the cluster.
    pub(crate) allowed_hosts: Vec<String>,
    pub(crate) max_body_bytes: usize,
    /// Whether browsers get the console.
    pub(crate) console: bool,
    pub(crate) drain_timeout: Duration,
    pub(crate) announce: Announce,
    pub(crate) workspace: PathBuf,
    pub(crate) engine: engine::Config,
    pub(crate) egress: egress::Config,
    pub(crate) sessions: session::Config,
    /// `None`: sessions live in memory alone.
    pub(crate) journal: Option<journal::Config>,
    /// In characters.
    pub(crate) max_prompt: usize,
    pub(crate) driver: driver::Config,
    /// `None`: nobody is told how sessions end.
    pub(crate) backend: Option<backend::Config>,
    pub(crate) gateway: gateway::Config,
    /// Whether the provider `demo` may be used.
    pub(crate) demo: bool,
    pub(crate) log: telemetry::Config,
    /// `None`: nothing is traced.
    pub(crate) traces: Option<trace::Config>,
    /// Sentences to log once logging works: settings that look misspelt.
    pub(crate) hints: Vec<String>,
}

// === impl Config ===

impl Config {
    /// The settings of the log.
    pub fn log(&self) -> &telemetry::Config {
        &self.log
    }

    /// Checks what was given. `names` are the variables of all settings, for hints at those that are misspelt.
    pub(super) fn new(
        settings: Settings,
        environment: &Environment,
        names: Vec<String>,
    ) -> Result<Self, ConfigError> {
        let Settings {
            address,
            secret,
            server,
            drain,
            work,
            mut sessions,
            mut driver,
            mut journal,
            gateway,
            places,
            mut engine,
            egress,
            log,
        } = settings;
        let (traces, left_out) = trace::Config::read(&|name| environment.standard(name));
        let workspace = absolute(&work.workspace_dir);
        driver.workspace.clone_from(&workspace);
        // To fail at once is to survive no death of the child.
        if !work.on_engine_crash {
            driver.recoveries = 0;
        }
        let data_dir = data_dir(places.data_dir)?;
        journal.dir = data_dir.join("journal");
        journal.retention = sessions.retention;
        engine.data_dir = data_dir;
        engine.bin = opencode_bin(places.opencode_bin, environment)?;
        engine.workspace.clone_from(&workspace);
        engine.passed_on = environment.passed_on();
        engine.sandbox.path_dirs = environment.path_dirs();
        engine.sandbox.secret_files = secret
            .opencode_shared_secret_file
            .iter()
            .map(|file| absolute(file))
            .collect();
        if let Some(lacks) = engine.sandbox.user.and_then(sandbox::User::lacks) {
            return Err(ConfigError::Usage(format!("ENGINE_USER needs {lacks}")));
        }
        let backend = server.backend_api_url.map(|url| backend::Config {
            url,
            extra_ca_file: gateway.extra_ca_file.clone(),
        });
        sessions.tells_ends = backend.is_some();
        Ok(Self {
            host: address.host,
            port: address.port,
            metrics_port: server.metrics_port,
            shared_secrets: SharedSecrets::read(secret, environment)?,
            allow_origins: server.cors_allow_origins.unwrap_or_default(),
            allowed_hosts: server.allowed_hosts.unwrap_or_default(),
            max_body_bytes: server
                .max_body_bytes
                .unwrap_or_else(|| body_limit(work.max_prompt_length)),
            console: server.console,
            drain_timeout: drain.drain_timeout,
            announce: server.announce,
            workspace,
            engine,
            egress,
            sessions,
            journal: work.journal.then_some(journal),
            max_prompt: work.max_prompt_length,
            driver,
            backend,
            gateway,
            demo: work.demo_model,
            log,
            traces,
            hints: environment
                .hints(names)
                .into_iter()
                .chain(left_out)
                .collect(),
        })
    }
}

/// Room for the longest request there is: a prompt and a system prompt of `max_prompt` characters, written
/// as JSON escapes, and everything else.
const fn body_limit(max_prompt: usize) -> usize {
    /// A character outside the basic plane as two escapes: `\ud83d\ude00`.
    const LONGEST_CHARACTER: usize = 12;
    /// The key (16 KiB, each byte an escape of six) and the short fields.
    const OTHER_FIELDS: usize = 256 << 10;
    2 * LONGEST_CHARACTER * max_prompt + OTHER_FIELDS
}

/// `DATA_DIR`, made if it is missing. Without the setting: the image's place, else `./data`.
pub(super) fn data_dir(given: Option<PathBuf>) -> Result<PathBuf, ConfigError> {
    let path = match given {
        Some(path) => absolute(&path),
        None if engine::writable(Path::new(IMAGE_DATA_DIR)).is_ok() => IMAGE_DATA_DIR.into(),
        None => absolute(Path::new("data")),
    };
    let reason = match std::fs::create_dir_all(&path) {
        Ok(()) => engine::writable(&path).err(),
        Err(error) => Some(error),
    };
    match reason {
        None => Ok(path),
        Some(error) => Err(ConfigError::DataDir {
            path,
            reason: plain(&error.to_string()),
        }),
    }
}

/// `OPENCODE_BIN`; without it `opencode` on PATH, then the pinned one of this checkout.
pub(super) fn opencode_bin(
    given: Option<PathBuf>,
    environment: &Environment,
) -> Result<PathBuf, ConfigError> {
    if let Some(path) = given {
        let path = absolute(&path);
        return match engine::executable(&path) {
            Ok(()) => Ok(path),
            Err(reason) => Err(ConfigError::NoBinary(format!(
                "OPENCODE_BIN=\"{}\" is not accepted: {reason}; give the path of an executable file",
                path.display()
            ))),
        };
    }
    let on_path = environment
        .path_dirs()
        .into_iter()
        .map(|dir| dir.join("opencode"));
    let package = if cfg!(target_arch = "aarch64") {
        "opencode-linux-arm64"
    } else {
        "opencode-linux-x64"
    };
    let pinned = Path::new("tools/opencode/node_modules")
        .join(package)
        .join("bin/opencode");
    on_path
        .chain([absolute(&pinned)])
        .find(|path| engine::executable(path).is_ok())
        .ok_or_else(|| {
            ConfigError::NoBinary(
                "no OpenCode found on PATH or in tools/opencode: run `make opencode`, or set OPENCODE_BIN to its path".into(),
            )
        })
}

pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
