//! `opencode-sidecar healthcheck`: a container's HEALTHCHECK without curl. Blocking, no runtime.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::config::Healthcheck;

const DEADLINE: Duration = Duration::from_secs(2);

/// The head and the body of a probe's answer are far shorter.
const MAX_ANSWER: u64 = 16 * 1024;

/// Asks the instance on this host. `Err` says what is wrong.
pub fn run(check: &Healthcheck) -> Result<(), String> {
    let path = if check.ready { "/ready" } else { "/healthz" };
    let answer = ask(check.host, check.port, path)?;
    if answer.starts_with("HTTP/1.1 200") {
        return Ok(());
    }
    let body = answer
        .split_once("\r\n\r\n")
        .map_or(answer.as_str(), |(_, body)| body);
    Err(format!(
        "{path} on port {} says {}",
        check.port,
        body.trim()
    ))
}

fn ask(host: IpAddr, port: u16, path: &str) -> Result<String, String> {
    // All addresses: this host's own are among them, in one family or the other.
    let hosts: &[IpAddr] = if host.is_unspecified() {
        &[
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ]
    } else {
        &[host]
    };
    let mut problem = String::new();
    for &host in hosts {
        match exchange(SocketAddr::new(host, port), path) {
            Ok(answer) => return Ok(answer),
            Err(error) => {
                problem = format!(
                    "nothing answers on port {port}: {}",
                    crate::text::plain(&error.to_string())
                );
            }
        }
    }
    Err(problem)
}

fn exchange(host: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&host, DEADLINE)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER).read_to_string(&mut answer)?;
    Ok(answer)
}
