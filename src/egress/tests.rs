//! Hostile tools against the proxy, with a resolver that says what the test wants.

mod changing;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::handle::listen;
use super::sessions::MOST_OF_ONE;
use super::target::{Lookup, Targets};
use super::*;
use crate::egress_policy::{AllowList, InstanceEgress, Mode, SessionEgress};
use crate::secret::Secret;

const WITHIN: Duration = Duration::from_secs(10);

/// A proxy, a server behind it, and what the resolver has been asked.
struct World {
    handle: Handle,
    port: u16,
    key: Secret,
    server: SocketAddr,
    lookups: Arc<AtomicUsize>,
    _end: DropGuard,
}

/// `SERVER` in the list is the address of the server.
async fn world(
    allow: &str,
    lead_to: impl Fn(&str, usize) -> Vec<IpAddr> + Send + Sync + 'static,
) -> World {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap();
    let tracker = TaskTracker::new();
    let connections = tracker.clone();
    tracker.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            connections.spawn(async move {
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await.ok();
                write.shutdown().await.ok();
            });
        }
    });
    let lookups = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&lookups);
    let lookup: Lookup = Box::new(move |name, port| {
        let addresses = lead_to(
            name.trim_end_matches('.'),
            counted.fetch_add(1, Ordering::SeqCst),
        );
        let found = addresses.into_iter().map(|ip| SocketAddr::new(ip, port));
        let found = found.collect();
        Box::pin(async move { Ok(found) })
    });
    let allow = allow.replace("SERVER", &server.to_string());
    let instance = InstanceEgress {
        mode: Mode::List,
        list: AllowList::parse_setting(&allow).unwrap(),
    };
    let (listener, port) = listen().await.unwrap();
    let targets = Targets::with_lookup(vec![port], lookup);
    let bound = Bound::new(listener, port, Arc::new(instance), targets);
    let handle = bound.handle();
    let end = CancellationToken::new();
    bound.spawn(&tracker, end.clone());
    World {
        key: handle.new_child_access().key,
        handle,
        port,
        server,
        lookups,
        _end: end.drop_guard(),
    }
}

fn subject(name: &str) -> Subject {
    Subject {
        remote_id: name.into(),
        session: name.into(),
        turn: 1,
    }
}

impl World {
    fn grant(&self, name: &str) -> Grant {
        self.handle
            .register(subject(name), SessionEgress::AsInstance)
    }

    fn credential(&self, name: &str) -> String {
        use base64::Engine as _;
        let password = credential::password(&self.key, name);
        let text = format!("{name}:{}", password.expose());
        let text = base64::engine::general_purpose::STANDARD.encode(text);
        format!("Proxy-Authorization: Basic {text}\r\n")
    }

