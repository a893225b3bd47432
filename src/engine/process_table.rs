//! `/proc`, read: who is whose child, and who carries our mark. Deciding who is left over is pure.

use std::collections::HashSet;
use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Pid;

/// The variable every process of ours inherits, down to the last grandchild of a tool.
pub(super) const MARK: &str = "SIDECAR_CHILD_OF";

/// One process, as `/proc` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: Pid,
    pub(super) parent: Option<Pid>,
    pub(super) zombie: bool,
    /// Clock ticks since boot: tells a process from a later one with the same number.
    pub(super) started: u64,
    pub(super) marked: bool,
}

/// What marks every process of ours.
pub(super) fn our_mark(value: &str) -> String {
    format!("{MARK}={value}")
}

/// Longest that reading the table may take.
const READ_LIMIT: Duration = Duration::from_millis(500);

/// The processes of one reading of the table.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) processes: Vec<Process>,
    /// Whether these are all that there were when the reading began. The kernel lists processes by number, and each
    /// new one has a higher number: where processes replace themselves faster than they are read, the list has no
    /// end, and is cut off.
    pub(super) complete: bool,
}

/// The processes that can be seen. Those with one of `marks` in their environment are marked; without
/// marks no environment is read.
pub(super) fn read(marks: &[String]) -> Vec<Process> {
    read_table(marks).processes
}

/// The same, and whether these are all.
pub(super) fn read_table(marks: &[String]) -> Table {
    let end = Instant::now() + READ_LIMIT;
    let newest = newest_number();
    let mut table = Table {
        processes: Vec::new(),
        complete: true,
    };
    let numbers = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| Pid::from_raw(entry.ok()?.file_name().to_str()?.parse().ok()?));
    for pid in numbers {
        // Up to the newest there are only so many, however long they take.
        if pid.as_raw_nonzero().get() > newest && Instant::now() > end {
            table.complete = false;
            break;
        }
        let marked = !marks.is_empty() && carries(pid, marks);
        table
            .processes
            .extend(one(pid).map(|process| Process { marked, ..process }));
    }
    table
}

/// The number that was given last in our namespace; the largest there is if the kernel does not say.
fn newest_number() -> i32 {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let number = load.split_whitespace().next_back();
    number
        .and_then(|number| number.parse().ok())
        .unwrap_or(i32::MAX)
}

/// One process, without its mark.
pub(super) fn one(pid: Pid) -> Option<Process> {
    // A process may call itself by any bytes.
    let stat = fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    parse_stat(pid, &String::from_utf8_lossy(&stat))
}

/// Whether every process of this user is us or one that we descend from: whoever started us may look into us.
pub(super) fn only_ancestors_run_as(user: u32) -> bool {
    let all = read(&[]);
    let mut ancestors = HashSet::new();
    let mut next = Some(rustix::process::getpid());
    while let Some(pid) = next.filter(|pid| ancestors.insert(*pid)) {
        next = all
            .iter()
            .find(|process| process.pid == pid)
            .and_then(|process| process.parent);
    }
    all.iter()
        .filter(|process| !ancestors.contains(&process.pid))
        .all(|process| users_of(process.pid).is_none_or(|users| !users.contains(&user)))
}

/// The users a process acts for: real, effective, saved, for files. `None`: it is gone.
fn users_of(pid: Pid) -> Option<Vec<u32>> {
    let status = fs::read(format!("/proc/{}/status", pid.as_raw_nonzero())).ok()?;
    String::from_utf8_lossy(&status)
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))?
        .split_whitespace()
        .map(|user| user.parse().ok())
        .collect()
}

/// Bytes in memory that are this process's.
pub(super) fn resident_bytes(pid: Pid) -> Option<u64> {
    let statm = fs::read_to_string(format!("/proc/{}/statm", pid.as_raw_nonzero())).ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * u64::try_from(rustix::param::page_size()).ok()?)
}

