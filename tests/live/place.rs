//! The places a sidecar runs in: as which user, as which process of its namespace, with the kernel's
//! sandbox or without.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use crate::support::{Options, SIDECAR, Sidecar};

/// Where, and with what protection, a sidecar runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Uid 0, or else uid 65534 with no capability and no way to gain one.
    pub(crate) root: bool,
    /// Process 1 of a namespace of its own, as in a container.
    pub(crate) first: bool,
    /// `SANDBOX=best-effort`, or else `off`.
    pub(crate) sandbox: bool,
}

// === impl Place ===

impl Place {
    /// The user of the image.
    pub(crate) const NOBODY: Self = Self {
        root: false,
        first: false,
        sandbox: true,
    };

    /// Starts it with both programs root's and 0711, everything read-only but the workspace and the data directory.
    pub(crate) fn start(self, options: Options) -> Sidecar {
        let dir = options.dir.path().to_owned();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        // The checkout may lie where nobody may look, and is not ours to change: ours is copied. OpenCode is
        // 185 MB and mounted.
        fs::copy(SIDECAR, dir.join("sidecar")).unwrap();
        fs::set_permissions(dir.join("sidecar"), fs::Permissions::from_mode(0o711)).unwrap();
        fs::set_permissions(&options.bin, fs::Permissions::from_mode(0o711)).unwrap();
        fs::write(dir.join("opencode"), "").unwrap();
        let user = if self.root {
            ""
        } else {
            for name in ["workspace", "data"] {
                std::os::unix::fs::chown(dir.join(name), Some(65534), Some(65534)).unwrap();
            }
            "setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs --bounding-set -all"
        };
        let bin = options.bin.to_string_lossy().into_owned();
        let options = options
            .env("OPENCODE_BIN", &dir.join("opencode").to_string_lossy())
            .env("SANDBOX", if self.sandbox { "best-effort" } else { "off" });
        let script = format!(
            r#"set -e
            mount --make-rprivate /
            mount --bind "$2" "$1/opencode"
            for d in workspace data; do mount --bind "$1/$d" "$1/$d"; done
            mount -o remount,bind,ro /
            exec {user} "$1/sidecar""#
        );
        let namespaces: &[&str] = if self.first {
            // The sidecar is the child of `unshare`, which waits for it, and is killed with it.
            &["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        } else {
            &["--mount"]
        };
        let command = within(
            &options,
            namespaces,
            &script,
            &[&dir.to_string_lossy(), &bin],
        );
        options.start_as(command)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = if self.root { "root" } else { "uid 65534" };
        let first = if self.first { ", process 1" } else { "" };
        let sandbox = if self.sandbox { "" } else { ", no sandbox" };
        write!(f, "{user}{first}{sandbox}")
    }
}

/// `script` in namespaces of its own, with the sidecar's environment.
pub(crate) fn within(
    options: &Options,
    namespaces: &[&str],
    script: &str,
    arguments: &[&str],
) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(namespaces)
        .args(["sh", "-c", script, "sh"])
        .args(arguments)
        .env_clear();
    for (name, value) in options.command().get_envs() {
        command.env(name, value.unwrap());
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}
