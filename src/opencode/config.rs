//! What the child is told at its start: OpenCode's configuration, and our plugin.
//!
//! Owns the text of `OPENCODE_CONFIG_CONTENT` and the files of the config folder. Pure. The configuration
//! holds the gateway's bearer and therefore is a [`Secret`]: it reaches the child through [`secrets`], and is
//! never in a file or in an environment that the kernel shows.
//!
//! It cannot change while the child runs (that aborts every session), so nothing in it belongs to one
//! session: its models are generic, and the gateway puts the real ones in.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::VERSION;
use crate::secret::Secret;

/// A generic model of the child.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Model {
    pub(crate) id: &'static str,
    /// Tokens it can take in: decides when OpenCode compacts.
    pub(crate) context: u32,
    /// Tokens left free for the answer.
    pub(crate) output: u32,
}

/// What differs from one start to the next.
#[derive(Debug)]
pub(crate) struct Settings<'a> {
    pub(crate) gateway: SocketAddr,
    pub(crate) token: &'a Secret,
    pub(crate) models: &'a [Model],
    /// How long the child's clients wait for the gateway: longer than the gateway for the provider.
    pub(crate) timeout: Duration,
    /// What runs the agent's commands. `None`: what OpenCode finds.
    pub(crate) shell: Option<&'a Path>,
}

/// Our plugin: strips the agent's environment and enforces tool lists.
pub(crate) const PLUGIN: &str = include_str!("plugin.js");

/// Runs in OpenCode's process before OpenCode: closes it to inspection, and takes the secrets from stdin.
pub(crate) const PRELOAD: &str = include_str!("preload.js");

/// The variable by which Bun, of which OpenCode's binary is made, finds [`PRELOAD`].
pub(crate) const PRELOAD_VARIABLE: &str = "BUN_INSPECT_PRELOAD";

/// The variable by which OpenCode finds its catalogue of models.
pub(crate) const MODELS_VARIABLE: &str = "OPENCODE_MODELS_PATH";

/// A catalogue without models: ours stand in the configuration, and to build the one in OpenCode's binary takes a
/// second of the first turn and 200 MiB. Where this file is missing or is no JSON OpenCode says nothing and takes
/// its own.
pub(crate) const MODELS: &str = "{}";

/// The line on stdout by which [`PRELOAD`] says that nobody can look into the process any more.
pub(crate) const READY_FOR_SECRETS: &str = "opencode-sidecar: ready for the secrets";

/// What [`PRELOAD`] reads from stdin. `git` is the command that takes the place of `git`, `egress` the port of the
/// egress proxy and the key of its credentials.
pub(crate) fn secrets(
    password: &Secret,
    configuration: &Secret,
    git: &[&str],
    egress: Option<(u16, &Secret)>,
) -> Secret {
    let egress = egress.map(|(port, key)| json!({ "port": port, "key": key.expose() }));
    let message = json!({
        "environment": {
            super::PASSWORD_VARIABLE: password.expose(),
            super::CONFIG_VARIABLE: configuration.expose(),
        },
        "git": git,
        "egress": egress,
    });
    Secret::new(message.to_string())
}

