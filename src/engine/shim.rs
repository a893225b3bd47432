//! Between fork and exec, without `unsafe`: we run our own binary again under a secret name, it puts
//! itself in order and becomes OpenCode.
//!
//! Secrets come through stdin and not through the environment of this step, because the environment
//! of a process that can be read is open to every process of the same user (`/proc/<pid>/environ`),
//! and the agent's tools are such processes.

use std::ffi::{OsStr, OsString};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use rustix::fs::Mode;
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, getppid, getrlimit, set_dumpable_behavior,
    set_parent_process_death_signal, setpgid, setrlimit, umask,
};
use zeroize::Zeroizing;

use crate::sandbox;

/// The first argument that makes our binary a shim.
pub const NAME: &str = "__become";

/// The kernel takes the child before it takes us: losing the child costs a restart, losing the
/// sidecar costs every stream.
const OOM_SCORE: &str = "500";

/// Enough for a busy Bun; the hard limit of some hosts is a million, which makes programs that close
/// "all" descriptors slow.
const OPEN_FILES: u64 = 65_536;

/// More than all secrets together; OpenCode's configuration is the largest.
const MAX_SECRETS: u64 = 4 * 1024 * 1024;

/// Becomes `arguments = [parent pid, policy, program, its arguments…]`, in the domain that the policy says.
/// Returns only if that failed.
pub fn exec(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments = arguments.into_iter();
    let problem = match (arguments.next(), arguments.next(), arguments.next()) {
        (Some(parent), Some(policy), Some(program)) => {
            become_program(&parent, &policy, &program, arguments)
        }
        _ => "used by hand".to_owned(),
    };
    // The parent reads our stderr as it reads OpenCode's, and reports the last lines.
    #[expect(clippy::print_stderr, reason = "there is no log in this process")]
    {
        eprintln!("{NAME}: {problem}");
    }
    ExitCode::from(126)
}

fn become_program(
    parent: &OsStr,
    policy: &OsStr,
    program: &OsStr,
    arguments: impl Iterator<Item = OsString>,
) -> String {
    lower_worth();
    let prepared = settle(parent).and_then(|()| secrets()).and_then(|secrets| {
        sandbox::enter_child_domain(Path::new(policy))?;
        Ok(secrets)
    });
    match prepared {
        Err(error) => format!("prepare the child: {error}"),
        Ok(secrets) => {
            let error = Command::new(program)
                .args(arguments)
                .envs(secrets)
                .stdin(Stdio::null())
                .exec();
            format!(
                "run {}: {}",
                program.display(),
                crate::text::plain(&error.to_string())
            )
        }
    }
}

/// Best effort, and before there is any secret in here. The file is root's while this process is
/// closed to inspection, which it is from its birth when its binary cannot be read (mode 0711, as in
/// the image).
fn lower_worth() {
    set_dumpable_behavior(DumpableBehavior::Dumpable).ok();
    drop(std::fs::write("/proc/self/oom_score_adj", OOM_SCORE));
}

fn settle(parent: &OsStr) -> std::io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // The parent may have died before the line above.
    let ours = getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    if parent.to_str() != Some(ours.to_string().as_str()) {
        return Err(std::io::Error::other("the sidecar is gone"));
    }
    setpgid(None, None)?;
    umask(Mode::from_raw_mode(0o022));
    setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    )?;
    let maximum = getrlimit(Resource::Nofile).maximum;
    let current = Some(maximum.map_or(OPEN_FILES, |maximum| maximum.min(OPEN_FILES)));
    Ok(setrlimit(Resource::Nofile, Rlimit { current, maximum })?)
}

/// `NAME=value` pairs, each ended by a zero byte, until the end of stdin.
fn secrets() -> std::io::Result<Vec<(OsString, OsString)>> {
    let mut bytes = Zeroizing::new(Vec::new());
    std::io::stdin().take(MAX_SECRETS).read_to_end(&mut bytes)?;
    Ok(pairs(&bytes))
}

fn pairs(bytes: &[u8]) -> Vec<(OsString, OsString)> {
    let owned = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
    bytes
        .split(|&byte| byte == 0)
        .filter_map(|pair| {
            let equals = pair.iter().position(|&byte| byte == b'=')?;
            let (name, value) = pair.split_at_checked(equals)?;
            Some((owned(name), owned(value.get(1..)?)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_split_at_the_first_equals_sign() {
        let found = pairs(b"A=1\0B={\"x\":\"=\"}\0broken\0C=\0");
        let expected = [("A", "1"), ("B", "{\"x\":\"=\"}"), ("C", "")];
        assert_eq!(
            found,
            expected.map(|(name, value)| (name.into(), value.into()))
        );
    }
}
