//! What this process uses, as the kernel counts it. Read anew every time; what cannot be read is absent.

use std::fs;

use rustix::process::{Resource, getrlimit};
use serde::Serialize;
use utoipa::ToSchema;

/// One look at ourselves.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    pub(crate) cpu_seconds: Option<f64>,
    /// Since 1970.
    pub(crate) started_seconds: Option<f64>,
    pub(crate) resident_bytes: Option<u64>,
    pub(crate) virtual_bytes: Option<u64>,
    pub(crate) open_files: Option<u64>,
    pub(crate) max_files: Option<u64>,
    pub(crate) threads: Option<u64>,
}

/// One look at everything that descends from us.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Offspring {
    /// Also of those that have ended, once they were collected.
    pub(crate) cpu_seconds: Option<f64>,
    pub(crate) processes: u64,
    pub(crate) resident_bytes: u64,
}

/// One look at one process.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Process)]
pub(crate) struct Look {
    pid: u32,
    /// As the kernel has it, at most 15 bytes.
    name: String,
    /// `running`, `sleeping`, `waiting_for_disk`, `stopped`, `zombie` or `other`.
    state: &'static str,
    cpu_seconds: f64,
}

/// Everything that descends from these processes, at most [`MOST_LOOKS`].
pub(crate) fn below(roots: &[i32]) -> Vec<Look> {
    let mut found = Vec::new();
    let mut waiting: Vec<String> = roots
        .iter()
        .flat_map(|root| children(&root.to_string()))
        .collect();
    while let Some(pid) = waiting.pop() {
        if found.len() == MOST_LOOKS {
            break;
        }
        let Some(look) = look(&pid) else { continue };
        found.push(look);
        waiting.extend(children(&pid));
    }
    found
}

/// More processes of one session than this say nothing more.
const MOST_LOOKS: usize = 64;

fn look(pid: &str) -> Option<Look> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    let (head, rest) = stat.rsplit_once(") ")?;
    let state = match rest.chars().next()? {
        'R' => "running",
        'S' | 'I' => "sleeping",
        'D' => "waiting_for_disk",
        'T' | 't' => "stopped",
        'Z' | 'X' => "zombie",
        _ => "other",
    };
    Some(Look {
        pid: pid.parse().ok()?,
        name: head.split_once(" (")?.1.to_owned(),
        state,
        cpu_seconds: seconds(ticks(&stat)?.cpu),
    })
}

/// The parts of `/proc/self/stat` that are wanted, in clock ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ticks {
    cpu: u64,
    /// Of children that have ended and were collected.
    ended_children: u64,
    threads: u64,
    /// Since the machine's boot.
    started: u64,
}

// === impl Usage ===

impl Usage {
    pub(crate) fn now() -> Self {
        let read = |path: &str| fs::read(path).ok();
        let ticks =
            read("/proc/self/stat").and_then(|bytes| ticks(&String::from_utf8_lossy(&bytes)));
        let boot = fs::read_to_string("/proc/stat")
            .ok()
            .and_then(|text| boot(&text));
        let memory = fs::read_to_string("/proc/self/statm").ok();
        let pages = memory.as_deref().and_then(pages);
        let bytes = |pages: u64| pages.saturating_mul(rustix::param::page_size() as u64);
        Self {
            cpu_seconds: ticks.map(|ticks| seconds(ticks.cpu)),
            started_seconds: ticks
                .zip(boot)
                .map(|(ticks, boot)| float(boot) + seconds(ticks.started)),
            resident_bytes: pages.map(|(_, resident)| bytes(resident)),
            virtual_bytes: pages.map(|(all, _)| bytes(all)),
            open_files: open_files(),
            max_files: getrlimit(Resource::Nofile).current,
            threads: ticks.map(|ticks| ticks.threads),
        }
    }
}

// === impl Offspring ===

impl Offspring {
    /// More than this many processes are not looked at: a scrape is not to take long.
    const MOST: usize = 2048;

