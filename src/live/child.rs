//! A real `opencode serve` behind a gateway, as the engine will start it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::gateway::{Bound, CLASSES, Config, Grant, Handle};
use crate::opencode::config;
use crate::secret::Secret;
use crate::socket_owner::Finder;

const BINARY: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tools/opencode/node_modules/opencode-linux-x64/bin/opencode"
);

/// What keeps OpenCode from the network and from the workspace's own configuration.
const SWITCHES: [&str; 8] = [
    "OPENCODE_DISABLE_AUTOUPDATE",
    "OPENCODE_DISABLE_MODELS_FETCH",
    "OPENCODE_DISABLE_LSP_DOWNLOAD",
    "OPENCODE_DISABLE_DEFAULT_PLUGINS",
    "OPENCODE_DISABLE_SHARE",
    "OPENCODE_DISABLE_PROJECT_CONFIG",
    "OPENCODE_DISABLE_EXTERNAL_SKILLS",
    "OPENCODE_DISABLE_CLAUDE_CODE",
];

const BOOT: Duration = Duration::from_secs(30);
/// A connection made the moment it begins to listen is never answered.
const PROBE: Duration = Duration::from_millis(250);
const TURN: Duration = Duration::from_mins(1);

/// A running child. Dropping it kills it.
pub(crate) struct Child {
    pub(crate) gateway: Handle,
    pub(super) token: Secret,
    pub(super) password: Secret,
    url: String,
    client: Client,
    process: tokio::process::Child,
    _cancel: DropGuard,
    root: TempDir,
}

impl Child {
    pub(crate) async fn start(gateway: Config) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), gateway).await
    }

    /// Kills it, as the kernel does when the sidecar is killed. What it stored stays.
    pub(crate) async fn kill(mut self) -> TempDir {
        self.process.kill().await.unwrap();
        self.root
    }

    pub(crate) async fn start_in(root: TempDir, gateway: Config) -> Self {
        let bound = Bound::bind(gateway, Finder::new()).await.unwrap();
        let (handle, addr) = (bound.handle(), bound.addr());
        let (token, password) = (handle.new_child_token(), Secret::random());
        let cancel = CancellationToken::new();
        bound.spawn(&TaskTracker::new(), cancel.clone());

        for folder in ["home", "config", "data", "state", "cache", "tmp", "work"] {
            std::fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        for (path, text) in config::folder() {
            let path = root.path().join("config/opencode").join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let models: Vec<_> = CLASSES
            .iter()
            .map(|class| config::Model {
                id: class.id,
                context: class.context,
                output: class.output,
            })
            .collect();
        let settings = config::Settings {
            gateway: addr,
            token: &token,
            models: &models,
            timeout: handle.child_timeout(),
            shell: None,
        };
        let mut process = command(root.path())
            .env(
                "OPENCODE_CONFIG_CONTENT",
                config::content(&settings).expose(),
            )
            .env("OPENCODE_SERVER_PASSWORD", password.expose())
            .spawn()
            .expect("tools/opencode is installed: npm ci --prefix tools/opencode");
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let url = tokio::time::timeout(BOOT, async {
            loop {
                let line = lines
                    .next_line()
                    .await
                    .unwrap()
                    .expect("it says where it listens");
                if let Some(url) = line.strip_prefix("opencode server listening on ") {
                    return url.to_owned();
                }
            }
        });
        let url = url.await.expect("it starts");
        let client = Client::builder()
            .tls_backend_preconfigured(no_tls())
            .no_proxy()
            .build()
            .unwrap();
        let child = Self {
            gateway: handle,
            token,
            password,
            url,
            client,
            process,
            _cancel: cancel.drop_guard(),
            root,
        };
        child.until_healthy().await;
        child
    }

    pub(super) fn root(&self) -> &Path {
        self.root.path()
    }

    pub(crate) fn workspace(&self) -> PathBuf {
        self.root.path().join("work")
    }

    pub(crate) fn api(&self) -> crate::opencode::Client {
        let address = self.url.strip_prefix("http://").unwrap().parse().unwrap();
        crate::opencode::Client::new(address, self.password.clone()).unwrap()
    }

    /// Its root session may use `tools`; without them, all.
    pub(crate) async fn create_session(&self, tools: Option<&[&str]>) -> String {
        let body = json!({ "metadata": { "sidecar": { "tools": tools } } });
        let session = self
            .send(self.client.post(self.at("/session")), &body)
            .await;
        session["id"]
            .as_str()
            .unwrap_or_else(|| panic!("{session}"))
            .to_owned()
    }

    /// Prompts and waits for the end of the turn.
    pub(super) async fn prompt(&self, session: &str, grant: &Grant, text: &str) -> Value {
        let (provider, model) = grant.model_ref();
        let body = json!({
            "model": { "providerID": provider, "modelID": model },
            "parts": [{ "type": "text", "text": text }],
        });
        self.send(
            self.client
                .post(self.at(&format!("/session/{session}/message"))),
            &body,
        )
        .await
    }

    pub(super) async fn messages(&self, session: &str) -> Value {
        self.read(
            self.client
                .get(self.at(&format!("/session/{session}/message"))),
        )
        .await
    }

    async fn until_healthy(&self) {
        let healthy = tokio::time::timeout(BOOT, async {
            loop {
                let probe = self.client.get(self.at("/global/health")).timeout(PROBE);
                let answered = probe
                    .basic_auth("opencode", Some(self.password.expose()))
                    .send()
                    .await;
                if answered.is_ok_and(|response| response.status().is_success()) {
                    return;
                }
            }
        });
        healthy.await.expect("it becomes healthy");
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    async fn send(&self, request: RequestBuilder, body: &Value) -> Value {
        self.read(
            request
                .header("content-type", "application/json")
                .body(body.to_string()),
        )
        .await
    }

    async fn read(&self, request: RequestBuilder) -> Value {
        let response = request
            .timeout(TURN)
            .basic_auth("opencode", Some(self.password.expose()))
            .send()
            .await
            .unwrap();
        serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
    }
}

fn command(root: &Path) -> Command {
    let mut command = Command::new(BINARY);
    command
        .args(["serve", "--hostname", "127.0.0.1", "--port", "0"])
        .current_dir(root.join("work"))
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", root.join("home"))
        .env("TMPDIR", root.join("tmp"))
        // What the engine finds left-overs by, and what must not get through.
        .env("SIDECAR_CHILD_OF", "marked")
        .env("SIDECAR_SOMETHING", "sidecar-secret")
        .env("ANY_API_KEY", "sidecar-secret")
        .envs(SWITCHES.map(|name| (name, "1")))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    for (name, folder) in [
        ("XDG_CONFIG_HOME", "config"),
        ("XDG_DATA_HOME", "data"),
        ("XDG_STATE_HOME", "state"),
        ("XDG_CACHE_HOME", "cache"),
    ] {
        command.env(name, root.join(folder));
    }
    command
}

/// The child speaks plain HTTP; a client wants to be told how it would do TLS all the same.
fn no_tls() -> rustls::ClientConfig {
    let provider = rustls::crypto::ring::default_provider();
    rustls::ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth()
}
