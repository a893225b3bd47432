use std::process::{Child, Command, Stdio};

use reqwest::Method;
use reqwest::header::{AUTHORIZATION, HeaderValue};

use super::*;

const SECRET: &str = "the-key";

/// A server of a descendant: it answers every request with 200, and says what it read when it is asked to end.
struct Squatter(Child);

impl Squatter {
    fn at(host: &str, port: u16) -> (Self, u16) {
        use std::io::BufRead as _;
        let family = if host.contains(':') {
            "AF_INET6"
        } else {
            "AF_INET"
        };
        let script = format!(
            "
import socket, sys, threading
s = socket.socket(socket.{family}); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('{host}', {port})); s.listen()
print(s.getsockname()[1], flush=True)
got = []
def serve():
    while True:
        c, _ = s.accept()
        c.settimeout(2)
        try:
            got.append(c.recv(65536).decode())
            c.sendall(b'HTTP/1.1 200 OK\\r\\ncontent-length: 0\\r\\n\\r\\n')
        except OSError:
            pass
threading.Thread(target=serve, daemon=True).start()
sys.stdin.read()
print(repr(got), flush=True)
"
        );
        let mut child = Command::new("python3")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        (Self(child), line.trim().parse().unwrap())
    }

    fn read(mut self) -> String {
        use std::io::Read as _;
        drop(self.0.stdin.take());
        let mut text = String::new();
        self.0
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        self.0.wait().unwrap();
        text
    }
}

fn caller(proxies: &[Url]) -> Caller {
    with(Finder::new(), proxies)
}

/// What runs when the finder is made is not a descendant's.
fn with(finder: Finder, proxies: &[Url]) -> Caller {
    let given = proxies.to_vec();
    Caller::new(finder, proxies, move |kind| {
        let mut builder = Client::builder()
            .no_proxy()
            .connect_timeout(Duration::from_secs(5))
            .tls_backend_preconfigured(crate::trust::nobody().unwrap());
        if kind == Kind::Remote {
            for proxy in &given {
                builder = builder.proxy(reqwest::Proxy::http(proxy.clone()).unwrap());
            }
        }
        Ok(builder)
    })
}

fn request(url: &str, secret: bool) -> Request {
    let mut request = Request::new(Method::GET, Url::parse(url).unwrap());
    if secret {
        let mut value = HeaderValue::from_static(SECRET);
        value.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    request
}

async fn refusal(caller: &Caller, url: &str, secret: bool) -> Option<Untrusted> {
    match caller.execute(request(url, secret)).await {
        Ok(_) => None,
        Err(SendError::Untrusted(reason)) => Some(reason),
        Err(other) => panic!("{url}: {other}"),
    }
}

#[tokio::test]
async fn a_server_that_descends_from_us_gets_nothing_by_whatever_address() {
    let caller = caller(&[]);
    let (squatter, port) = Squatter::at("0.0.0.0", 0);
    for host in [
        "127.0.0.1",
        "localhost",
        "LOCALHOST",
        "0.0.0.0",
        "127.0.0.9",
        "[::ffff:127.0.0.1]",
        "2130706433",
    ] {
        for secret in [true, false] {
            let url = format!("http://{host}:{port}/v1");
            assert_eq!(
                refusal(&caller, &url, secret).await,
                Some(Untrusted::Descendant),
                "{url}"
            );
        }
    }
    let read = squatter.read();
    assert!(!read.contains("GET") && !read.contains(SECRET), "{read}");
}

#[tokio::test]
async fn localhost_is_not_tried_in_the_other_family() {
    let (squatter, port) = Squatter::at("::1", 0);
    let error = caller(&[])
        .execute(request(&format!("http://localhost:{port}/"), true))
        .await;
    assert!(matches!(error, Err(SendError::Call(error)) if error.is_connect()));
    assert_eq!(squatter.read().trim(), "[]");
}

#[tokio::test]
async fn a_server_that_is_ours_is_called_and_its_connection_kept() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let serving = async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 4096];
        for _ in 0..2 {
            let count = stream.read(&mut buffer).await.unwrap();
            assert!(String::from_utf8_lossy(&buffer[..count]).contains(SECRET));
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer).await.unwrap();
        }
    };
    let caller = caller(&[]);
    let calling = async {
        for _ in 0..2 {
            assert_eq!(refusal(&caller, &url, true).await, None);
        }
    };
    tokio::join!(serving, calling);
}

/// A proxy gets whole calls where the provider is not spoken to by https.
#[tokio::test]
async fn a_proxy_that_descends_from_us_gets_nothing() {
    let finder = Finder::new();
    let (squatter, port) = Squatter::at("127.0.0.1", 0);
    let proxy = Url::parse(&format!("http://localhost:{port}")).unwrap();
    let caller = with(finder, &[proxy]);
    let found = refusal(&caller, "http://provider.invalid/v1", true).await;
    assert_eq!(found, Some(Untrusted::Descendant));
    assert!(!squatter.read().contains(SECRET));
}
