//! What a process gives up before it becomes the child or runs a command: capabilities, and the use of
//! more than its share.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

use super::config::Limits;

/// The kernel takes a command before OpenCode (500) and OpenCode before the sidecar: a command that is
/// killed costs one answer of a tool.
const OOM_SCORE: &str = "800";

/// Enough for a busy build.
const OPEN_FILES: u64 = 65_536;

/// Gives up every capability for good: none can come back by `exec`, not for root either.
///
/// A process without `CAP_SETPCAP` cannot empty its bounding set, and needs not: `no_new_privs` keeps
/// the set from being used.
pub(super) fn drop_capabilities() -> io::Result<()> {
    let now = capabilities(None)?;
    if now.effective.contains(CapabilitySet::SETPCAP) {
        for capability in CapabilitySet::all().iter() {
            // The kernel may not know the newest ones.
            remove_capability_from_bounding_set(capability).ok();
        }
    }
    clear_ambient_capability_set()?;
    set_no_new_privs(true)?;
    // What is permitted goes with the next `exec` (the bounding set is empty); what could be inherited
    // must not come through it.
    set_capabilities(
        None,
        CapabilitySets {
            inheritable: CapabilitySet::empty(),
            ..now
        },
    )?;
    Ok(())
}

/// The same, and at once: for a process that stays the same program.
pub(super) fn drop_capabilities_now() -> io::Result<()> {
    drop_capabilities()?;
    let none = CapabilitySet::empty();
    set_capabilities(
        None,
        CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        },
    )?;
    Ok(())
}

/// Limits that every command inherits. Best effort where the hard limit is lower already.
pub(super) fn limit(limits: Limits) -> io::Result<()> {
    let within = |resource, wanted: u64| {
        let maximum = getrlimit(resource).maximum;
        let value = Some(maximum.map_or(wanted, |maximum| maximum.min(wanted)));
        setrlimit(
            resource,
            Rlimit {
                current: value,
                maximum: value,
            },
        )
    };
    within(Resource::Core, 0)?;
    within(Resource::Nproc, limits.processes)?;
    within(Resource::Fsize, limits.file_bytes)?;
    let maximum = getrlimit(Resource::Nofile).maximum;
    let current = Some(maximum.map_or(OPEN_FILES, |maximum| maximum.min(OPEN_FILES)));
    Ok(setrlimit(Resource::Nofile, Rlimit { current, maximum })?)
}

/// Says that the kernel should take this process and what it starts first when memory is short, and
/// closes the process to inspection. Nothing secret may be in it yet: its file is root's while it is closed,
/// so for the moment of the write it is open.
pub(super) fn raise_oom_score() -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::Dumpable)?;
    drop(std::fs::write("/proc/self/oom_score_adj", OOM_SCORE));
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Replaces the standard streams by `/dev/null`, and gives what stdin was.
pub(super) fn take_stdin() -> io::Result<OwnedFd> {
    let was = io::stdin().as_fd().try_clone_to_owned()?;
    let null = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(was)
}
