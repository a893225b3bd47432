//! A proxy that knows one word, `CONNECT`, and one way to go, whatever name it is given.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use parking_lot::Mutex;

/// Its threads live as long as the test's process.
pub(crate) struct Proxy {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Every tunnel leads to `target`.
    pub(crate) fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let copy = asked.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let asked = copy.clone();
                std::thread::spawn(move || tunnel(&client, target, &asked));
            }
        });
        Self { address, asked }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The hosts it was asked for.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().clone()
    }
}

/// One connection. How it ends is its two ends' business.
fn tunnel(client: &TcpStream, target: SocketAddr, asked: &Mutex<Vec<String>>) -> Option<()> {
    let mut head = BufReader::new(client.try_clone().ok()?);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        head.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        lines.push(line);
    }
    asked.lock().push(lines.first()?.trim().to_owned());
    let mut server = TcpStream::connect(target).ok()?;
    let mut out = client.try_clone().ok()?;
    out.write_all(b"HTTP/1.1 200 OK\r\n\r\n").ok()?;
    let mut back = server.try_clone().ok()?;
    std::thread::spawn(move || std::io::copy(&mut back, &mut out));
    // The reader may hold the first bytes of the tunnel already.
    std::io::copy(&mut head, &mut server).ok()?;
    server.shutdown(std::net::Shutdown::Write).ok()
}
