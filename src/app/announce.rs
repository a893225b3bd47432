//! What whoever starts the program is told: the address on stdout, and what to mind in the log.

use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;

use crate::config::{Announce, Config};

/// Tells the address on stdout, for a person or for whoever started us and reads one line; then what to mind, in the log.
pub(super) fn announce(config: &Config, address: SocketAddr) {
    let text = match config.announce {
        Announce::Text => true,
        Announce::Json => false,
        Announce::Auto => std::io::stdout().is_terminal(),
    };
    let line = if text {
        banner(address.port(), config.console, config.demo)
    } else {
        format!(
            "{}\n",
            serde_json::json!({ "event": "listening", "address": address.to_string(), "port": address.port() })
        )
    };
    // Nobody reading is no reason not to serve.
    drop(std::io::stdout().write_all(line.as_bytes()));
    warn_about(config);
}

/// The first things to try. With the demo model a whole session needs no key.
fn banner(port: u16, console: bool, demo: bool) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let session = if demo {
        format!(
            "\n  watch an agent at work (no key needed):\n\n  \
             curl -sN localhost:{port}/sessions -H 'Accept: text/event-stream' -d '{{\n    \
             \"session_id\": \"first\", \"prompt\": \"Show me what you can do\",\n    \
             \"model_config\": {{\"provider\": \"demo\", \"model\": \"demo\"}}}}'\n"
        )
    } else {
        String::new()
    };
    let look = if console {
        format!("open http://localhost:{port}/ in a browser to look at it\n\n  ")
    } else {
        String::new()
    };
    format!(
        "\n  opencode-sidecar {version} listens on http://localhost:{port}\n\n  \
         {look}try:  curl -s localhost:{port}/ready\n        \
         curl -s localhost:{port}/engine/status\n{session}\n"
    )
}

/// Settings that work and that one should think about.
fn warn_about(config: &Config) {
    for hint in &config.hints {
        tracing::warn!("{hint}");
    }
    if !config.shared_secrets.required() {
        tracing::warn!(
            "OPENCODE_SHARED_SECRET is not set: whoever reaches this port may use it, but for the agent's own processes"
        );
    }
    if rustix::process::geteuid().is_root() {
        tracing::warn!(
            "running as root: the agent's tools can read this process's secrets; run as an ordinary user"
        );
    }
}