    async fn open(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    /// What is answered until the proxy closes, or says that it has connected.
    async fn ask(&self, request: &str) -> String {
        let mut stream = self.open(request).await;
        read(&mut stream).await
    }

    async fn tunnel_to(&self, name: &str, target: &str) -> String {
        let credential = self.credential(name);
        self.ask(&format!("CONNECT {target} HTTP/1.1\r\n{credential}\r\n"))
            .await
    }
}

async fn read(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let reading = async {
        let is_open = |text: &[u8]| String::from_utf8_lossy(text).contains("established\r\n\r\n");
        while !is_open(&text) {
            if stream.read_buf(&mut text).await.unwrap_or(0) == 0 {
                break;
            }
        }
    };
    tokio::time::timeout(WITHIN, reading).await.unwrap();
    String::from_utf8(text).unwrap()
}

fn loopback(_: &str, _: usize) -> Vec<IpAddr> {
    vec![Ipv4Addr::LOCALHOST.into()]
}

#[tokio::test]
async fn bytes_go_both_ways_through_a_tunnel() {
    let world = world("SERVER, a.example:*", loopback).await;
    let _grant = world.grant("ses_1");
    let target = format!("a.example:{}", world.server.port());
    let credential = world.credential("ses_1");
    let mut stream = world
        .open(&format!(
            "CONNECT {target} HTTP/1.1\r\n{credential}\r\nearly "
        ))
        .await;
    let mut text = read(&mut stream).await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    stream.write_all(b"late").await.unwrap();
    stream.shutdown().await.unwrap();
    text.push_str(&read(&mut stream).await);
    assert!(text.ends_with("early late"), "{text}");
}

#[tokio::test]
async fn what_is_not_listed_is_refused_unasked_and_says_whom_to_ask() {
    let world = world("SERVER, a.example:*", loopback).await;
    let _grant = world.grant("ses_1");
    for (target, word) in [
        ("evil.example:443", "not_listed"),
        ("a.example.evil:443", "not_listed"),
        ("8.8.8.8:443", "not_listed"),
        ("169.254.169.254:80", "not_listed"),
        ("[::ffff:127.0.0.1]:22", "not_listed"),
    ] {
        let answer = world.tunnel_to("ses_1", target).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{target}: {answer}");
        assert!(
            answer.contains(&format!("X-Sidecar-Egress: {word}\r\n")),
            "{answer}"
        );
        assert!(
            answer.contains(target) && answer.contains("ask the person"),
            "{answer}"
        );
    }
    assert_eq!(
        world.lookups.load(Ordering::SeqCst),
        0,
        "no name was looked up"
    );
}

#[tokio::test]
async fn a_listed_name_does_not_lead_to_special_addresses() {
    let addresses = [
        "127.0.0.1",
        "127.9.9.9",
        "0.0.0.0",
        "10.0.0.1",
        "169.254.169.254",
        "192.168.0.1",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "64:ff9b::7f00:1",
        "fe80::1",
        "fd00:ec2::254",
        "2002:7f00:1::1",
    ];
    let lead_to = move |name: &str, _: usize| {
        let at: usize = name
            .trim_start_matches('n')
            .split('.')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        vec![addresses[at].parse().unwrap()]
    };
    let world = world("*:*", lead_to).await;
    let _grant = world.grant("ses_1");
    for (at, address) in addresses.iter().enumerate() {
        let answer = world.tunnel_to("ses_1", &format!("n{at}.example:9")).await;
        assert!(
            answer.contains("X-Sidecar-Egress: address\r\n"),
            "{address}: {answer}"
        );
    }
}

/// A name that leads to a listed address when it is looked up first, and elsewhere afterwards.
#[tokio::test]
async fn what_was_checked_is_connected_to_and_a_name_is_looked_up_once() {
    let rebinding = |_: &str, asked: usize| -> Vec<IpAddr> {
        let first = "10.11.12.13".parse().unwrap();
        vec![if asked == 0 {
            Ipv4Addr::LOCALHOST.into()
        } else {
            first
        }]
    };
    let world = world("SERVER, a.example:*", rebinding).await;
    let _grant = world.grant("ses_1");
    let target = format!("a.example:{}", world.server.port());
    let answer = world.tunnel_to("ses_1", &target).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(world.lookups.load(Ordering::SeqCst), 1);
    // The next connection looks it up anew, and checks anew.
    let answer = world.tunnel_to("ses_1", &target).await;
    assert!(answer.contains("X-Sidecar-Egress: address"), "{answer}");
}

#[tokio::test]
async fn a_port_of_the_sidecar_is_not_opened_by_any_list() {
    let world = world("127.0.0.0/8:*, *:*, [::/0]:*", loopback).await;
    let _grant = world.grant("ses_1");
    for target in [
        "127.0.0.1",
        "localhost",
        "a.example",
        "127.0.0.2",
        "[::ffff:127.0.0.1]",
    ] {
        let answer = world
            .tunnel_to("ses_1", &format!("{target}:{}", world.port))
            .await;
        assert!(
            answer.contains("X-Sidecar-Egress: own_port"),
            "{target}: {answer}"
        );
    }
    // A network does not open other ports of this host either: that takes the address and the port.
    let answer = world.tunnel_to("ses_1", &world.server.to_string()).await;
    assert!(answer.contains("X-Sidecar-Egress: address"), "{answer}");
}

#[tokio::test]
async fn a_credential_is_of_one_session_and_ends_with_its_turn() {
    let world = world("SERVER", loopback).await;
    let target = world.server.to_string();
    let none = world
        .ask(&format!("CONNECT {target} HTTP/1.1\r\n\r\n"))
        .await;
    assert!(
        none.starts_with("HTTP/1.1 407 ") && none.contains("Proxy-Authenticate: Basic"),
        "{none}"
    );
    let narrow = world
        .handle
        .register(subject("ses_narrow"), SessionEgress::None);
    let wide = world.grant("ses_wide");
    assert!(
        world
            .tunnel_to("ses_wide", &target)
            .await
            .starts_with("HTTP/1.1 200")
    );
    let refused = world.tunnel_to("ses_narrow", &target).await;
    assert!(refused.contains("X-Sidecar-Egress: none"), "{refused}");
    // The name of another session with one's own password.
    let own = credential::password(&world.key, "ses_narrow");
    let forged = credential::password(&Secret::random(), "ses_wide");
    for password in [own.expose(), forged.expose(), ""] {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(format!("ses_wide:{password}"));
        let answer = world
            .ask(&format!(
                "CONNECT {target} HTTP/1.1\r\nProxy-Authorization: Basic {text}\r\n\r\n"
            ))
            .await;
        assert!(answer.starts_with("HTTP/1.1 407 "), "{answer}");
    }
    let credential = world.credential("ses_wide");
    let mut open = world
        .open(&format!("CONNECT {target} HTTP/1.1\r\n{credential}\r\n"))
        .await;
    assert!(read(&mut open).await.starts_with("HTTP/1.1 200"));
    drop(wide);
    // Cut with the turn.
    read(&mut open).await;
    let answer = world.tunnel_to("ses_wide", &target).await;
    assert!(answer.starts_with("HTTP/1.1 407 "), "{answer}");
    drop(narrow);
    // With a new child every credential is another.
    let _wide = world.grant("ses_wide");
    world.handle.new_child_access();
    assert!(
        world
            .tunnel_to("ses_wide", &target)
            .await
            .starts_with("HTTP/1.1 407 ")
    );
}

/// 1 000 tunnels of one session, and as many connections that send nothing: a neighbour goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_opens_everything_holds_up_no_other() {
    let world = world("SERVER", loopback).await;
    let (_loud, _quiet) = (world.grant("ses_loud"), world.grant("ses_quiet"));
    let target = world.server.to_string();
    let request = format!(
        "CONNECT {target} HTTP/1.1\r\n{}\r\n",
        world.credential("ses_loud")
    );
    let mut held = Vec::new();
    for _ in 0..300 {
        held.push(world.open("").await);
    }
    let mut refused = 0;
    for _ in 0..1000 {
        let mut stream = world.open(&request).await;
        let answer = read(&mut stream).await;
        if answer.starts_with("HTTP/1.1 429 ") {
            refused += 1;
        } else {
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            held.push(stream);
        }
    }
    assert_eq!(refused, 1000 - MOST_OF_ONE);
    let answer = world.tunnel_to("ses_quiet", &target).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_redirect_is_a_request_of_its_own_and_a_second_one_on_a_connection_goes_nowhere_else() {
    let world = world("SERVER", loopback).await;
    let _grant = world.grant("ses_1");
    let credential = world.credential("ses_1");
    let target = world.server;
    let mut stream = world
        .open(&format!(
            "GET http://{target}/1 HTTP/1.1\r\n{credential}\r\nGET http://169.254.169.254/ HTTP/1.1\r\n\r\n"
        ))
        .await;
    stream.shutdown().await.unwrap();
    let text = read(&mut stream).await;
    // Both went to the server that was checked, the first without the credential.
    assert!(
        text.contains(&format!(
            "GET /1 HTTP/1.1\r\nHost: {target}\r\nConnection: close"
        )),
        "{text}"
    );
    assert!(
        text.contains("GET http://169.254.169.254/") && !text.contains("Basic"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_sends_half_a_request_is_closed() {
    let world = world("SERVER", loopback).await;
    let mut stream = world.open("CONNECT a:1 HTTP/1.1\r\nX-Slow: ").await;
    let mut text = Vec::new();
    stream.read_to_end(&mut text).await.ok();
    assert!(text.is_empty());
}
