//! The system calls a command of the agent may not make: those that look into other processes, that make
//! a user namespace with all capabilities inside, or that have been the way out of a container before.
//!
//! They fail with `EPERM`, as in the default profile of container runtimes, so programs that only try
//! them go on without.

use std::collections::BTreeMap;
use std::io;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

/// Refused whatever their arguments are.
const REFUSED: &[libc::c_long] = &[
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_fsconfig,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_bpf,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_open_by_handle_at,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
];

/// The bit that marks a call of the x32 interface, which has the same architecture in a filter's eyes.
#[cfg(target_arch = "x86_64")]
pub(super) const X32: libc::c_long = 0x4000_0000;

/// Calls that have a number of their own in the x32 interface: `ptrace`, `kexec_load`, `process_vm_readv`,
/// `process_vm_writev`.
#[cfg(target_arch = "x86_64")]
const X32_ONLY: &[libc::c_long] = &[X32 + 521, X32 + 528, X32 + 539, X32 + 540];

/// Puts the filter on the calling thread and on all it starts.
pub(super) fn apply() -> io::Result<()> {
    let other = io::Error::other::<Box<dyn std::error::Error + Send + Sync>>;
    for filter in filters().map_err(|error| other(error.into()))? {
        seccompiler::apply_filter(&filter).map_err(|error| other(error.into()))?;
    }
    Ok(())
}

fn filters() -> Result<[BpfProgram; 2], seccompiler::BackendError> {
    let mut refused: BTreeMap<i64, Vec<SeccompRule>> = numbers()
        .into_iter()
        .map(|number| (number, Vec::new()))
        .collect();
    for call in [libc::SYS_unshare, libc::SYS_clone] {
        refused.insert(call, vec![new_user_namespace()?]);
        #[cfg(target_arch = "x86_64")]
        refused.insert(call + X32, vec![new_user_namespace()?]);
    }
    // Its flags lie in memory, where a filter cannot look. Without it the C library uses `clone`.
    let unknown = libc::SYS_clone3;
    let absent = BTreeMap::from([
        (unknown, Vec::new()),
        #[cfg(target_arch = "x86_64")]
        (unknown + X32, Vec::new()),
    ]);
    Ok([
        filter(refused, libc::EPERM.cast_unsigned())?,
        filter(absent, libc::ENOSYS.cast_unsigned())?,
    ])
}

#[cfg(target_arch = "x86_64")]
fn numbers() -> Vec<i64> {
    let x32 = REFUSED.iter().map(|number| number + X32);
    REFUSED
        .iter()
        .copied()
        .chain(x32)
        .chain(X32_ONLY.iter().copied())
        .collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn numbers() -> Vec<i64> {
    REFUSED.to_vec()
}

/// Both calls have their flags first.
fn new_user_namespace() -> Result<SeccompRule, seccompiler::BackendError> {
    let flag = u64::from(libc::CLONE_NEWUSER.cast_unsigned());
    let condition = SeccompCondition::new(
        0,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::MaskedEq(flag),
        flag,
    )?;
    SeccompRule::new(vec![condition])
}

pub(super) fn filter(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    errno: u32,
) -> Result<BpfProgram, seccompiler::BackendError> {
    SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(errno),
        std::env::consts::ARCH.try_into()?,
    )?
    .try_into()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// A domain and a filter are of one thread, and a process that it starts inherits them.
    fn output(program: &str, arguments: &[&str]) -> (bool, String) {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                apply().unwrap();
                let output = Command::new(program).args(arguments).output().unwrap();
                let text = String::from_utf8_lossy(&output.stderr).into_owned();
                (output.status.success(), text)
            });
            thread.join().unwrap()
        })
    }

    #[test]
    fn no_command_makes_a_user_namespace() {
        let free = Command::new("unshare")
            .args(["--user", "true"])
            .output()
            .unwrap();
        assert!(free.status.success(), "without the filter it can: {free:?}");
        let (done, text) = output("unshare", &["--user", "true"]);
        assert!(!done && text.contains("not permitted"), "{text}");
    }

    #[test]
    fn refused_calls_say_so_and_others_work() {
        let ask = |number: libc::c_long| {
            let script = format!(
                "import ctypes,sys\nc=ctypes.CDLL(None,use_errno=True)\n\
                 c.syscall({number},0,0,0,0,0,0)\nprint(ctypes.get_errno(),file=sys.stderr)"
            );
            output("python3", &["-c", &script]).1.trim().to_owned()
        };
        for number in [
            libc::SYS_ptrace,
            libc::SYS_bpf,
            libc::SYS_io_uring_setup,
            libc::SYS_keyctl,
        ] {
            assert_eq!(ask(number), libc::EPERM.to_string(), "{number}");
        }
        assert_eq!(ask(libc::SYS_clone3), libc::ENOSYS.to_string());
        let threads = "import threading\nt=threading.Thread(target=print)\nt.start()\nt.join()";
        assert!(output("python3", &["-c", threads]).0);
    }
}
