//! How much memory is used, of how much: what the kernel would kill for, read as the kubelet reads it.
//!
//! Looks at our own cgroup and those around it, v2 or v1, and, if a limit was set for it, at the child
//! and all it started. The limit that is nearest to being reached counts. Reads files only; what to do about
//! it is `guard`'s.

use std::fs;
use std::path::{Component, Path, PathBuf};

use super::process_table::{self, Process};

/// Where the figures come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    CgroupV2,
    CgroupV1,
    /// `ENGINE_MEMORY_LIMIT` and the memory of the child with all it started.
    ProcessTree,
}

/// Memory in use, and what it may become. The limit is never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) used: u64,
    pub(crate) limit: u64,
    pub(crate) source: Source,
}

/// How near the limit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pressure {
    Normal,
    /// No new sessions.
    High,
    /// The child is recycled once it has no turns.
    Critical,
    /// The child is recycled, before the kernel kills it.
    Extreme,
}

/// From this share of the limit on, in percent.
const HIGH: u64 = 85;
const CRITICAL: u64 = 95;
const EXTREME: u64 = 98;

/// A v1 cgroup without a limit says the largest number of pages there is. No machine has this much.
const NO_LIMIT: u64 = 1 << 60;

/// The files to read.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// Which cgroups this process is in.
    membership: PathBuf,
    /// Where they are mounted.
    root: PathBuf,
    /// What the child and all it started may use together.
    tree_limit: Option<u64>,
    /// What descends from us and is not the child's.
    earlier: Vec<Process>,
}

/// The file names of one version of cgroups.
struct Names {
    source: Source,
    limit: &'static str,
    used: &'static str,
    /// In `memory.stat`: what can be taken back without pain, which the kubelet does not count.
    inactive: &'static str,
}

const V2: Names = Names {
    source: Source::CgroupV2,
    limit: "memory.max",
    used: "memory.current",
    inactive: "inactive_file",
};

const V1: Names = Names {
    source: Source::CgroupV1,
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    inactive: "total_inactive_file",
};

// === impl Source ===

impl Source {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::CgroupV2 => "cgroup_v2",
            Self::CgroupV1 => "cgroup_v1",
            Self::ProcessTree => "process_tree",
        }
    }
}

// === impl Pressure ===

impl Pressure {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::High => "high",
            Self::Critical => "critical",
            Self::Extreme => "extreme",
        }
    }
}

// === impl Memory ===

impl Memory {
    /// That of this process's container. `None`: it has no limit.
    pub(crate) fn of_container() -> Option<Self> {
        Places::of_this_process(None, Vec::new()).look()
    }

    pub(crate) fn pressure(self) -> Pressure {
        let reached = |percent: u64| {
            u128::from(self.used) * 100 >= u128::from(self.limit) * u128::from(percent)
        };
        if reached(EXTREME) {
            Pressure::Extreme
        } else if reached(CRITICAL) {
            Pressure::Critical
        } else if reached(HIGH) {
            Pressure::High
        } else {
            Pressure::Normal
        }
    }

    /// Whether this limit is nearer than that of `other`.
    fn tighter_than(self, other: Self) -> bool {
        u128::from(self.used) * u128::from(other.limit)
            > u128::from(other.used) * u128::from(self.limit)
    }

    /// For a sentence.
    pub(super) fn words(self) -> String {
        const MIB: u64 = 1 << 20;
        format!("{} of {} MiB are used", self.used / MIB, self.limit / MIB)
    }

    /// What a person can do about it.
    pub(super) const fn remedy(self) -> &'static str {
        match self.source {
            Source::CgroupV2 | Source::CgroupV1 => "raise the container's memory limit",
            Source::ProcessTree => "raise ENGINE_MEMORY_LIMIT",
        }
    }
}

// === impl Places ===

impl Places {
    /// `earlier`: what descends from us and is not the child's.
    pub(super) fn of_this_process(tree_limit: Option<u64>, earlier: Vec<Process>) -> Self {
        Self {
            membership: "/proc/self/cgroup".into(),
            root: "/sys/fs/cgroup".into(),
            tree_limit,
            earlier,
        }
    }

    /// The limit that is nearest to being reached. `None`: there is none.
    pub(super) fn look(&self) -> Option<Memory> {
        let tree = self.tree_limit.map(|limit| Memory {
            used: process_table::offspring_bytes(&self.earlier),
            limit,
            source: Source::ProcessTree,
        });
        tightest(self.cgroups().into_iter().chain(tree))
    }

    /// Our own cgroup and those around it, as far as they have limits: the kernel minds all of them.
    fn cgroups(&self) -> Vec<Memory> {
        let Some((names, mount, own)) = self.own() else {
            return Vec::new();
        };
        // A container may see its own cgroup as the root, and the path it has for the host.
        let own = mount.join(own);
        let innermost = if own.is_dir() { own.as_path() } else { &mount };
        innermost
            .ancestors()
            .take_while(|dir| dir.starts_with(&mount))
            .filter_map(|dir| names.read(dir))
            .collect()
    }

    /// Which cgroup has our memory, and where it is mounted.
    fn own(&self) -> Option<(Names, PathBuf, PathBuf)> {
        let text = fs::read_to_string(&self.membership).ok()?;
        // `hierarchy:controllers:path`; v2 has the number 0 and no controllers.
        let lines = || {
            text.lines().filter_map(|line| {
                let (_, rest) = line.split_once(':')?;
                rest.split_once(':')
            })
        };
        let v1 = lines().find(|(controllers, _)| {
            controllers
                .split(',')
                .any(|controller| controller == "memory")
        });
        if let Some((_, path)) = v1 {
            return Some((V1, self.root.join("memory"), below(path)));
        }
        let (_, path) = lines().find(|(controllers, _)| controllers.is_empty())?;
        Some((V2, self.root.clone(), below(path)))
    }
}

/// A cgroup's path as one that can be joined. One that leads out of our view is the root of our view.
fn below(path: &str) -> PathBuf {
    let path = Path::new(path);
    if path.components().any(|part| part == Component::ParentDir) {
        return PathBuf::new();
    }
    path.strip_prefix("/").unwrap_or(path).to_owned()
}

fn tightest(all: impl IntoIterator<Item = Memory>) -> Option<Memory> {
    all.into_iter().reduce(|tightest, other| {
        if other.tighter_than(tightest) {
            other
        } else {
            tightest
        }
    })
}

// === impl Names ===

impl Names {
    /// One cgroup; `None` if it has no limit, or does not say so in a way we know.
    fn read(&self, dir: &Path) -> Option<Memory> {
        let number = |name: &str| -> Option<u64> {
            let text = fs::read_to_string(dir.join(name)).ok()?;
            text.trim().parse().ok()
        };
        let limit = number(self.limit).filter(|limit| (1..NO_LIMIT).contains(limit))?;
        let used = number(self.used)?;
        let stat = fs::read_to_string(dir.join("memory.stat")).unwrap_or_default();
        let inactive = stat.lines().find_map(|line| {
            let (name, value) = line.split_once(' ')?;
            (name == self.inactive).then(|| value.trim().parse().ok())?
        });
        Some(Memory {
            used: used.saturating_sub(inactive.unwrap_or(0)),
            limit,
            source: self.source,
        })
    }
}

#[cfg(test)]
mod tests;
