//! What this process asks of the kernel for itself: descriptors, and to be closed to inspection.

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

/// Descriptors we may want: every connection allowed, each perhaps with a call to a provider.
const OPEN_FILES: u64 = 65_536;

/// Takes what the system grants: the usual soft limit of 1024 is a courtesy to programs that use
/// `select`.
pub fn raise_open_file_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(OPEN_FILES, |maximum| maximum.min(OPEN_FILES));
    if current.is_none_or(|current| current >= wanted) {
        return;
    }
    let limit = Rlimit {
        current: Some(wanted),
        maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
}

/// Closes this process to inspection by others of the same user: the agent's tools are such, our memory
/// holds keys, and the environment the shared secret. Also no core dumps, for the same reason.
///
/// # Errors
/// When the kernel refuses one of the two.
pub fn harden() -> std::io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    Ok(setrlimit(Resource::Core, none)?)
}
