//! The settings of the sandbox: what the agent may reach, and as whom.

use super::{Group, Setting, setting};

pub(super) const MODE: Setting = setting(
    Group::Sandbox,
    "SANDBOX",
    Some("best-effort"),
    "required, best-effort or off",
    "Whether the agent is confined by the kernel: required (else no turn runs), as far as it can, or not",
);

pub(super) const READ: Setting = setting(
    Group::Sandbox,
    "SANDBOX_READ",
    None,
    "absolute paths separated by colons",
    "Paths the agent may read besides the system's folders and what PATH names",
);

pub(super) const PROCESSES: Setting = setting(
    Group::Sandbox,
    "TOOL_MAX_PROCESSES",
    Some("8192"),
    "a number from 64 to 1000000",
    "Processes and threads the user of the agent's commands may have, as the kernel counts them",
);

pub(super) const FILE_BYTES: Setting = setting(
    Group::Sandbox,
    "TOOL_MAX_FILE_BYTES",
    Some("16Gi"),
    "a size from 1Mi to 1Ti, such as 2Gi or a number of bytes",
    "Size of the largest file a command of the agent may write",
);

pub(super) const USER: Setting = setting(
    Group::Sandbox,
    "ENGINE_USER",
    None,
    "the name of a user, its number or uid:gid, and not root",
    "User that the engine and the agent's commands run as; needs SETUID, SETGID, KILL, CHOWN, DAC_OVERRIDE",
);
