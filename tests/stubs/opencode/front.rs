//! The real OpenCode with a connection that can be cut: a relay between the sidecar and it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

type Open = Arc<Mutex<Vec<TcpStream>>>;

/// Runs it, and relays until it ends.
pub(crate) fn stand(bin: &Path, secrets: &str, cut: Option<PathBuf>, hold: Option<PathBuf>) {
    let mut child = Command::new(bin)
        .args(std::env::args_os().skip(1))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // They wait there until it asks for them.
    child
        .stdin
        .take()
        .unwrap()
        .write_all(secrets.as_bytes())
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
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
    child.wait().unwrap();
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
