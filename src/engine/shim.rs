//! Between fork and exec, without `unsafe`: we run our own binary again under a secret name, it puts
//! itself in order and becomes OpenCode.
//!
//! No secret passes through here. This process can be looked into by every process of the same user until it
//! closes itself, and where OpenCode's binary is readable, `exec` opens it again. So stdin is left unread: the
//! preload asks for the secrets once OpenCode's process is closed (`opencode::config::PRELOAD`).

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use rustix::fs::Mode;
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, getppid, getrlimit, set_dumpable_behavior,
    set_parent_process_death_signal, setpgid, setrlimit, umask,
};

use crate::sandbox;

/// The first argument that makes our binary a shim.
pub const NAME: &str = "__become";

/// Enough for a busy Bun; the hard limit of some hosts is a million, which makes programs that close
/// "all" descriptors slow.
const OPEN_FILES: u64 = 65_536;

/// Becomes `arguments = [parent pid, policy, program, its arguments…]`, in the domain that the policy
/// says. Returns only if that failed.
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
    if let Err(error) = settle(parent).and_then(|()| sandbox::enter_child_domain(Path::new(policy)))
    {
        return format!("prepare the child: {error}");
    }
    let error = Command::new(program).args(arguments).exec();
    format!(
        "run {}: {}",
        program.display(),
        crate::text::plain(&error.to_string())
    )
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