/// The files of the folder `$XDG_CONFIG_HOME/opencode`, by path inside it.
///
/// OpenCode finds `plugin/*.js` by itself. With a plugin it waits at boot for `npm install` of
/// `@opencode-ai/plugin` (70 s without network), unless the folder looks installed: `node_modules` is there
/// and both package files name the plugin. The version is OpenCode's own. The agent could write here too,
/// so the folder is made anew at every start.
pub(crate) fn folder() -> [(&'static str, String); 4] {
    let dependencies = json!({ "@opencode-ai/plugin": VERSION });
    let package = json!({ "dependencies": dependencies });
    let lock = json!({
        "name": "opencode", "lockfileVersion": 3, "requires": true,
        "packages": { "": { "dependencies": dependencies } },
    });
    let stub = json!({ "name": "@opencode-ai/plugin", "version": VERSION });
    [
        ("plugin/sidecar.js", PLUGIN.to_owned()),
        ("package.json", package.to_string()),
        ("package-lock.json", lock.to_string()),
        (
            "node_modules/@opencode-ai/plugin/package.json",
            stub.to_string(),
        ),
    ]
}

/// One provider of the child: a dialect of the gateway.
struct Provider {
    id: &'static str,
    npm: &'static str,
    path: &'static str,
    /// Whether the models may be given images. Those behind the other dialects mostly cannot see.
    images: bool,
}

const PROVIDERS: [Provider; 3] = [
    Provider {
        id: "gw-openai",
        npm: "@ai-sdk/openai",
        path: "openai",
        images: true,
    },
    Provider {
        id: "gw-anthropic",
        npm: "@ai-sdk/anthropic",
        path: "anthropic",
        images: true,
    },
    Provider {
        id: "gw-compat",
        npm: "@ai-sdk/openai-compatible",
        path: "compat",
        images: false,
    },
];

/// The text of `OPENCODE_CONFIG_CONTENT`.
///
/// No `small_model`: without one OpenCode takes the session's own model for small jobs, and only that
/// one has a route. `enabled_providers` keeps it from any provider but ours.
pub(crate) fn content(settings: &Settings<'_>) -> Secret {
    let providers: Map<String, Value> = PROVIDERS
        .iter()
        .map(|provider| (provider.id.to_owned(), entry(provider, settings)))
        .collect();
    let enabled: Vec<_> = PROVIDERS.iter().map(|provider| provider.id).collect();
    let default = settings
        .models
        .first()
        .map(|model| format!("gw-compat/{}", model.id));
    let mut config = json!({
        "$schema": "https://opencode.ai/config.json",
        "autoupdate": false,
        "share": "disabled",
        "enabled_providers": enabled,
        "provider": providers,
        "model": default,
        // Sessions come with a title.
        "agent": { "title": { "disable": true } },
        // Nothing may wait for a person unless a session asks for it. The three are named because OpenCode's
        // own rules for them come after `*`.
        "permission": { "*": "allow", "question": "deny", "external_directory": "deny", "doom_loop": "deny" },
    });
    if let Some(shell) = settings.shell {
        config["shell"] = json!(shell);
    }
    Secret::new(config.to_string())
}

fn entry(provider: &Provider, settings: &Settings<'_>) -> Value {
    let input: &[&str] = if provider.images {
        &["text", "image", "pdf"]
    } else {
        &["text"]
    };
    let models: Map<String, Value> = settings
        .models
        .iter()
        .map(|model| {
            let entry = json!({
                "name": model.id,
                // The names of the real models decide nothing here; the gateway drops what one does not take.
                "temperature": true,
                "tool_call": true,
                "reasoning": false,
                "attachment": provider.images,
                "modalities": { "input": input, "output": ["text"] },
                "limit": { "context": model.context, "output": model.output },
                "cost": { "input": 0, "output": 0 },
            });
            (model.id.to_owned(), entry)
        })
        .collect();
    let timeout = u64::try_from(settings.timeout.as_millis()).unwrap_or(u64::MAX);
    json!({
        "npm": provider.npm,
        "name": provider.id,
        "options": {
            "baseURL": format!("http://{}/{}/v1", settings.gateway, provider.path),
            "apiKey": settings.token.expose(),
            "headerTimeout": timeout,
            "chunkTimeout": timeout,
        },
        "models": models,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Value {
        let models = [Model {
            id: "auto-32k",
            context: 32_768,
            output: 4_096,
        }];
        let settings = Settings {
            gateway: "127.0.0.1:4567".parse().unwrap(),
            token: &Secret::new("token-1"),
            models: &models,
            timeout: Duration::from_secs(150),
            shell: Some(Path::new("/data/shell/bash")),
        };
        serde_json::from_str(content(&settings).expose()).unwrap()
    }

    #[test]
    fn every_provider_leads_to_the_gateway_and_to_nothing_else() {
        let config = config();
        assert_eq!(
            config["enabled_providers"],
            json!(["gw-openai", "gw-anthropic", "gw-compat"])
        );
        for (id, path) in [
            ("gw-openai", "openai"),
            ("gw-anthropic", "anthropic"),
            ("gw-compat", "compat"),
        ] {
            let options = &config["provider"][id]["options"];
            assert_eq!(
                options["baseURL"],
                format!("http://127.0.0.1:4567/{path}/v1")
            );
            assert_eq!(options["apiKey"], "token-1");
            assert_eq!(options["headerTimeout"], 150_000);
            assert_eq!(
                config["provider"][id]["models"]["auto-32k"]["limit"]["context"],
                32_768
            );
        }
    }

    #[test]
    fn nothing_waits_for_a_person() {
        let permission = &config()["permission"];
        assert_eq!(permission["*"], "allow");
        for asked in ["question", "external_directory", "doom_loop"] {
            assert_eq!(permission[asked], "deny", "{asked}");
        }
    }

    #[test]
    fn the_preload_says_what_the_engine_waits_for() {
        assert!(PRELOAD.contains(&format!("const READY = \"{READY_FOR_SECRETS}\"")));
        assert!(PRELOAD.contains(PRELOAD_VARIABLE));
    }

    #[test]
    fn the_secrets_are_one_json_message() {
        let message = secrets(
            &Secret::new("p\"w"),
            &Secret::new("{}"),
            &["/bin/x", "__git"],
            Some((4711, &Secret::new("key-1"))),
        );
        let message: Value = serde_json::from_str(message.expose()).unwrap();
        assert_eq!(message["environment"]["OPENCODE_SERVER_PASSWORD"], "p\"w");
        assert_eq!(message["environment"]["OPENCODE_CONFIG_CONTENT"], "{}");
        assert_eq!(message["git"], json!(["/bin/x", "__git"]));
        assert_eq!(message["egress"], json!({ "port": 4711, "key": "key-1" }));
    }

    #[test]
    fn the_folder_looks_installed() {
        for (path, text) in folder() {
            assert!(
                text.contains("@opencode-ai/plugin") || path == "plugin/sidecar.js",
                "{path}"
            );
        }
    }
}