/// Bytes in memory of everything that descends from us, without us and without what ran here before
/// us. What two of them share counts for each.
pub(super) fn offspring_bytes(earlier: &[Process]) -> u64 {
    let all = read(&[]);
    let same = |a: &Process, b: &Process| (a.pid, a.started) == (b.pid, b.started);
    // The number of an earlier process that is gone may be another's.
    let earlier: Vec<Pid> = earlier
        .iter()
        .filter(|earlier_process| all.iter().any(|process| same(process, earlier_process)))
        .map(|earlier_process| earlier_process.pid)
        .collect();
    leftovers(&all, rustix::process::getpid(), None, &earlier)
        .iter()
        .filter_map(|process| resident_bytes(process.pid))
        .sum()
}

fn parse_stat(pid: Pid, stat: &str) -> Option<Process> {
    // The name stands in brackets and may itself contain brackets and blanks.
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    Some(Process {
        pid,
        zombie: matches!(*fields.first()?, "Z" | "X"),
        parent: Pid::from_raw(fields.get(1)?.parse().ok()?),
        started: fields.get(19)?.parse().ok()?,
        marked: false,
    })
}

fn carries(pid: Pid, marks: &[String]) -> bool {
    fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero()))
        .is_ok_and(|environ| has_mark(&environ, marks))
}

/// Whole pairs only: a mark may be the beginning of another one.
fn has_mark(environ: &[u8], marks: &[String]) -> bool {
    environ
        .split(|&byte| byte == 0)
        .any(|pair| marks.iter().any(|mark| mark.as_bytes() == pair))
}

/// Everything that is marked, and what descends from it.
pub(super) fn marked(all: &[Process]) -> Vec<Process> {
    let mut members = HashSet::new();
    for process in all.iter().filter(|process| process.marked) {
        members.extend(family(all, process.pid));
    }
    all.iter()
        .filter(|process| members.contains(&process.pid))
        .copied()
        .collect()
}

/// Everything that descends from `me` or is marked, but not `me`, what descends from the living
/// `child`, or what descends from `earlier` and is not marked.
pub(super) fn leftovers(
    all: &[Process],
    me: Pid,
    child: Option<Pid>,
    earlier: &[Pid],
) -> Vec<Process> {
    let kept = child.map(|pid| family(all, pid)).unwrap_or_default();
    let foreign: HashSet<Pid> = earlier.iter().flat_map(|&pid| family(all, pid)).collect();
    let ours = family(all, me);
    all.iter()
        .filter(|process| process.pid != me)
        .filter(|process| {
            process.marked || (ours.contains(&process.pid) && !foreign.contains(&process.pid))
        })
        .filter(|process| !kept.contains(&process.pid))
        .copied()
        .collect()
}

/// `ended` with all that descends from them, and of the children of `me` with their descendants those that are
/// not `kept`: they are orphans, which have come to us because what they descend from is gone.
pub(super) fn descendants(all: &[Process], me: Pid, ended: &[Pid], kept: &[Pid]) -> Vec<Process> {
    let orphans = all
        .iter()
        .filter(|process| process.parent == Some(me) && !kept.contains(&process.pid))
        .map(|process| process.pid);
    let members: HashSet<Pid> = ended
        .iter()
        .copied()
        .chain(orphans)
        .flat_map(|root| family(all, root))
        .collect();
    all.iter()
        .filter(|process| members.contains(&process.pid))
        .copied()
        .collect()
}

/// What descends from `me` without being marked: before we start anything, that is what whoever ran
/// in this process before us has started.
pub(super) fn earlier(all: &[Process], me: Pid) -> Vec<Process> {
    let mut family = family(all, me);
    family.remove(&me);
    all.iter()
        .filter(|process| family.contains(&process.pid) && !process.marked)
        .copied()
        .collect()
}

/// `root` and all its descendants.
fn family(all: &[Process], root: Pid) -> HashSet<Pid> {
    let mut members = HashSet::from([root]);
    loop {
        let before = members.len();
        for process in all {
            if process
                .parent
                .is_some_and(|parent| members.contains(&parent))
            {
                members.insert(process.pid);
            }
        }
        if members.len() == before {
            return members;
        }
    }
}

#[cfg(test)]
mod tests;
