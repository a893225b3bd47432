//! The secrets between sidecar and child, as only root's debugger can have them: they are in no environment,
//! no argument and no file, so they are searched for in the sidecar's memory and tried.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;

use crate::support::{Sidecar, http};

/// A secret has this many hexadecimal digits.
const DIGITS: usize = 64;

/// Reserved and not used; nothing of a sidecar is that large.
const LARGEST: u64 = 256 << 20;

/// The child's password.
pub(crate) fn password(sidecar: &Sidecar) -> String {
    let port = u16::try_from(sidecar.engine()["port"].as_u64().unwrap()).unwrap();
    let opens = |word: &str| {
        let authorization = format!("Basic {}", base64(&format!("opencode:{word}")));
        let headers = [("authorization", authorization.as_str())];
        let health = http::send(
            ([127, 0, 0, 1], port).into(),
            "GET",
            "/global/health",
            &headers,
            b"",
        );
        health.unwrap().status == 200
    };
    found(sidecar, "password", opens)
}

/// The address of the gateway, and the token that it takes.
pub(crate) fn gateway(sidecar: &Sidecar) -> (String, String) {
    let gateways: Vec<SocketAddr> = listeners(sidecar.pid())
        .into_iter()
        .filter(|address| address.port() != sidecar.address.port())
        .collect();
    let [address] = gateways[..] else {
        panic!("one gateway: {gateways:?}");
    };
    let path = "/compat/v1/chat/completions";
    let opens = |word: &str| {
        let authorization = format!("Bearer {word}");
        let headers = [
            ("authorization", authorization.as_str()),
            ("x-session-id", "ses_of_nobody"),
        ];
        http::send(address, "POST", path, &headers, b"{}")
            .unwrap()
            .status
            != 403
    };
    let token = found(sidecar, "token", opens);
    (format!("http://{address}/compat/v1"), token)
}

/// Memory changes while it is read, so a few looks may be needed.
fn found(sidecar: &Sidecar, what: &str, opens: impl Fn(&str) -> bool) -> String {
    let mut tried = BTreeSet::new();
    for _ in 0..5 {
        for word in words(sidecar.pid()) {
            if tried.insert(word.clone()) && opens(&word) {
                return word;
            }
        }
    }
    panic!("no {what} among {} words", tried.len());
}

/// Every run of at least as many digits as a secret has.
fn words(pid: u32) -> BTreeSet<String> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut words = BTreeSet::new();
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (range, _) = line.split_once(' ').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).unwrap());
        if end - start > LARGEST {
            continue;
        }
        let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
        if memory.read_exact_at(&mut bytes, start).is_err() {
            continue;
        }
        for run in bytes.split(|byte| !matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            for word in run.windows(DIGITS).take(1) {
                words.insert(String::from_utf8(word.to_vec()).unwrap());
            }
            if run.len() > DIGITS {
                let word = &run[run.len() - DIGITS..];
                words.insert(String::from_utf8(word.to_vec()).unwrap());
            }
        }
    }
    words
}

/// Where a process listens, in its own namespace.
fn listeners(pid: u32) -> Vec<SocketAddr> {
    let inodes: BTreeSet<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter_map(|link| {
            let link = link.to_string_lossy().into_owned();
            Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
        })
        .collect();
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap();
    let listening = "0A";
    table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields[3] == listening && inodes.contains(fields[9]))
        .map(|fields| {
            let (_, port) = fields[1].split_once(':').unwrap();
            ([127, 0, 0, 1], u16::from_str_radix(port, 16).unwrap()).into()
        })
        .collect()
}

fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut encoded = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let byte = |n: usize| u32::from(chunk.get(n).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let digit = DIGITS[(group >> (18 - 6 * place) & 63) as usize];
            encoded.push(if place > chunk.len() {
                '='
            } else {
                char::from(digit)
            });
        }
    }
    encoded
}
