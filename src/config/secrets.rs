//! The bearer tokens clients may use, and their renewal while we run.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;

use super::environment::Environment;
use super::error::ConfigError;
use super::settings::SecretFile;
use crate::secret::Secret;
use crate::setting;
use crate::text::plain;

/// The variable that holds the secret itself.
pub(super) const NAME: &str = "OPENCODE_SHARED_SECRET";
const FILE_NAME: &str = "OPENCODE_SHARED_SECRET_FILE";

/// A secret file is a line or two; anything larger is the wrong file.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// The tokens accepted now: none (auth is off), one, or two during a rotation.
#[derive(Clone, Debug)]
pub(crate) struct SharedSecrets {
    current: Arc<RwLock<Vec<Accepted>>>,
    file: Option<PathBuf>,
}

#[derive(Debug)]
struct Accepted {
    secret: Secret,
    /// Cancelled when it is not accepted any more.
    revoked: CancellationToken,
}

/// What reading the file again brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Renewal {
    Unchanged,
    Changed,
    /// The old tokens stay; the sentence says why.
    Refused(String),
}

// === impl SharedSecrets ===

impl SharedSecrets {
    pub(super) fn read(file: SecretFile, environment: &Environment) -> Result<Self, ConfigError> {
        let value = environment.setting(NAME);
        let Some(file) = file.opencode_shared_secret_file else {
            let secrets = value.map_or(Ok(Vec::new()), |(_, value)| sound(NAME, &value))?;
            return Ok(Self::new(secrets, None));
        };
        if value.is_some() {
            return Err(ConfigError::Usage(format!(
                "{NAME} and {FILE_NAME} are both set: keep one"
            )));
        }
        let text = read_file(&file).map_err(|reason| ConfigError::BadFile {
            name: FILE_NAME.to_owned(),
            path: file.clone(),
            reason,
        })?;
        Ok(Self::new(sound(FILE_NAME, &text)?, Some(file)))
    }

    fn new(secrets: Vec<String>, file: Option<PathBuf>) -> Self {
        let secrets = secrets.into_iter().map(Accepted::new).collect();
        Self {
            current: Arc::new(RwLock::new(secrets)),
            file,
        }
    }

    /// Whether clients must show a token.
    pub(crate) fn required(&self) -> bool {
        !self.current.read().is_empty()
    }

    /// The one we show ourselves, to the backend or to another instance. Each of two is accepted.
    pub(crate) fn first(&self) -> Option<Secret> {
        let current = self.current.read();
        current.first().map(|accepted| accepted.secret.clone())
    }

    pub(crate) const fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// Whether `token` is one of ours; what it gives is cancelled when it is that no longer. Every secret is compared, so
    /// the time tells nothing.
    pub(crate) fn accept(&self, token: &[u8]) -> Option<CancellationToken> {
        let current = self.current.read();
        current.iter().fold(None, |found, accepted| {
            let matches = accepted.secret.matches(token);
            found.or_else(|| matches.then(|| accepted.revoked.clone()))
        })
    }

    /// Reads the file again. Blocking; a file that vanished or broke leaves the old tokens in place.
    pub(crate) fn renew(&self) -> Renewal {
        let Some(file) = &self.file else {
            return Renewal::Unchanged;
        };
        let refused =
            |reason: &str| Renewal::Refused(format!("{FILE_NAME} {}: {reason}", file.display()));
        let text = match read_file(file) {
            Ok(text) => text,
            Err(reason) => return refused(&reason),
        };
        let Ok(found) = setting::secrets(&text) else {
            return refused("not one or two secrets");
        };
        let mut current = self.current.write();
        let same = current.len() == found.len()
            && current
                .iter()
                .zip(&found)
                .all(|(ours, theirs)| ours.secret.matches(theirs.as_bytes()));
        if same {
            return Renewal::Unchanged;
        }
        let mut before = std::mem::take(&mut *current);
        let known = |text: String| {
            let at = before
                .iter()
                .position(|accepted| accepted.secret.matches(text.as_bytes()));
            at.map_or_else(|| Accepted::new(text), |at| before.swap_remove(at))
        };
        *current = found.into_iter().map(known).collect();
        drop(current);
        for gone in before {
            gone.revoked.cancel();
        }
        Renewal::Changed
    }
}

// === impl Accepted ===

impl Accepted {
    fn new(secret: String) -> Self {
        Self {
            secret: Secret::new(secret),
            revoked: CancellationToken::new(),
        }
    }
}

fn sound(name: &str, text: &str) -> Result<Vec<String>, ConfigError> {
    setting::secrets(text).map_err(|accepts| ConfigError::BadSecret {
        name: name.to_owned(),
        accepts: accepts.to_owned(),
    })
}

pub(super) fn read_file(path: &Path) -> Result<String, String> {
    use std::io::Read as _;
    let file = std::fs::File::open(path).map_err(|error| plain(&error.to_string()))?;
    let mut text = String::new();
    file.take(MAX_FILE_BYTES)
        .read_to_string(&mut text)
        .map_err(|error| plain(&error.to_string()))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_file(text: &str) -> (tempfile::TempDir, PathBuf, SharedSecrets) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        std::fs::write(&file, text).unwrap();
        let secrets = SharedSecrets::new(setting::secrets(text).unwrap(), Some(file.clone()));
        (dir, file, secrets)
    }

    #[test]
    fn both_secrets_of_a_rotation_are_accepted() {
        let (_dir, _, secrets) = from_file("old\nnew\n");
        let accepts = |token: &[u8]| secrets.accept(token).is_some();
        assert!(accepts(b"old") && accepts(b"new"));
        assert!(!accepts(b"old\nnew") && !accepts(b""));
    }

    #[test]
    fn a_changed_file_is_taken_over_and_a_broken_one_is_not() {
        let (_dir, file, secrets) = from_file("old");
        assert_eq!(secrets.renew(), Renewal::Unchanged);
        std::fs::write(&file, "new\n").unwrap();
        assert_eq!(secrets.renew(), Renewal::Changed);
        assert!(secrets.accept(b"new").is_some() && secrets.accept(b"old").is_none());

        std::fs::write(&file, "").unwrap();
        assert!(matches!(secrets.renew(), Renewal::Refused(_)));
        std::fs::remove_file(&file).unwrap();
        assert!(matches!(secrets.renew(), Renewal::Refused(_)));
        let kept = secrets.accept(b"new").unwrap();
        assert!(!kept.is_cancelled(), "the last good secret stays");
    }

    #[test]
    fn what_was_opened_with_a_secret_hears_of_its_end_and_of_no_other() {
        let (_dir, file, secrets) = from_file("old");
        let old = secrets.accept(b"old").unwrap();
        let renewed = |text: &str| {
            std::fs::write(&file, text).unwrap();
            assert_eq!(secrets.renew(), Renewal::Changed);
        };
        renewed("new\nold\n");
        let new = secrets.accept(b"new").unwrap();
        assert!(!old.is_cancelled());
        renewed("new\n");
        assert!(old.is_cancelled() && !new.is_cancelled());
        renewed("old\n");
        assert!(new.is_cancelled() && !secrets.accept(b"old").unwrap().is_cancelled());
    }
}
