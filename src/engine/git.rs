//! How OpenCode's own calls of git are run: by our binary under a secret name, which takes from git the means
//! to start other programs and then becomes it.
//!
//! A repository names programs in files that the agent may write: `.git/config` (filters, hooks, a monitor of
//! files, external diffs, transports) and `.gitattributes` (where they apply). There are too many of them, with
//! names that the repository chooses, to be turned off one by one. So a filter of system calls lets git start
//! threads and no process. What would need one fails, and git goes on without it: a file that a filter was to
//! change is taken as it is. The agent's own `git`, in its shell, is not run by this.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

/// The first argument that makes our binary this.
pub const NAME: &str = "__git";

/// Neither the user's nor the system's configuration: the agent may have written the one through a link, and
/// the other belongs to the person who uses git by hand.
const VARIABLES: &[(&str, &str)] = &[
    ("GIT_ATTR_NOSYSTEM", "1"),
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_TERMINAL_PROMPT", "0"),
];

/// What would only fail, with words on stderr.
const OPTIONS: &[&str] = &[
    "core.attributesFile=/dev/null",
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "gc.auto=0",
    "maintenance.auto=false",
];

/// Looks into submodules with a git of its own, which cannot be started.
const DIFF_FILES: &str = "diff-files";

// Linux's numbers of x86_64, the one architecture OpenCode's binary and ours are built for.
const SYS_CLONE: i64 = 56;
const SYS_FORK: i64 = 57;
const SYS_VFORK: i64 = 58;
const SYS_CLONE3: i64 = 435;
const CLONE_THREAD: u64 = 0x0001_0000;
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// Becomes git with `arguments`. Returns only if that failed.
pub fn exec(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let problem = if let Err(error) = forbid_processes() {
        format!("the kernel does not filter system calls: {error}")
    } else {
        let error = command(arguments).exec();
        format!("run git: {}", crate::text::plain(&error.to_string()))
    };
    #[expect(clippy::print_stderr, reason = "OpenCode reads what git says")]
    {
        eprintln!("{NAME}: {problem}");
    }
    ExitCode::from(127)
}

fn command(arguments: impl IntoIterator<Item = OsString>) -> Command {
    let mut command = Command::new("git");
    command.envs(VARIABLES.iter().copied());
    for option in OPTIONS {
        command.args(["-c", option]);
    }
    for argument in arguments {
        let looks_into_submodules = argument == DIFF_FILES;
        command.arg(argument);
        if looks_into_submodules {
            command.arg(OsStr::new("--ignore-submodules=dirty"));
        }
    }
    command
}

/// For this thread and all that it becomes or starts. `exec` stays allowed: it makes no second process.
fn forbid_processes() -> Result<(), seccompiler::Error> {
    let no_thread = SeccompCondition::new(
        0,
        SeccompCmpArgLen::Qword,
        SeccompCmpOp::MaskedEq(CLONE_THREAD),
        0,
    )?;
    let processes = BTreeMap::from([
        (SYS_FORK, Vec::new()),
        (SYS_VFORK, Vec::new()),
        (SYS_CLONE, vec![SeccompRule::new(vec![no_thread])?]),
    ]);
    // Its flags lie in memory, where a filter cannot look. The C library takes `clone` instead.
    let newer = BTreeMap::from([(SYS_CLONE3, Vec::new())]);
    for (rules, errno) in [(processes, EPERM), (newer, ENOSYS)] {
        let filter = SeccompFilter::new(
            rules,
            SeccompAction::Allow,
            SeccompAction::Errno(errno),
            TargetArch::x86_64,
        )?;
        let program: BpfProgram = filter.try_into()?;
        seccompiler::apply_filter(&program)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_options_come_before_the_command_and_submodules_are_not_entered() {
        let command = command(["--git-dir", "x", "diff-files", "-z"].map(OsString::from));
        let arguments: Vec<&str> = command
            .get_args()
            .map(|argument| argument.to_str().unwrap())
            .collect();
        let ours = OPTIONS.len() * 2;
        assert_eq!(
            arguments[ours..],
            [
                "--git-dir",
                "x",
                "diff-files",
                "--ignore-submodules=dirty",
                "-z"
            ]
        );
        let variables: BTreeMap<_, _> = command.get_envs().collect();
        assert_eq!(
            variables[OsStr::new("GIT_CONFIG_GLOBAL")],
            Some(OsStr::new("/dev/null"))
        );
    }

    #[test]
    fn a_filtered_thread_starts_threads_and_no_process() {
        // The filter holds for this thread alone.
        std::thread::spawn(|| {
            forbid_processes().unwrap();
            std::thread::spawn(|| ()).join().unwrap();
            let error = Command::new("true").status().unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
        })
        .join()
        .unwrap();
    }
}
