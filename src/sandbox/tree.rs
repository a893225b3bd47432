//! Who descends from whom, read from `/proc`.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// What is needed of one process.
#[derive(Clone, Copy, Debug)]
struct Entry {
    parent: Option<Pid>,
    group: Option<Pid>,
    gone: bool,
}

/// Whether `engine` has itself started a process. What the agent starts descends from a runner, and never from
/// the engine.
pub(crate) fn is_started_by(pid: Pid, engine: Pid) -> bool {
    read(pid).and_then(|entry| entry.parent) == Some(engine)
}

fn read(pid: Pid) -> Option<Entry> {
    // A process may call itself by any bytes.
    let stat = fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    parse(&String::from_utf8_lossy(&stat))
}

/// The name stands in brackets and may itself contain brackets and blanks.
fn parse(stat: &str) -> Option<Entry> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let gone = matches!(fields.next()?, "Z" | "X");
    let mut number = || Pid::from_raw(fields.next()?.parse().ok()?);
    Some(Entry {
        parent: number(),
        group: number(),
        gone,
    })
}

fn all() -> HashMap<Pid, Entry> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return HashMap::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(Pid::from_raw)
        .filter_map(|pid| Some((pid, read(pid)?)))
        .collect()
}

/// The living ones of `root`'s process group and of all that descends from it, without `root`'s parents.
/// With `root` itself unless it is `us`.
fn members(root: Pid, us: Pid) -> Vec<Pid> {
    let all = all();
    let mut found: HashSet<Pid> = HashSet::from([root]);
    found.extend(
        all.iter()
            .filter(|(_, entry)| entry.group == Some(root))
            .map(|(pid, _)| *pid),
    );
    loop {
        let before = found.len();
        for (pid, entry) in &all {
            if entry.parent.is_some_and(|parent| found.contains(&parent)) {
                found.insert(*pid);
            }
        }
        if found.len() == before {
            break;
        }
    }
    found
        .into_iter()
        .filter(|pid| *pid != us && all.get(pid).is_some_and(|entry| !entry.gone))
        .collect()
}

/// Asks `root`, its group and what descends from it to end, and after `grace` makes them.
///
/// `us` is spared, so that the runner can end all that it started. Comes to an end because what can
/// start is limited, and at the latest after `deadline`.
pub(super) fn end(root: Pid, us: Pid, grace: Duration, deadline: Duration) {
    let begun = Instant::now();
    if !grace.is_zero() {
        let left = members(root, us);
        signal(&left, Signal::TERM);
        for pid in left {
            wait(pid, grace.saturating_sub(begun.elapsed()));
        }
    }
    while begun.elapsed() < deadline {
        let left = members(root, us);
        if left.is_empty() {
            return;
        }
        // Stopped first, so that none starts another while the rest is being killed.
        signal(&left, Signal::STOP);
        signal(&left, Signal::KILL);
        for pid in left {
            wait(pid, Duration::from_millis(100));
        }
    }
}

fn signal(pids: &[Pid], signal: Signal) {
    for pid in pids {
        if let Ok(process) = pidfd_open(*pid, PidfdFlags::empty()) {
            pidfd_send_signal(&process, signal).ok();
        }
    }
}

/// Waits for the end of a process, for at most `limit`.
fn wait(pid: Pid, limit: Duration) {
    if let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) {
        let limit = Timespec::try_from(limit).ok();
        poll(&mut [PollFd::new(&process, PollFlags::IN)], limit.as_ref()).ok();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;

    use super::*;

    #[test]
    fn a_name_with_brackets_is_no_trap() {
        let entry = parse("7 (a) Z) b) S 3 9 9 0").unwrap();
        assert_eq!(entry.parent, Pid::from_raw(3));
        assert_eq!(entry.group, Pid::from_raw(9));
        assert!(!entry.gone);
    }

    #[test]
    fn a_command_ends_with_all_it_started_and_we_do_not() {
        let mut command = Command::new("bash");
        command.args(["-c", "trap '' TERM; sleep 600 & setsid sleep 600 & wait"]);
        let mut child = command.process_group(0).spawn().unwrap();
        let root = Pid::from_child(&child);
        let us = rustix::process::getpid();
        while members(root, us).len() < 3 {
            std::thread::yield_now();
        }
        let found = members(root, us);
        end(root, us, Duration::from_millis(50), Duration::from_secs(5));
        child.wait().unwrap();
        assert!(
            found
                .iter()
                .all(|pid| read(*pid).is_none_or(|entry| entry.gone))
        );
    }
}
