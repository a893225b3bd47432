//! Ending everything that descends from us and is not spared.
//!
//! All of it loses its parent sooner or later and then becomes a child of ours, because we are process 1 or a
//! subreaper. So only our own children are killed, again and again, until there are none. That is also the
//! proof that nothing is left: whatever descends from us does so through a child of ours, dead or alive, and
//! the kernel lists those in one step. A list of all processes proves nothing, because a process that goes on
//! replacing itself is never in the place where one looks.
//!
//! As process 1 with nobody else around, the kernel kills everything in one step, in which nothing can be
//! started. Otherwise a process that replaces itself is hit because the list is read and answered faster than
//! a process can be made, and because with a process its group is killed, dead or alive: a successor is in it
//! until it has come to run. That is likely at each look and not certain, so a sweep says whether it ended.

use std::collections::HashSet;
use std::fs;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitOptions, getpid, getpriority_process,
    kill_process, kill_process_group, pidfd_open, pidfd_send_signal, setpriority_process, waitid,
    waitpid,
};

use super::process_table::{self, Process};

/// How long one sweep goes on.
const DEADLINE: Duration = Duration::from_millis(1500);

/// Quick looks between two whole ones.
const QUICK_LOOKS: usize = 100;

/// Before everybody who is to go, where we may.
const PRIORITY: i32 = -20;

/// How long a killed process may take to go before all are looked at again.
const DEATH: Duration = Duration::from_millis(10);

/// What a sweep came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Swept {
    pub(super) killed: usize,
    /// Killed, and kept by the kernel from going, as a disk does that does not answer. They run no more.
    pub(super) dying: usize,
    /// Those that may still run. A child must not be started beside them.
    pub(super) running: usize,
    /// Nothing is known: it did not come back in time.
    pub(super) lost: bool,
}

/// Whom a sweep leaves alone.
#[derive(Debug)]
pub(super) struct Spared<'a> {
    /// Children whose end somebody waits for.
    pub(super) children: HashSet<Pid>,
    /// What ran under this process before it became the sidecar, with all that it starts.
    pub(super) earlier: &'a [Process],
}

/// One sweep on its way.
struct Sweep<'a> {
    spared: &'a Spared<'a>,
    /// Not yet collected.
    dying: HashSet<Pid>,
    killed: usize,
}

// === impl Swept ===

impl Swept {
    /// Whether nothing runs any more that it was to end.
    pub(super) const fn ended(self) -> bool {
        self.running == 0 && !self.lost
    }
}

/// Whether a child of ours has ended, without collecting it.
fn is_dead(pid: Pid) -> bool {
    let peek = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    !matches!(waitid(WaitId::Pid(pid), peek), Ok(None))
}

/// Ends what descends from us. Blocking.
pub(super) fn descendants(spared: &Spared<'_>) -> Swept {
    let deadline = Instant::now() + DEADLINE;
    let mut sweep = Sweep {
        spared,
        dying: HashSet::new(),
        killed: 0,
    };
    let stopped = sweep.end_namespace();
    let ordinary = getpriority_process(None).unwrap_or_default();
    // Refused to an ordinary user.
    setpriority_process(None, PRIORITY).ok();
    let swept = sweep.until(deadline);
    setpriority_process(None, ordinary).ok();
    if stopped {
        everything_but_us(Signal::CONT);
    }
    swept
}

// === impl Sweep ===

impl Sweep<'_> {
    fn until(&mut self, deadline: Instant) -> Swept {
        let sweep = self;
        loop {
            let mut fresh = 0;
            for _ in 0..QUICK_LOOKS {
                let orphans = sweep.those_to_go(orphans());
                if orphans.is_empty() {
                    break;
                }
                let hit = sweep.kill(&orphans);
                fresh += hit;
                if hit == 0 || Instant::now() > deadline {
                    break;
                }
            }
            let children = sweep.children();
            fresh += sweep.kill(&children);
            let left = sweep.children();
            if left.is_empty() {
                return sweep.outcome(0);
            }
            if fresh > 0 && Instant::now() < deadline {
                continue;
            }
            // What descends from a child that cannot go has not come to us yet.
            let fresh = fresh + sweep.kill_below();
            if Instant::now() > deadline {
                return sweep.outcome(fresh + sweep.not_killed(&left));
            }
            if fresh == 0 {
                wait_for(left.iter().find(|pid| sweep.dying.contains(pid)));
            }
        }
    }

    fn outcome(&self, running: usize) -> Swept {
        Swept {
            killed: self.killed,
            dying: self.dying.len(),
            running,
            lost: false,
        }
    }

    /// Those of our children that are to go, dead or alive.
    fn children(&self) -> Vec<Pid> {
        self.those_to_go(children())
    }

    fn those_to_go(&self, mut children: Vec<Pid>) -> Vec<Pid> {
        children.retain(|pid| !self.spared.holds(*pid));
        children
    }

    /// Kills and collects children of ours. Their numbers cannot be given anew before we have collected
    /// them. Returns how many it had not killed before.
    fn kill(&mut self, children: &[Pid]) -> usize {
        let mut fresh = 0;
        // The list begins with the oldest. Who replaces himself leaves many dead in it, and lives at its end.
        for &pid in children.iter().rev() {
            let was_dead = is_dead(pid);
            // Also where its leader is dead: its number stays its own until we collect it.
            kill_process_group(pid, Signal::KILL).ok();
            if !matches!(waitpid(Some(pid), WaitOptions::NOHANG), Ok(None)) {
                // One that dies with its group may be gone before we ask.
                if !self.dying.remove(&pid) && !was_dead {
                    fresh += 1;
                }
            } else if kill_process(pid, Signal::KILL).is_ok() && self.dying.insert(pid) {
                fresh += 1;
            }
        }
        self.killed += fresh;
        fresh
    }

    /// Kills what descends from our children. Returns how many it had not killed before.
    fn kill_below(&mut self) -> usize {
        let all = process_table::read(&[]);
        let spared: Vec<Pid> = self.spared.of(&all);
        let below = process_table::leftovers(&all, getpid(), None, &spared);
        let mut fresh = 0;
        for process in below.iter().filter(|process| !process.zombie) {
            if process.parent != Some(getpid()) && kill(process) && self.dying.insert(process.pid) {
                fresh += 1;
            }
        }
        self.killed += fresh;
        // Whoever has gone meanwhile is not dying.
        self.dying
            .retain(|pid| all.iter().any(|process| process.pid == *pid));
        fresh
    }

    /// Those of our children that we could not kill. A dead one counts: it may have left a successor.
    fn not_killed(&self, children: &[Pid]) -> usize {
        let not_killed = |pid: &&Pid| !self.dying.contains(pid);
        children.iter().filter(not_killed).count()
    }

    /// As process 1, kills all others at once if all are to go. Whether it had to stop them to find out, and
    /// those that are spared still are.
    fn end_namespace(&self) -> bool {
        if getpid() != Pid::INIT || !self.spared.children.is_empty() {
            return false;
        }
        let mut table = process_table::read_table(&[]);
        let stopped = !table.complete;
        if stopped {
            // Nothing new can be started by what is stopped, so now the table has an end.
            everything_but_us(Signal::STOP);
            table = process_table::read_table(&[]);
        }
        let all = table.processes;
        // Everybody else descends from us, but who came in from outside (`kubectl exec`): they have no parent here.
        let came_in = |process: &Process| process.parent.is_none() && process.pid != Pid::INIT;
        if table.complete && self.spared.of(&all).is_empty() && !all.iter().any(came_in) {
            everything_but_us(Signal::KILL);
            return false;
        }
        stopped
    }
}

