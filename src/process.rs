//! What this process uses, as the kernel counts it. Read anew every time; what cannot be read is absent.

use std::fs;

use rustix::process::{Resource, getrlimit};

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
}

/// The parts of `/proc/self/stat` that are wanted, in clock ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ticks {
    cpu: u64,
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
        }
    }
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
