//! The processes that can be seen, and what they hold.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use procfs::ProcError;
use procfs::process::{self, FDTarget};

use super::socket::Socket;

/// One process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pid: i32,
    parent: i32,
    /// Clock ticks since boot: tells a process from a later one with the same number.
    started: u64,
}

/// All processes of one moment, nearly.
#[derive(Debug)]
pub(super) struct View {
    all: Vec<Process>,
    me: i32,
    is_whole: bool,
}

/// `CAP_CHOWN` gives a socket to another user, `CAP_SETUID` makes one in another user's name.
const CHANGES_USER: u64 = (1 << 0) | (1 << 7);

/// Whoever has it mounts what it likes.
const CAP_SYS_ADMIN: u64 = 1 << 21;

// === impl View ===

impl View {
    /// One look. Whether what it saw fits together, [`View::is_whole`] says: a parent may have ended meanwhile.
    pub(super) fn read() -> Self {
        let mut view = Self {
            all: Vec::new(),
            me: rustix::process::getpid().as_raw_nonzero().get(),
            is_whole: true,
        };
        let Ok(found) = process::all_processes() else {
            view.is_whole = false;
            return view;
        };
        for found in found {
            match found.and_then(|process| process.stat()) {
                Ok(stat) => view.all.push(Process {
                    pid: stat.pid,
                    parent: stat.ppid,
                    started: stat.starttime,
                }),
                Err(error) => view.is_whole &= is_gone(&error),
            }
        }
        view.is_whole &= view
            .all
            .iter()
            .all(|process| view.parent(process).is_some());
        view
    }

    /// Whether all that there was could be read.
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// What descends from us, without `earlier` and what descends from them.
    pub(super) fn descendants(&self, earlier: &[Process]) -> Vec<Process> {
        // The number of an earlier process that is gone may be another's.
        let living: Vec<i32> = self
            .all
            .iter()
            .filter(|process| {
                let same = |earlier: &Process| {
                    (earlier.pid, earlier.started) == (process.pid, process.started)
                };
                earlier.iter().any(same)
            })
            .map(|earlier| earlier.pid)
            .collect();
        let ours = family(&self.all, &[self.me]);
        let theirs = family(&self.all, &living);
        self.all
            .iter()
            .filter(|process| process.pid != self.me && ours.contains(&process.pid))
            .filter(|process| !theirs.contains(&process.pid))
            .copied()
            .collect()
    }

    /// Takes away the sockets that us, `earlier` and theirs hold, or anybody who is seen to descend from somebody
    /// else. A process whose parent ended while we looked is not: it may have been one of ours.
    pub(super) fn remove_held_by_others(
        &self,
        ours: &[Process],
        sockets: &mut Vec<Socket>,
    ) -> Vec<Process> {
        let mut holders = Vec::new();
        // The youngest first: whoever asks was often started for it.
        let mut others: Vec<&Process> = self.all.iter().filter(|one| !ours.contains(one)).collect();
        others.sort_unstable_by_key(|process| std::cmp::Reverse(process.started));
        for process in others {
            if sockets.is_empty() {
                break;
            }
            if process.holds(sockets) && self.is_rooted(process) {
                process.remove_held(sockets);
                holders.push(*process);
            }
        }
        holders
    }

    /// Whether all its ancestors are seen.
    fn is_rooted(&self, process: &Process) -> bool {
        let mut process = *process;
        // Parents are older, so no chain is endless.
        while process.parent != 0 {
            match self.parent(&process) {
                Some(parent) => process = parent,
                None => return false,
            }
        }
        true
    }

    /// Its parent; itself where that is outside of what can be seen.
    fn parent(&self, process: &Process) -> Option<Process> {
        if process.parent == 0 {
            return Some(*process);
        }
        let is_parent = |other: &&Process| {
            other.pid == process.parent
                && other.pid != process.pid
                && other.started <= process.started
        };
        self.all.iter().find(is_parent).copied()
    }
}

/// `roots` and all their descendants.
fn family(all: &[Process], roots: &[i32]) -> HashSet<i32> {
    let mut members: HashSet<i32> = roots.iter().copied().collect();
    loop {
        let before = members.len();
        for process in all {
            if members.contains(&process.parent) {
                members.insert(process.pid);
            }
        }
        if members.len() == before {
            return members;
        }
    }
}

/// The users in whose name these processes can have made a socket; `None` if that may be anybody's.
pub(super) fn possible_users(processes: &[Process]) -> Option<HashSet<u32>> {
    let mut users = HashSet::new();
    for process in processes {
        let status = process::Process::new(process.pid).and_then(|process| process.status());
        match status {
            Ok(status) => {
                let known = [status.ruid, status.euid, status.suid, status.fuid];
                if known.contains(&0) || status.capprm & CHANGES_USER != 0 {
                    return None;
                }
                users.extend(known);
            }
            Err(error) if is_gone(&error) => {}
            Err(_) => return None,
        }
    }
    Some(users)
}

// === impl Process ===

impl Process {
    /// Whether one of these sockets is seen among its descriptors.
    pub(super) fn holds(&self, sockets: &[Socket]) -> bool {
        self.inodes()
            .any(|inode| sockets.iter().any(|socket| socket.inode == inode))
    }

    /// Whether this number is still this process's.
    pub(super) fn is_still_there(&self) -> bool {
        let now = process::Process::new(self.pid).and_then(|process| process.stat());
        now.is_ok_and(|now| now.starttime == self.started)
    }

    /// Takes away the sockets that are seen among its descriptors.
    fn remove_held(&self, sockets: &mut Vec<Socket>) {
        self.inodes()
            .for_each(|inode| sockets.retain(|socket| socket.inode != inode));
    }

