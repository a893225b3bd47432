//! The real OpenCode in this process's place, with what a test may add to it: a relay before it whose connections
//! can be cut, and a hunger for memory.

use std::io::{BufRead as _, PipeReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

type Open = Arc<Mutex<Vec<TcpStream>>>;

/// The first argument that makes this binary a relay.
const RELAY: &str = "__relay";

/// Names the file that Bun runs before OpenCode; the sidecar has set it to its own.
const PRELOAD: &str = "BUN_INSPECT_PRELOAD";

/// Files that steer it while they exist.
pub(crate) struct Switches {
    /// Cuts every connection.
    pub(crate) cut: Option<PathBuf>,
    /// Holds answers back.
    pub(crate) hold: Option<PathBuf>,
    /// Makes OpenCode take as many MiB as the file says, which is removed then.
    pub(crate) eat: Option<PathBuf>,
}

/// Becomes OpenCode, so that what the sidecar started is OpenCode itself and nothing stands between it and its
/// shells.
pub(crate) fn become_opencode(bin: &Path, secrets: &str, switches: Switches) -> ! {
    let mut opencode = Command::new(bin);
    opencode
        .args(std::env::args_os().skip(1))
        .stdin(filled_with(secrets));
    if let Some(eat) = &switches.eat {
        opencode.env(PRELOAD, hungry_preload(eat));
    }
    if switches.cut.is_some() || switches.hold.is_some() {
        let (from_opencode, stdout) = std::io::pipe().unwrap();
        let [cut, hold] = [switches.cut, switches.hold].map(Option::unwrap_or_default);
        let mut relay = Command::new(std::env::current_exe().unwrap());
        relay.arg(RELAY).args([cut, hold]).stdin(from_opencode);
        // It ends with OpenCode, whose child it becomes.
        drop(relay.spawn().unwrap());
        opencode.stdout(stdout);
    }
    panic!("{}", opencode.exec());
}

/// They wait there until OpenCode asks for them.
fn filled_with(secrets: &str) -> PipeReader {
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(secrets.as_bytes()).unwrap();
    reader
}

/// A preload that does what the sidecar's does, and takes memory when it is told to.
fn hungry_preload(eat: &Path) -> PathBuf {
    let ours = PathBuf::from(std::env::var_os(PRELOAD).unwrap());
    let [sidecars, eat] = [ours.as_path(), eat].map(|path| serde_json::json!(path));
    let text = format!(
        "import {sidecars}\nimport fs from \"node:fs\"\nconst eat = {eat}\nconst eaten = []\n\
         if (Bun.isMainThread) setInterval(() => {{\n\
           const size = fs.existsSync(eat) ? Number(fs.readFileSync(eat, \"utf8\")) : 0\n\
           if (size === 0) return\n\
           // First, because whoever takes that much may be killed for it, and the next one is not to do it again.\n\
           fs.rmSync(eat)\n\
           eaten.push(Buffer.alloc(size * 2 ** 20, 1))\n\
         }}, 20).unref()\n"
    );
    let preload = ours.with_file_name("hungry.js");
    std::fs::write(&preload, text).unwrap();
    preload
}

/// Runs the relay if this process is to be one.
pub(crate) fn relay_if_told() -> bool {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_none_or(|first| first != RELAY) {
        return false;
    }
    let mut switch = || {
        let file = PathBuf::from(arguments.next().unwrap());
        (!file.as_os_str().is_empty()).then_some(file)
    };
    let (cut, hold) = (switch(), switch());
    relay(cut, hold);
    true
}

/// Relays until OpenCode, which writes to our stdin, has ended.
fn relay(cut: Option<PathBuf>, hold: Option<PathBuf>) {
    let mut lines = std::io::stdin().lock().lines();
    let said = lines.find_map(|line| {
        let line = line.unwrap();
        let address = line.strip_prefix("opencode server listening on http://")?;
        address.parse::<SocketAddr>().ok()
    });
    let behind = said.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!(
        "opencode server listening on http://{}",
        listener.local_addr().unwrap()
    );
    let open = Open::default();
    if let Some(cut) = cut.clone() {
        let open = open.clone();
        std::thread::spawn(move || sever(&cut, &open));
    }
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let is_cut = cut.as_ref().is_some_and(|file| file.exists());
            if let (false, Ok(other)) = (is_cut, TcpStream::connect(behind)) {
                join(&stream, &other, hold.clone(), &open);
            }
        }
    });
    lines.for_each(drop);
}

fn sever(cut: &Path, open: &Open) {
    loop {
        if cut.exists() {
            for stream in open.lock().drain(..) {
                stream.shutdown(Shutdown::Both).ok();
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn join(caller: &TcpStream, behind: &TcpStream, hold: Option<PathBuf>, open: &Open) {
    for (from, to, hold) in [(caller, behind, None), (behind, caller, hold)] {
        let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        open.lock().push(from.try_clone().unwrap());
        std::thread::spawn(move || {
            pass(&from, &to, hold.as_deref());
            to.shutdown(Shutdown::Both).ok();
        });
    }
}

/// Passes everything on, but nothing while the file `hold` exists.
fn pass(mut from: &TcpStream, mut to: &TcpStream, hold: Option<&Path>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        while hold.is_some_and(Path::exists) {
            std::thread::sleep(Duration::from_millis(5));
        }
        if to.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
}
