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
mod tests {
    use super::*;

    fn pid(n: i32) -> Pid {
        Pid::from_raw(n).unwrap()
    }

    fn process(n: i32, parent: i32, marked: bool) -> Process {
        Process {
            pid: pid(n),
            parent: Pid::from_raw(parent),
            zombie: false,
            started: 0,
            marked,
        }
    }

    fn numbers(found: &[Process]) -> Vec<i32> {
        found
            .iter()
            .map(|process| process.pid.as_raw_nonzero().get())
            .collect()
    }

    /// 1 init; 10 the sidecar; 20 the child with its tool 21 and that one's child 22;
    /// 30 an orphan that came to us, with a child 31; 40 marked but with init; 50 a stranger.
    fn pod() -> Vec<Process> {
        vec![
            process(1, 0, false),
            process(31, 30, false),
            process(22, 21, true),
            process(10, 1, false),
            process(20, 10, true),
            process(21, 20, true),
            process(30, 10, false),
            process(40, 1, true),
            process(50, 1, false),
        ]
    }

    #[test]
    fn with_a_living_child_only_what_escaped_from_it_is_left_over() {
        assert_eq!(
            numbers(&leftovers(&pod(), pid(10), Some(pid(20)), &[])),
            [31, 30, 40]
        );
    }

    #[test]
    fn without_a_child_everything_of_ours_is_left_over_and_nothing_else() {
        assert_eq!(
            numbers(&leftovers(&pod(), pid(10), None, &[])),
            [31, 22, 20, 21, 30, 40]
        );
    }

    #[test]
    fn what_was_there_before_us_is_spared_unless_it_is_marked() {
        let earlier = earlier(&pod(), pid(10));
        assert_eq!(numbers(&earlier), [31, 30]);
        let pids: Vec<Pid> = earlier.iter().map(|process| process.pid).collect();
        assert_eq!(
            numbers(&leftovers(&pod(), pid(10), None, &pids)),
            [22, 20, 21, 40]
        );
        let mut marked = pod();
        for process in &mut marked {
            process.marked = true;
        }
        assert_eq!(
            leftovers(&marked, pid(10), None, &pids).len(),
            marked.len() - 1
        );
    }

    #[test]
    fn a_session_ends_by_descent_and_orphans_end_with_it() {
        // 60 and 61 run commands of two sessions; 60's is 62.
        let mut all = pod();
        all.extend([
            process(60, 10, false),
            process(61, 10, false),
            process(62, 60, false),
        ]);
        let found = |ended: &[i32], kept: &[i32]| {
            let pids = |numbers: &[i32]| numbers.iter().map(|n| pid(*n)).collect::<Vec<_>>();
            numbers(&descendants(&all, pid(10), &pids(ended), &pids(kept)))
        };
        assert_eq!(found(&[60], &[20, 61, 30]), [60, 62]);
        assert_eq!(
            found(&[], &[20, 61, 60]),
            [31, 30],
            "an orphan and its child"
        );
    }

    #[test]
    fn a_mark_is_matched_whole() {
        let marks = [our_mark("fd-12")];
        let environ = |pair: &str| format!("A=1\0{pair}\0B=2").into_bytes();
        assert!(has_mark(&environ("SIDECAR_CHILD_OF=fd-12"), &marks));
        for other in [
            "SIDECAR_CHILD_OF=fd-123",
            "SIDECAR_CHILD_OF=fd-1",
            "XSIDECAR_CHILD_OF=fd-12",
        ] {
            assert!(!has_mark(&environ(other), &marks), "{other}");
        }
    }

    #[test]
    fn a_name_with_brackets_and_blanks_is_no_trap() {
        let fields: Vec<String> = (4..40).map(|n| n.to_string()).collect();
        let stat = format!("7 (a) Z) b) S 3 {}", fields.join(" "));
        let found = parse_stat(pid(7), &stat).unwrap();
        assert_eq!(
            found,
            Process {
                pid: pid(7),
                parent: Some(pid(3)),
                zombie: false,
                started: 21,
                marked: false
            }
        );
    }

    #[test]
    fn we_find_ourselves() {
        let me = rustix::process::getpid();
        assert!(read(&[]).iter().any(|process| process.pid == me));
        assert!(resident_bytes(me).unwrap() > 100_000);
    }

    #[test]
    fn what_descends_from_us_is_weighed_and_what_was_here_earlier_is_not() {
        let mut sleeper = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let earlier_process = one(Pid::from_child(&sleeper)).unwrap();
        let later = Process {
            started: earlier_process.started + 1,
            ..earlier_process
        };
        let weights = [&[][..], &[later][..], &[earlier_process][..]].map(offspring_bytes);
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        assert!(weights[0] > 0 && weights[2] < weights[0], "{weights:?}");
        assert!(
            weights[1] > weights[2],
            "its number alone is not it: {weights:?}"
        );
    }
}