    /// The sockets among its descriptors, as far as they are seen.
    fn inodes(&self) -> impl Iterator<Item = u64> {
        let listed = fs::read_dir(format!("/proc/{}/fd", self.pid));
        let links = listed.into_iter().flatten().flatten();
        links.filter_map(|entry| {
            let target = fs::read_link(entry.path()).ok()?;
            let inode = target
                .to_str()?
                .strip_prefix("socket:[")?
                .strip_suffix(']')?;
            inode.parse().ok()
        })
    }

    /// Whether everything it holds was read, each thread's too, and neither is one of these sockets nor can hide
    /// one: on its way through a unix socket, or in a ring of `io_uring`.
    pub(super) fn cannot_hold(&self, sockets: &[Socket]) -> bool {
        match self.threads_hold(sockets) {
            Ok(holds) => !holds,
            Err(error) => is_gone(&error),
        }
    }

    fn threads_hold(&self, sockets: &[Socket]) -> Result<bool, ProcError> {
        for task in process::Process::new(self.pid)?.tasks()? {
            let task = PathBuf::from(format!("/proc/{}/task/{}", self.pid, task?.tid));
            let thread = match process::Process::new_with_root(task.clone()) {
                Err(error) if is_gone(&error) => continue,
                thread => thread?,
            };
            for descriptor in thread.fd()? {
                let descriptor = descriptor?;
                let hides = match descriptor.target {
                    FDTarget::Socket(inode) => {
                        let state =
                            fs::read_to_string(task.join(format!("fdinfo/{}", descriptor.fd)));
                        sockets.iter().any(|socket| socket.inode == inode)
                            || has_descriptors_in_flight(state)
                    }
                    FDTarget::AnonInode(kind) => kind.contains("io_uring"),
                    _ => false,
                };
                if hides {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

/// Whether we and what descends from us can make sockets in one cgroup only, as in a container: its root is our
/// own, and nobody here may move.
pub(super) fn is_confined_to_its_cgroup() -> bool {
    let here = || {
        let me = process::Process::myself()?;
        let cgroups = me.cgroups()?.0;
        let is_at_root = cgroups
            .iter()
            .any(|group| group.hierarchy == 0 && group.pathname == "/");
        let may_mount = me.status()?.capeff & CAP_SYS_ADMIN != 0;
        let mounts = me.mountinfo()?;
        let may_move = mounts
            .into_iter()
            .filter(|mount| mount.fs_type == "cgroup2")
            .any(|mount| {
                let file = mount.mount_point.join("cgroup.procs");
                rustix::fs::access(file, rustix::fs::Access::WRITE_OK).is_ok()
            });
        Ok::<_, ProcError>(is_at_root && !may_mount && !may_move)
    };
    here().unwrap_or(false)
}

/// What cannot be read may have some. One that was closed meanwhile has none, but what was in it may be
/// anywhere: the next look will tell.
fn has_descriptors_in_flight(state: io::Result<String>) -> bool {
    state.map_or(true, |state| {
        state
            .lines()
            .filter_map(|line| line.strip_prefix("scm_fds:"))
            .any(|count| count.trim() != "0")
    })
}

/// Whether this kernel says how many descriptors are on their way through a unix socket (Linux 5.11).
pub(super) fn shows_descriptors_in_flight() -> bool {
    UnixStream::pair().is_ok_and(|(socket, _other)| {
        fs::read_to_string(format!("/proc/self/fdinfo/{}", socket.as_raw_fd()))
            .is_ok_and(|state| state.contains("scm_fds:"))
    })
}

fn is_gone(error: &ProcError) -> bool {
    match error {
        ProcError::NotFound(_) => true,
        ProcError::Io(error, _) => {
            error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, parent: i32) -> Process {
        Process {
            pid,
            parent,
            started: u64::from(pid.unsigned_abs()),
        }
    }

    fn pids(processes: &[Process]) -> Vec<i32> {
        processes.iter().map(|process| process.pid).collect()
    }

    /// 1 init; 10 the sidecar; 20 the child with its tool 21; 30 what ran here before, with a child 31 of
    /// its own; 50 a stranger.
    fn pod() -> View {
        let all = [
            (1, 0),
            (21, 20),
            (10, 1),
            (20, 10),
            (31, 30),
            (30, 10),
            (50, 1),
        ];
        View {
            all: all.map(|(pid, parent)| process(pid, parent)).to_vec(),
            me: 10,
            is_whole: true,
        }
    }

    #[test]
    fn what_descends_from_us_is_ours_but_not_what_was_there_before() {
        let pod = pod();
        assert_eq!(pids(&pod.descendants(&[])), [21, 20, 31, 30]);
        assert_eq!(pids(&pod.descendants(&[process(30, 10)])), [21, 20]);
        // An earlier process whose number another process has now.
        let gone = Process {
            started: 7,
            ..process(20, 10)
        };
        assert_eq!(pids(&pod.descendants(&[gone])), [21, 20, 31, 30]);
        assert!(pod.all.iter().all(|process| pod.is_rooted(process)));
    }

    #[test]
    fn a_process_whose_parent_ended_meanwhile_is_nobody_else_s() {
        let mut pod = pod();
        pod.all.push(process(60, 55));
        assert!(!pod.is_rooted(&process(60, 55)));
        // Its parent's number, but younger than the child: another process.
        pod.all.push(Process {
            started: 99,
            ..process(55, 1)
        });
        assert!(!pod.is_rooted(&process(60, 55)));
    }
}