    /// Walks down from this process, so that the other processes of the host cost nothing.
    pub(crate) fn now() -> Self {
        let mut all = Self::default();
        let read = |pid: &str| fs::read(format!("/proc/{pid}/stat")).ok();
        let ticks = |pid: &str| ticks(&String::from_utf8_lossy(&read(pid)?));
        let mut cpu = ticks("self").map(|ticks| ticks.ended_children);
        let mut waiting = children("self");
        while let Some(pid) = waiting.pop() {
            let Some(ticks) = ticks(&pid) else { continue };
            all.processes += 1;
            cpu = cpu.map(|cpu| cpu + ticks.cpu + ticks.ended_children);
            let memory = fs::read_to_string(format!("/proc/{pid}/statm")).ok();
            let resident = memory
                .as_deref()
                .and_then(pages)
                .map_or(0, |(_, pages)| pages);
            all.resident_bytes += resident.saturating_mul(rustix::param::page_size() as u64);
            if waiting.len() < Self::MOST {
                waiting.extend(children(&pid));
            }
        }
        all.cpu_seconds = cpu.map(seconds);
        all
    }
}

/// Each thread has its own children.
fn children(pid: &str) -> Vec<String> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    let lists = threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Without the one that lists them.
fn open_files() -> Option<u64> {
    let listed = fs::read_dir("/proc/self/fd").ok()?.count();
    u64::try_from(listed).ok()?.checked_sub(1)
}

fn ticks(stat: &str) -> Option<Ticks> {
    // The name stands in brackets and may itself contain brackets and blanks.
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let field = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Ticks {
        cpu: field(11)?.checked_add(field(12)?)?,
        ended_children: field(13)?.checked_add(field(14)?)?,
        threads: field(17)?,
        started: field(19)?,
    })
}

/// When the machine was started, in seconds since 1970.
fn boot(stat: &str) -> Option<u64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse().ok()
}

/// All pages, and those in memory.
fn pages(statm: &str) -> Option<(u64, u64)> {
    let mut fields = statm.split_whitespace().map(|field| field.parse().ok());
    Some((fields.next()??, fields.next()??))
}

fn seconds(ticks: u64) -> f64 {
    float(ticks) / float(rustix::param::clock_ticks_per_second())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "exact up to 2^53, which is far away"
)]
fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_blanks_is_no_trap() {
        let numbers: Vec<String> = (4..40).map(|n| n.to_string()).collect();
        let stat = format!("7 (a) Z) b) S {}\n", numbers.join(" "));
        // Fields 14 and 15, and 22, as proc(5) counts them; the state is the third.
        let expected = Ticks {
            cpu: 14 + 15,
            ended_children: 16 + 17,
            threads: 20,
            started: 22,
        };
        assert_eq!(ticks(&stat), Some(expected));
        assert_eq!(ticks("7 (a) S 1 2 3"), None);
        assert_eq!(ticks(""), None);
    }

    #[test]
    fn what_cannot_be_read_is_absent() {
        assert_eq!(
            boot("cpu 1\nbtime 1700000000\nprocesses 3\n"),
            Some(1_700_000_000)
        );
        assert_eq!(boot("cpu 1\nbtime soon\n"), None);
        assert_eq!(pages("100 20 3\n"), Some((100, 20)));
        assert_eq!(pages("100"), None);
    }

    #[test]
    fn a_child_counts_and_leaves_its_time_behind() {
        let script = "echo; i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; read line";
        let mut child = std::process::Command::new("sh")
            .args(["-c", script])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        // Before it has said something it may have next to no memory.
        let mut said = [0];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut said).unwrap();
        let running = Offspring::now();
        assert!(running.processes >= 1 && running.resident_bytes > 100_000);
        let me = i32::try_from(std::process::id()).unwrap();
        let found = below(&[me]);
        let shell = found.iter().find(|look| look.pid == child.id()).unwrap();
        assert_eq!(shell.name, "sh");
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(Offspring::now().cpu_seconds.unwrap() > 0.0);
    }

    #[test]
    fn we_find_ourselves() {
        let usage = Usage::now();
        assert!(usage.resident_bytes.unwrap() > 100_000);
        assert!(usage.virtual_bytes > usage.resident_bytes);
        assert!(usage.cpu_seconds.unwrap() >= 0.0);
        assert!(usage.open_files.unwrap() >= 3 && usage.open_files < usage.max_files);
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs_f64();
        // The kernel's boot time is a whole second.
        let age = now - usage.started_seconds.unwrap();
        assert!((-2.0..86_400.0).contains(&age), "{age}");
    }
}