// === impl Spared ===

impl Spared<'_> {
    fn holds(&self, pid: Pid) -> bool {
        self.children.contains(&pid)
            || self
                .earlier
                .iter()
                .filter(|earlier_process| earlier_process.pid == pid)
                // The number of an earlier process that is gone may be another's.
                .any(|earlier_process| {
                    process_table::one(pid)
                        .is_some_and(|now| now.started == earlier_process.started)
                })
    }

    /// Those of them that live.
    pub(super) fn of(&self, all: &[Process]) -> Vec<Pid> {
        all.iter()
            .map(|process| process.pid)
            .filter(|pid| self.holds(*pid))
            .collect()
    }
}

/// Sends `signal` to every process of our namespace but us, at once: while the kernel does so, no new one is made.
fn everything_but_us(signal: Signal) {
    // The group of process 1, negated, is what stands for all.
    kill_process_group(Pid::INIT, signal).ok();
}

/// Our children that lost their parent, which come to our first thread, and those of the calling thread; dead
/// or alive.
pub(super) fn orphans() -> Vec<Pid> {
    let first = format!("/proc/self/task/{}/children", getpid().as_raw_nonzero());
    let lists = fs::read_to_string(first).and_then(|list| {
        let own = fs::read_to_string("/proc/thread-self/children")?;
        Ok([list, own])
    });
    lists.map_or_else(
        |_| children(),
        |lists| lists.iter().flat_map(|list| numbers(list)).collect(),
    )
}

/// All our children, of every thread.
fn children() -> Vec<Pid> {
    let Ok(threads) = fs::read_dir("/proc/self/task") else {
        return Vec::new();
    };
    let lists: Option<Vec<String>> = threads
        .filter_map(|thread| Some(thread.ok()?.path().join("children")))
        .map(|list| match fs::read_to_string(list) {
            Ok(list) => Some(list),
            // A thread that has ended since.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Some(String::new()).filter(|_| lists_children())
            }
            Err(_) => None,
        })
        .collect();
    match lists {
        Some(lists) => lists.iter().flat_map(|list| numbers(list)).collect(),
        // A kernel without such lists.
        None => process_table::read(&[])
            .into_iter()
            .filter(|process| process.parent == Some(getpid()))
            .map(|process| process.pid)
            .collect(),
    }
}

/// Whether this kernel lists children.
fn lists_children() -> bool {
    fs::exists("/proc/thread-self/children").unwrap_or_default()
}

fn numbers(list: &str) -> Vec<Pid> {
    list.split_whitespace()
        .filter_map(|number| Pid::from_raw(number.parse().ok()?))
        .collect()
}

/// Kills by a descriptor, so that a number given anew is never hit. Whether it was still there.
pub(super) fn kill(process: &Process) -> bool {
    let Ok(pidfd) = pidfd_open(process.pid, PidfdFlags::empty()) else {
        return false;
    };
    let same = process_table::one(process.pid).is_some_and(|now| now.started == process.started);
    same && pidfd_send_signal(&pidfd, Signal::KILL).is_ok()
}

/// Waits a moment for the end of a process that was killed.
pub(super) fn wait_for(pid: Option<&Pid>) {
    let pidfd = pid.and_then(|pid| pidfd_open(*pid, PidfdFlags::empty()).ok());
    let limit = Timespec::try_from(DEATH).ok();
    let mut awaited: Vec<PollFd<'_>> = pidfd
        .iter()
        .map(|pidfd| PollFd::new(pidfd, PollFlags::IN))
        .collect();
    poll(&mut awaited, limit.as_ref()).ok();
}
