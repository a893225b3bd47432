//! The head of a request to the proxy. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Uri;

use super::refusal::Refusal;
use crate::egress_policy::Host;

/// Longest head. Also the most that is read before it is known who asks.
pub(super) const MAX_HEAD: usize = 16 << 10;
const MAX_HEADERS: usize = 100;

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) host: Host,
    pub(super) port: u16,
    /// User and password.
    pub(super) credential: Option<(String, String)>,
    pub(super) kind: Kind,
    /// How many bytes it took.
    pub(super) length: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `CONNECT`.
    Tunnel,
    /// A request of plain HTTP, as its server gets it.
    Forward(Vec<u8>),
}

/// What is between a client and this proxy, and not for the server.
const OF_ONE_CONNECTION: &[&str] = &[
    "connection",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "upgrade",
];

/// The head, once it is there whole.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Head>, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD => return Ok(None),
        Ok(httparse::Status::Partial) => {
            return Err(Refusal::Malformed("its head is longer than 16 KiB"));
        }
        Err(_) => return Err(Refusal::Malformed("it is no HTTP/1 request")),
    };
    let (method, target) = (
        request.method.unwrap_or_default(),
        request.path.unwrap_or_default(),
    );
    let is_tunnel = method == "CONNECT";
    let uri: Uri = target
        .parse()
        .map_err(|_| Refusal::Malformed("its target is no address"))?;
    let (host, port) = authority(&uri, is_tunnel)?;
    let kind = if is_tunnel {
        Kind::Tunnel
    } else {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        Kind::Forward(forwarded(method, path, authority, request.headers))
    };
    Ok(Some(Head {
        credential: request
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case("proxy-authorization"))
            .and_then(|header| credential(header.value)),
        host,
        port,
        kind,
        length,
    }))
}

fn authority(uri: &Uri, is_tunnel: bool) -> Result<(Host, u16), Refusal> {
    let standard = match uri.scheme_str() {
        None if is_tunnel && uri.path_and_query().is_none() => None,
        Some("http") if !is_tunnel => Some(80),
        Some("https") if !is_tunnel => {
            return Err(Refusal::Malformed("https goes through CONNECT"));
        }
        _ => return Err(Refusal::Malformed("its target is no address of a proxy")),
    };
    let authority = uri
        .authority()
        .filter(|authority| !authority.as_str().contains('@'))
        .ok_or(Refusal::Malformed("its target has no plain host"))?;
    let host =
        Host::parse(authority.host()).ok_or(Refusal::Malformed("its target has no plain host"))?;
    let port = match authority.port() {
        // `Uri` keeps what it cannot read as a number.
        Some(port) => Some(port.as_u16()),
        None if authority.as_str().ends_with(':') => None,
        None => standard,
    };
    let port = port
        .filter(|port| *port != 0)
        .ok_or(Refusal::Malformed("its target names no port"))?;
    Ok((host, port))
}

/// The request as its server gets it. One connection carries one request: a second one could be for another host.
fn forwarded(
    method: &str,
    path: &str,
    authority: &str,
    headers: &[httparse::Header<'_>],
) -> Vec<u8> {
    let named: Vec<String> = headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case("connection"))
        .filter_map(|header| std::str::from_utf8(header.value).ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {authority}\r\n").into_bytes();
    for header in headers {
        let name = header.name.to_ascii_lowercase();
        // Who reads the body has to know its length, whatever the client calls that.
        let frames = matches!(&*name, "content-length" | "transfer-encoding");
        if frames || !(OF_ONE_CONNECTION.contains(&&*name) || named.contains(&name)) {
            text.extend_from_slice(header.name.as_bytes());
            text.extend_from_slice(b": ");
            text.extend_from_slice(header.value);
            text.extend_from_slice(b"\r\n");
        }
    }
    text.extend_from_slice(b"Connection: close\r\n\r\n");
    text
}

fn credential(value: &[u8]) -> Option<(String, String)> {
    let value = std::str::from_utf8(value).ok()?.trim();
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(text: &str) -> Head {
        parse(text.as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn a_tunnel_names_host_and_port() {
        let text = "CONNECT Pypi.ORG:443 HTTP/1.1\r\nHost: other:1\r\nproxy-authorization: basic c2VzXzE6cHc=\r\n\r\nrest";
        let head = whole(text);
        assert_eq!(head.host, Host::Name("pypi.org".into()));
        assert_eq!((head.port, &head.kind), (443, &Kind::Tunnel));
        assert_eq!(head.credential, Some(("ses_1".into(), "pw".into())));
        assert_eq!(text.get(head.length..), Some("rest"));
    }

    #[test]
    fn a_plain_request_goes_on_without_what_is_for_the_proxy() {
        let head = whole(
            "POST http://a.example:8080/x?y HTTP/1.1\r\nHost: evil.example\r\nProxy-Authorization: Basic eA==\r\nConnection: X-Own, Content-Length\r\nX-Own: 1\r\nContent-Length: 3\r\nAccept: */*\r\n\r\nabc",
        );
        let Kind::Forward(text) = head.kind else {
            panic!("a tunnel");
        };
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "POST /x?y HTTP/1.1\r\nHost: a.example:8080\r\nContent-Length: 3\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        );
        assert_eq!(head.port, 8080);
        assert_eq!(whole("GET http://a.example HTTP/1.1\r\n\r\n").port, 80);
    }

    #[test]
    fn what_is_no_request_of_a_proxy_is_refused() {
        for line in [
            "GET / HTTP/1.1",
            "GET https://a.example/ HTTP/1.1",
            "GET ftp://a.example/ HTTP/1.1",
            "GET http://user:pw@a.example/ HTTP/1.1",
            "GET http://127.1/ HTTP/1.1",
            "CONNECT a.example HTTP/1.1",
            "CONNECT a.example: HTTP/1.1",
            "CONNECT a.example:0 HTTP/1.1",
            "CONNECT a.example:99999 HTTP/1.1",
            "CONNECT http://a.example:443/ HTTP/1.1",
            "CONNECT 2130706433:80 HTTP/1.1",
            "OPTIONS * HTTP/1.1",
            "\x16\x03\x01",
        ] {
            let text = format!("{line}\r\n\r\n");
            let refused = parse(text.as_bytes());
            assert!(
                matches!(refused, Err(Refusal::Malformed(_))),
                "{line}: {refused:?}"
            );
        }
        let long = format!("CONNECT a:1 HTTP/1.1\r\nX: {}", "x".repeat(MAX_HEAD));
        assert!(parse(long.as_bytes()).is_err());
        assert_eq!(parse(b"CONNECT a:1 HTTP/1.1\r\n"), Ok(None));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            drop(parse(&bytes));
        }
    }
}
