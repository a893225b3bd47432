//! The sidecar as the image runs it, and other places a test puts it in.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use crate::support::{Options, SIDECAR, Sidecar};

/// Uid 65534, both programs root's and 0711, everything read-only but the workspace and the data directory.
pub(crate) fn start_as_nobody(options: Options) -> Sidecar {
    let dir = options.dir.path().to_owned();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    // The checkout may lie where nobody may look, and is not ours to change: ours is copied. OpenCode is
    // 185 MB and mounted.
    fs::copy(SIDECAR, dir.join("sidecar")).unwrap();
    fs::set_permissions(dir.join("sidecar"), fs::Permissions::from_mode(0o711)).unwrap();
    fs::set_permissions(&options.bin, fs::Permissions::from_mode(0o711)).unwrap();
    fs::write(dir.join("opencode"), "").unwrap();
    for name in ["workspace", "data"] {
        std::os::unix::fs::chown(dir.join(name), Some(65534), Some(65534)).unwrap();
    }
    let bin = options.bin.to_string_lossy().into_owned();
    let options = options.env("OPENCODE_BIN", &dir.join("opencode").to_string_lossy());
    let script = r#"set -e
        mount --make-rprivate /
        mount --bind "$2" "$1/opencode"
        for d in workspace data; do mount --bind "$1/$d" "$1/$d"; done
        mount -o remount,bind,ro /
        exec setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs --bounding-set -all "$1/sidecar""#;
    let command = within(&options, script, &[&dir.to_string_lossy(), &bin]);
    options.start_as(command)
}

/// `script` in a mount namespace of its own, with the sidecar's environment.
pub(crate) fn within(options: &Options, script: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", script, "sh"])
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
