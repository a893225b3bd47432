use std::process::{Child, Command, Stdio};

use super::*;

/// A program of this test, which is killed with it.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Runs Python, which says a number when it is ready.
fn python(script: &str) -> (Program, u16) {
    use std::io::BufRead as _;
    let mut child = Command::new("python3")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let stdout = child.stdout.take().unwrap();
    std::io::BufReader::new(stdout)
        .read_line(&mut line)
        .unwrap();
    (Program(child), line.trim().parse().unwrap())
}

const LISTEN: &str = "
import socket, sys
s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen()
";
const WAIT: &str = "
print(s.getsockname()[1], flush=True)
sys.stdin.read()
";

fn at(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Before anything was started, as in the sidecar.
fn finder() -> Finder {
    Finder {
        earlier: Arc::default(),
        ..Finder::new()
    }
}

#[tokio::test]
async fn a_listener_of_a_descendant_is_found_and_ours_is_ours() {
    let finder = finder();
    let (_program, port) = python(&format!("{LISTEN}{WAIT}"));
    let _connection = std::net::TcpStream::connect(at(port)).unwrap();
    assert_eq!(finder.server(at(port)).await, Owner::Descendant);
    assert_eq!(
        finder.server((Ipv4Addr::UNSPECIFIED, port).into()).await,
        Owner::Descendant
    );
    let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
    assert_eq!(
        finder.server((mapped, port).into()).await,
        Owner::Descendant
    );

    let own = std::net::TcpListener::bind(at(0)).unwrap();
    assert_eq!(finder.server(own.local_addr().unwrap()).await, Owner::Other);
    drop(own);
}

#[tokio::test]
async fn what_ran_here_before_us_is_somebody_else() {
    let (_program, port) = python(&format!("{LISTEN}{WAIT}"));
    assert_eq!(Finder::new().server(at(port)).await, Owner::Other);
}

#[tokio::test]
async fn a_client_is_known_until_it_is_gone() {
    let finder = finder();
    let listener = std::net::TcpListener::bind(at(0)).unwrap();
    let server = listener.local_addr().unwrap();
    let connect = format!(
        "import socket, sys\ns = socket.create_connection(('127.0.0.1', {}))\n{WAIT}",
        server.port()
    );
    let (program, _) = python(&connect);
    let (stream, client) = listener.accept().unwrap();
    assert_eq!(finder.client(client, server).await, Owner::Descendant);
    drop(program);
    // Asked and left: whose it was cannot be told any more.
    assert_eq!(finder.client(client, server).await, Owner::Unknown);
    drop(stream);
    let remote = "203.0.113.7:4000".parse().unwrap();
    assert_eq!(
        finder
            .client(remote, "10.1.2.3:3003".parse().unwrap())
            .await,
        Owner::Other
    );
}

/// A listener on its way through a unix socket is in no table of descriptors, and comes back when it likes.
#[tokio::test]
async fn a_socket_that_is_hidden_is_not_taken_for_somebody_else_s() {
    let finder = finder();
    let hide = format!(
        "{LISTEN}a, b = socket.socketpair(); p = s.getsockname()\nsocket.send_fds(a, [b'x'], [s.fileno()]); s.close()\nprint(p[1], flush=True)\nsys.stdin.read()\n"
    );
    let (_program, port) = python(&hide);
    assert_eq!(finder.server(at(port)).await, Owner::Unknown);
}

#[tokio::test]
async fn a_thread_with_descriptors_of_its_own_hides_nothing() {
    let finder = finder();
    let split = format!(
        "{LISTEN}import threading, ctypes\nready = threading.Event()\ndef keep():\n  ctypes.CDLL(None).unshare(0x400); ready.set(); threading.Event().wait()\nthreading.Thread(target=keep, daemon=True).start(); ready.wait()\np = s.getsockname(); s.close()\nprint(p[1], flush=True)\nsys.stdin.read()\n"
    );
    let (_program, port) = python(&split);
    assert_ne!(finder.server(at(port)).await, Owner::Other);
}

#[test]
fn addresses_of_this_host_are_here() {
    for here in [
        "127.0.0.1",
        "127.9.9.9",
        "::1",
        "0.0.0.0",
        "::",
        "::ffff:127.0.0.1",
    ] {
        assert!(is_here(here.parse().unwrap()), "{here}");
    }
    for there in ["203.0.113.7", "2001:db8::1", "::ffff:203.0.113.7"] {
        assert!(!is_here(there.parse().unwrap()), "{there}");
    }
}
