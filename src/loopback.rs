//! One HTTP request to the instance on this host, for the commands that run beside it. Blocking, no
//! runtime. Knows no route.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// How long a connection may take: it is this host.
const CONNECT: Duration = Duration::from_secs(2);

/// The head and the body of the answers asked for here are far shorter.
const MAX_ANSWER: u64 = 16 * 1024;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    /// `GET /healthz`.
    pub(crate) line: &'a str,
    pub(crate) bearer: Option<&'a str>,
    /// How long the answer may take.
    pub(crate) within: Duration,
}

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProbeError {
    #[error("nothing answers on port {0}: {1}")]
    Unreachable(u16, String),
    /// Connected, asked, and closed without an answer.
    #[error("the connection to port {0} was closed without an answer")]
    Closed(u16),
    #[error("port {port} did not answer within {} s", .within.as_secs())]
    Late { port: u16, within: Duration },
}

/// Asks at `host`; at each of this host's own addresses if it stands for all.
pub(crate) fn ask(host: IpAddr, port: u16, question: Question<'_>) -> Result<Answer, ProbeError> {
    let stream = connect(host, port)?;
    match exchange(stream, question) {
        Ok(text) => parse(&text).ok_or(ProbeError::Closed(port)),
        Err(error) => Err(match error.kind() {
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => {
                let within = question.within;
                ProbeError::Late { port, within }
            }
            _ => ProbeError::Closed(port),
        }),
    }
}

/// Whether anybody takes connections there.
pub(crate) fn listens(host: IpAddr, port: u16) -> bool {
    connect(host, port).is_ok()
}

fn connect(host: IpAddr, port: u16) -> Result<TcpStream, ProbeError> {
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
        match TcpStream::connect_timeout(&SocketAddr::new(host, port), CONNECT) {
            Ok(stream) => return Ok(stream),
            Err(error) => problem = crate::text::plain(&error.to_string()),
        }
    }
    Err(ProbeError::Unreachable(port, problem))
}

fn exchange(mut stream: TcpStream, question: Question<'_>) -> std::io::Result<String> {
    stream.set_read_timeout(Some(question.within))?;
    stream.set_write_timeout(Some(CONNECT))?;
    let mut head = format!(
        "{} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n",
        question.line
    );
    if let Some(token) = question.bearer {
        head.push_str("authorization: Bearer ");
        head.push_str(token);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER).read_to_string(&mut answer)?;
    Ok(answer)
}

fn parse(text: &str) -> Option<Answer> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    Some(Answer {
        status: head.split(' ').nth(1)?.parse().ok()?,
        body: body.trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_its_status_and_its_body() {
        let answer = parse("HTTP/1.1 503 Service Unavailable\r\na: b\r\n\r\n{}\n").unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (503, "{}"));
        assert!(parse("").is_none() && parse("HTTP/1.1 200 OK\r\n").is_none());
    }
}
