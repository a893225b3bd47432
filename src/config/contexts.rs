//! The file of contexts as `context` shows and changes it.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::client::ClientEnvironment;
use super::error::ConfigError;
use crate::text::plain;

/// One sidecar of the file, without its secrets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NamedContext {
    pub(crate) name: String,
    pub(crate) url: String,
    /// Whether it has a token, or a file with one.
    pub(crate) has_token: bool,
    /// What prompts use unless they say otherwise.
    pub(crate) model: Option<String>,
    pub(crate) is_current: bool,
}

impl ClientEnvironment {
    /// Those of the file, by name; none without a file.
    pub(crate) fn named_contexts(&self) -> Result<Vec<NamedContext>, ConfigError> {
        let Some((_, file)) = self.contexts()? else {
            return Ok(Vec::new());
        };
        let current = file.current;
        let named = file
            .contexts
            .into_iter()
            .map(|(name, context)| NamedContext {
                is_current: current.as_ref() == Some(&name),
                has_token: context.token.is_some() || context.token_file.is_some(),
                url: without_password(context.url),
                model: context.defaults.provider.map(|provider| {
                    let model = context.defaults.model.unwrap_or_default();
                    format!("{provider} {model}").trim_end().to_owned()
                }),
                name,
            });
        Ok(named.collect())
    }

    /// Makes this one the current context, and leaves everything else of the file as it is.
    pub(crate) fn use_context(&self, name: &str) -> Result<(), ConfigError> {
        // Also says which there are if this one is not there.
        self.context(name)?;
        let Some((path, _)) = self.contexts()? else {
            return Ok(());
        };
        let failed = |error: std::io::Error| {
            let (path, reason) = (path.display(), plain(&error.to_string()));
            ConfigError::Usage(format!("{path} cannot be written: {reason}"))
        };
        let text = std::fs::read_to_string(&path).map_err(failed)?;
        replace(&path, &with_current(&text, name)).map_err(failed)
    }
}

/// What stands before an @ may be a password.
fn without_password(url: String) -> String {
    match url.split_once('@') {
        Some((_, host)) => format!("…@{host}"),
        None => url,
    }
}

/// The text with this name as `current`, which stands before the first table.
fn with_current(text: &str, name: &str) -> String {
    let line = format!("current = {}\n", toml_string(name));
    let is_current = |line: &str| {
        line.split_once('=')
            .is_some_and(|(key, _)| key.trim() == "current")
    };
    let mut made = String::with_capacity(text.len() + line.len());
    let (mut done, mut in_table) = (false, false);
    for old in text.split_inclusive('\n') {
        in_table |= old.trim_start().starts_with('[');
        if !done && !in_table && is_current(old) {
            made.push_str(&line);
            done = true;
        } else {
            made.push_str(old);
        }
    }
    if done { made } else { line + &made }
}

/// A JSON string is a TOML string.
fn toml_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The whole file at once, with the permissions it had: it may hold tokens.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let path: PathBuf = path.canonicalize()?;
    let mode = path.metadata()?.permissions().mode();
    let dir = path.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(text.as_bytes())?;
    file.as_file()
        .set_permissions(std::fs::Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::super::environment::Environment;
    use super::*;

    const FILE: &str = "# mine\ncurrent = \"near\" # at home\n\n[contexts.near]\nurl = \"localhost:4000\"\n\n[contexts.far]\nurl = \"https://far\"\ntoken = \"hunter2\"\nprovider = \"openai\"\nmodel = \"gpt\"\n\n[contexts.odd]\nurl = \"https://me:hunter2@odd\"\n";

    #[test]
    fn the_current_context_changes_and_nothing_else() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join(".config/opencode-sidecar");
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("contexts.toml");
        std::fs::write(&path, FILE).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let variables = [(OsString::from("HOME"), home.path().into())];
        let environment = ClientEnvironment::new(Environment::new(variables));

        let named = environment.named_contexts().unwrap();
        assert!(!format!("{named:?}").contains("hunter2"), "{named:?}");
        let urls: Vec<&str> = named.iter().map(|one| &*one.url).collect();
        assert_eq!(urls, ["https://far", "localhost:4000", "…@odd"]);
        assert_eq!(named[0].model.as_deref(), Some("openai gpt"));
        assert!(named[0].has_token && named[1].is_current);

        environment.use_context("far").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let expected = FILE.replace("current = \"near\" # at home", "current = \"far\"");
        assert_eq!(text, expected);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let unknown = environment.use_context("nowhere").unwrap_err().to_string();
        assert!(
            unknown.contains("has no context nowhere; it has far, near, odd"),
            "{unknown}"
        );
    }

    #[test]
    fn a_file_without_a_current_context_gets_one() {
        assert_eq!(
            with_current("[contexts.a]\ncurrent = 1\n", "a\"b"),
            "current = \"a\\\"b\"\n[contexts.a]\ncurrent = 1\n"
        );
    }
}
