//! A sidecar that is killed and started again on the same directories and port, and its journal's disk.

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};

use crate::dice::Dice;
use crate::evidence::holding;
use crate::llm::Llm;
use crate::plan::{Fault, KEY, Kind};
use crate::support::{Options, Sidecar, TEST_TIMEOUT, processes};

/// A file system of the journal's own, small enough to be filled.
#[derive(Debug)]
pub(crate) struct Disk {
    dir: tempfile::TempDir,
}

pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) sidecar: Sidecar,
    pub(crate) address: SocketAddr,
    pub(crate) llm: Llm,
    /// The model runs here.
    _runtime: tokio::runtime::Runtime,
    /// Where the journal lies. Its mount has to outlive the sidecar.
    disk: Option<Disk>,
    /// What went wrong and is no session's business.
    pub(crate) faults: Vec<String>,
    /// The log of the life before, for a person who looks for a cause.
    pub(crate) logs: Arc<Mutex<Vec<String>>>,
}

// === impl Disk ===

impl Disk {
    /// Nothing where file systems cannot be mounted.
    pub(crate) fn mount() -> Option<Self> {
        let dir = tempfile::Builder::new()
            .prefix("chaos-disk-")
            .tempdir()
            .unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64m", "chaos"])
            .arg(dir.path())
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then_some(Self { dir })
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    fn filler(&self) -> PathBuf {
        self.dir.path().join("filler")
    }

    fn fill(&self) {
        let mut file = fs::File::create(self.filler()).unwrap();
        for size in [1 << 16, 1 << 12, 1] {
            while file.write_all(&vec![b'x'; size]).is_ok() {}
        }
    }

    fn free(&self) {
        fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        Command::new("umount")
            .arg("-l")
            .arg(self.dir.path())
            .status()
            .ok();
    }
}

// === impl World ===

impl World {
    pub(crate) fn start(seed: u64) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let llm = runtime.block_on(Llm::start());
        let port = free_port(seed);
        let options = Options::real()
            .env("PORT", &port.to_string())
            .env("ENGINE_RESTART_BUDGET", "1000")
            .env("ENGINE_BACKOFF_MAX", "100ms")
            .env("DRAIN_TIMEOUT", "14s")
            // Events of a second sidecar's life are told apart from those of a library.
            .env("LOG_LEVEL", "info,opencode_sidecar=debug");
        let disk = Disk::mount();
        if let Some(disk) = &disk {
            let place = options.dir.path().join("data/journal");
            std::os::unix::fs::symlink(disk.dir.path(), place).unwrap();
        }
        Self {
            seed,
            sidecar: options.start().ready(),
            address: ([127, 0, 0, 1], port).into(),
            llm,
            _runtime: runtime,
            disk,
            faults: Vec::new(),
            logs: Arc::default(),
        }
    }

    /// Whether it can be filled.
    pub(crate) const fn has_disk(&self) -> bool {
        self.disk.is_some()
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.sidecar.data_dir().join("journal/sessions.db")
    }

    pub(crate) fn strike(&mut self, fault: &Fault, cut: impl Fn()) {
        match fault.kind {
            Kind::KillSidecar => self.kill(),
            Kind::KillChild => self.kill_child(),
            Kind::KillBoth => {
                self.kill_child();
                self.kill();
            }
            Kind::FillDisk => {
                self.fill(|_| sleep(fault.held));
            }
            Kind::KillWhenFull => self.fill(|world| {
                sleep(fault.held);
                world.kill();
                sleep(fault.held);
            }),
            Kind::Cut => cut(),
            Kind::FreezeSidecar => freeze(self.sidecar.pid(), fault.held),
            Kind::FreezeChild => {
                if let Some(child) = self.child() {
                    freeze(child, fault.held);
                }
            }
            Kind::Drain => {
                self.sidecar.signal(Signal::TERM);
                let status = self.again();
                if !status.success() {
                    self.faults.push(format!("drain: it left with {status}"));
                }
            }
        }
    }

    fn fill(&mut self, meanwhile: impl FnOnce(&mut Self)) {
        if let Some(disk) = &self.disk {
            disk.fill();
        }
        meanwhile(self);
        if let Some(disk) = &self.disk {
            disk.free();
        }
    }

    fn kill(&mut self) {
        self.sidecar.signal(Signal::KILL);
        self.again();
    }

    fn again(&mut self) -> std::process::ExitStatus {
        let log = self.sidecar.log();
        self.look_into(&log);
        self.logs.lock().push(log);
        self.sidecar.restart()
    }

    fn kill_child(&self) {
        if let Some(child) = self.child() {
            processes::kill(i32::try_from(child).unwrap());
        }
    }

    /// The engine, from the moment it is forked.
    fn child(&self) -> Option<u32> {
        let marked = self.sidecar.marked();
        let child = marked
            .into_iter()
            .find(|pid| parent(*pid) == Some(self.sidecar.pid()));
        child.and_then(|pid| u32::try_from(pid).ok())
    }

    fn look_into(&mut self, log: &str) {
        for (rule, words) in [("key: a log has it", KEY), ("panic", "panicked at")] {
            if let Some(line) = log.lines().find(|line| line.contains(words)) {
                self.faults.push(format!("{rule}: {line}"));
            }
        }
    }

    /// What must hold whenever no turn runs: one child and nothing else, and no key anywhere.
    pub(crate) fn settle(&mut self) {
        self.sidecar
            .until("ready", |sidecar| sidecar.get("/ready").status == 200);
        let deadline = Instant::now() + TEST_TIMEOUT / 2;
        loop {
            let left = self.sidecar.marked();
            if left == [self.sidecar.engine_pid()] {
                break;
            }
            if Instant::now() > deadline {
                let names: Vec<String> = left.iter().map(|pid| described(*pid)).collect();
                self.faults
                    .push(format!("processes: these are left: {names:?}"));
                break;
            }
            sleep(Duration::from_millis(50));
        }
        let places = [self.sidecar.data_dir(), self.sidecar.workspace()];
        let disk = self.disk.as_ref().map(|disk| disk.dir.path().to_owned());
        for place in places.into_iter().chain(disk) {
            let files = holding(&place, KEY);
            if !files.is_empty() {
                self.faults
                    .push(format!("key: these files hold it: {files:?}"));
            }
        }
        let log = self.sidecar.log();
        self.look_into(&log);
    }
}

fn parent(pid: i32) -> Option<u32> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat).into_owned();
    let (_, behind) = stat.rsplit_once(") ")?;
    behind.split(' ').nth(1)?.parse().ok()
}

fn described(pid: i32) -> String {
    let line = fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline"));
    let line = String::from_utf8_lossy(&line.unwrap_or_default()).replace('\0', " ");
    format!("{pid} {line}")
}

fn freeze(pid: u32, held: Duration) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid
        && kill_process(pid, Signal::STOP).is_ok()
    {
        sleep(held);
        kill_process(pid, Signal::CONT).ok();
    }
}

/// Below the ports that the kernel gives out by itself, so that nobody takes it between two lives.
fn free_port(seed: u64) -> u16 {
    let mut dice = Dice::new(seed, &[u64::from(std::process::id())]);
    let mut ports = std::iter::repeat_with(|| u16::try_from(dice.within(20_000, 29_999)).unwrap());
    let free = ports
        .by_ref()
        .take(100)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.unwrap()
}
