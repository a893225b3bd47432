//! OpenCode's HTTP API and files: the only place that knows their form.
//!
//! Promises: every call has a deadline; nothing in an error holds the password. It does not know what
//! a session of ours is, and publishes nothing.

mod client;
mod error;
pub(crate) mod sse;
pub(crate) mod types;

pub(crate) use self::client::Client;
pub(crate) use self::error::CallError;

/// The version this build is made for and tested with.
pub(crate) const VERSION: &str = "1.18.33";

/// The variable with the password OpenCode asks for on every path.
pub(crate) const PASSWORD_VARIABLE: &str = "OPENCODE_SERVER_PASSWORD";

/// The variable with OpenCode's whole configuration, so that it is never a file the agent can read.
pub(crate) const CONFIG_VARIABLE: &str = "OPENCODE_CONFIG_CONTENT";

/// Files that make OpenCode's configuration folder look installed (beside an empty `node_modules`).
/// OpenCode compares the two `dependencies` and runs `npm install` when they differ.
pub(crate) const CONFIG_FOLDER: &[(&str, &str)] = &[
    (
        "package.json",
        r#"{"dependencies":{"@opencode-ai/plugin":"1.18.33"}}"#,
    ),
    (
        "package-lock.json",
        r#"{"lockfileVersion":3,"packages":{"":{"dependencies":{"@opencode-ai/plugin":"1.18.33"}}}}"#,
    ),
];

/// The configuration of a child that nobody gave a model yet: nothing phones home, and nothing waits
/// for a person.
pub(crate) fn base_configuration() -> String {
    serde_json::json!({
        "autoupdate": false,
        "share": "disabled",
        "permission": { "*": "allow", "question": "deny", "external_directory": "deny", "doom_loop": "deny" },
    })
    .to_string()
}
