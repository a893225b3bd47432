//! `/proc`, from outside.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

/// The processes that carry the mark of `data_dir`: everything the sidecar on it ever started.
pub(crate) fn marked(data_dir: &Path) -> Vec<i32> {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(metadata) = fs::metadata(data_dir) else {
        return Vec::new();
    };
    let mark = format!("SIDECAR_CHILD_OF={:x}-{:x}", metadata.dev(), metadata.ino());
    all()
        .filter(|pid| {
            fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environ| {
                environ
                    .split(|b| *b == 0)
                    .any(|pair| pair == mark.as_bytes())
            })
        })
        .collect()
}

/// The processes that have `text` among their arguments.
pub(crate) fn running(text: &str) -> Vec<i32> {
    all()
        .filter(|pid| {
            fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| String::from_utf8_lossy(&line).contains(text))
        })
        .collect()
}

/// A script for Perl whose twelve processes replace themselves as fast as they can, with environments of
/// 800 kB that have no mark of ours. Its first argument is a name to know them by. They give up after a minute.
pub(crate) const SELF_REPLACING: &str = r#"
use POSIX ();
my ($name, $role) = @ARGV;
if (!$role) {
    for my $number (1 .. 12) {
        next if fork();
        POSIX::setsid();
        %ENV = map { ("X$_" => "a" x 100000) } 1 .. 8;
        exec $^X, $0, $name, "chain";
    }
    exit;
}
my $end = time() + 60;
while (time() < $end) {
    POSIX::_exit(0) if fork();
    POSIX::setsid();
}
"#;

pub(crate) fn all() -> impl Iterator<Item = i32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

pub(crate) fn alive(pid: i32) -> bool {
    stat(pid).is_some_and(|stat| !stat.contains(") Z "))
}

/// A process may call itself by any bytes.
fn stat(pid: i32) -> Option<String> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    Some(String::from_utf8_lossy(&stat).into_owned())
}

pub(crate) fn kill(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        kill_process(pid, Signal::KILL).ok();
    }
}

/// The name of the program that `pid` runs.
pub(crate) fn name(pid: u32) -> Option<String> {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(name.trim_end().to_owned())
}

/// The process that `neighbour` knows as `inner`.
pub(crate) fn outer_pid(neighbour: u32, inner: i32) -> Option<i32> {
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let theirs = namespace(&neighbour.to_string());
    if theirs == namespace("self") {
        return Some(inner);
    }
    let is_inner = |pid: i32| {
        let status = fs::read(format!("/proc/{pid}/status")).unwrap_or_default();
        let status = String::from_utf8_lossy(&status).into_owned();
        let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        let innermost = pids.and_then(|pids| pids.split_whitespace().last()?.parse().ok());
        innermost == Some(inner) && namespace(&pid.to_string()) == theirs
    };
    all().find(|pid| is_inner(*pid))
}

/// A child of `pid`.
pub(crate) fn child_of(pid: u32) -> Option<i32> {
    let parent = format!(") S {pid} ");
    all().find(|child| stat(*child).is_some_and(|stat| stat.contains(&parent)))
}

pub(crate) fn open_files(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// Children of `pid` that are dead and not collected.
pub(crate) fn zombies_of(pid: u32) -> usize {
    all()
        .filter(|child| stat(*child).is_some_and(|stat| stat.contains(&format!(") Z {pid} "))))
        .count()
}

/// Whether a child of ours runs, or how it ended, before it is waited for.
pub(crate) fn fate(pid: u32) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.split(' ').collect();
    match (fields.get(2), fields.last()) {
        (Some(&"Z"), Some(status)) => {
            format!("the process has ended with wait status {}", status.trim())
        }
        (Some(state), _) => format!("the process is in state {state}"),
        _ => "there is no such process".to_owned(),
    }
}
