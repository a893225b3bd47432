//! Proxies as other people run them: they cut, they hold back, they take headers away.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What a proxy does to an answer, and to what follows it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Habit {
    /// It ends every connection this long after it was made.
    CutAfter(Duration),
    /// It hands on so many bytes at a time, and the rest at the end.
    Buffer(usize),
    /// It ends each of its first connections in the middle of the third character of four bytes.
    CutInCharacter,
    /// It takes `Authorization` for itself.
    StripAuthorization,
}

/// How many connections are cut in a character.
const CUTS: usize = 8;

pub(crate) struct BadProxy {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl BadProxy {
    pub(crate) fn start(server: SocketAddr, habit: Habit) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let nth = count.fetch_add(1, Ordering::Relaxed);
                // An event may have more such characters: the later ones are to get it.
                let habit = match habit {
                    Habit::CutInCharacter if nth >= CUTS => Habit::StripAuthorization,
                    habit => habit,
                };
                let Ok(server) = TcpStream::connect(server) else {
                    continue;
                };
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || pass_requests(from, to, habit));
                std::thread::spawn(move || pass_answers(server, client, habit));
            }
        });
        Self {
            address,
            connections,
        }
    }

    /// How many there were.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

fn pass_requests(mut client: TcpStream, mut server: TcpStream, habit: Habit) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(count @ 1..) = client.read(&mut bytes) {
        let mut part = bytes.get(..count).unwrap().to_vec();
        if matches!(habit, Habit::StripAuthorization) {
            part = without_authorization(&part);
        }
        if server.write_all(&part).is_err() {
            break;
        }
    }
    server.shutdown(Shutdown::Write).ok();
}

/// A head comes in one piece from the clients of these tests.
fn without_authorization(part: &[u8]) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(part) else {
        return part.to_vec();
    };
    let lines = text.split_inclusive("\r\n");
    let lines = lines.filter(|line| !line.to_ascii_lowercase().starts_with("authorization:"));
    lines.collect::<String>().into_bytes()
}

fn pass_answers(mut server: TcpStream, mut client: TcpStream, habit: Habit) {
    let start = Instant::now();
    let mut bytes = vec![0; 1 << 16];
    let (mut held, mut characters) = (Vec::new(), 0);
    loop {
        if let Habit::CutAfter(limit) = habit {
            let left = limit.saturating_sub(start.elapsed());
            if left.is_zero() {
                break;
            }
            server.set_read_timeout(Some(left)).unwrap();
        }
        let Ok(count @ 1..) = server.read(&mut bytes) else {
            break;
        };
        held.extend_from_slice(bytes.get(..count).unwrap());
        match habit {
            Habit::Buffer(size) if held.len() < size => continue,
            Habit::CutInCharacter => {
                let mut leads = held.iter().enumerate().filter(|(_, byte)| **byte >= 0xf0);
                let before = characters;
                characters += leads.clone().count();
                if characters >= 3 {
                    let (at, _) = leads.nth(2 - before).unwrap();
                    held.truncate(at + 1);
                    break;
                }
            }
            _ => {}
        }
        if client.write_all(&held).is_err() {
            break;
        }
        held.clear();
    }
    client.write_all(&held).ok();
    for socket in [client, server] {
        socket.shutdown(Shutdown::Both).ok();
    }
}
