//! The tools of a session reach what its list says and nothing else, with the real OpenCode.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::thread;

use parking_lot::Mutex;
use serde_json::json;

use crate::llm::Turn;
use crate::world::{World, bash};

/// A server on an address of this host that is not loopback, which some tools never send to a proxy.
struct Server {
    address: SocketAddr,
    /// The heads of the requests that came.
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// It says who it is, and at `/away` it sends to another.
    fn start(name: &'static str, away: Option<SocketAddr>) -> Self {
        // Nothing is sent: this asks which address of this host is used to leave it.
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.connect("192.0.2.1:9").unwrap();
        let listener = TcpListener::bind((socket.local_addr().unwrap().ip(), 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        // It ends with the test's process.
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut head = [0; 4096];
                let read = stream.read(&mut head).unwrap_or(0);
                let head = String::from_utf8_lossy(head.get(..read).unwrap()).into_owned();
                let status = match away {
                    Some(away) if head.contains("/away") => {
                        format!("302 Found\r\nLocation: http://{away}/x")
                    }
                    _ => "200 OK".to_owned(),
                };
                seen.lock().push(head);
                let answer = format!(
                    "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{name}",
                    name.len()
                );
                drop(stream.write_all(answer.as_bytes()));
            }
        });
        Self { address, heads }
    }

    fn heads(&self) -> String {
        self.heads.lock().join("\n")
    }
}

/// Each tool as it is used, without an address of the proxy in its arguments. What it prints is its name and the last
/// line that it says.
fn tools(target: SocketAddr) -> String {
    format!(
        r#"cd "$(mktemp -d)"; URL=http://{target}
say() {{ name=$1; shift; printf '%s=%s\n' "$name" "$(timeout 20 "$@" 2>&1 | tail -1)"; }}
say curl curl -sS $URL/x
say connect curl -sS -p -o /dev/null -w '%{{http_connect}}\n' $URL/x
say wget wget -q -O - $URL/x
say python python3 -c "import urllib.request as u; print(u.urlopen('$URL/x').read().decode())"
say git git ls-remote $URL/repository
say npm npm view --fetch-retries=0 --registry $URL x
say pip python3 -m pip download --disable-pip-version-check --no-deps --retries 0 --trusted-host {host} --index-url $URL/simple x
say cargo cargo search --index sparse+$URL/ x
printf 'module a\n' > go.mod
say direct python3 -c "import socket; socket.create_connection(('{host}', {port}), 5)"
say node node -e "fetch('$URL/x').then(r => r.text()).then(console.log, e => console.log('failed', e.cause?.code))"
say udp python3 -c "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM)"
say lookup python3 -c "import socket; socket.getaddrinfo('a.example', 80)"
say bare env -u HTTP_PROXY -u http_proxy -u ALL_PROXY -u all_proxy curl -sS $URL/x
say go env GOPROXY=$URL GONOSUMDB='*' GOFLAGS=-mod=mod go get b.example/c@v1.0.0
"#,
        host = target.ip(),
        port = target.port()
    )
}

#[test]
fn the_tools_of_a_session_reach_what_is_listed_and_nothing_else() {
    let other = Server::start("other", None);
    let listed = Server::start("listed", Some(other.address));
    let world = World::with(|options| {
        options
            .env("EGRESS", "list")
            .env("EGRESS_ALLOW", &listed.address.to_string())
    });
    let (wanted, refused) = (listed.address, other.address);
    let seen = world.run(
        "listed",
        [
            Turn::new().tool("bash", bash(&tools(wanted))),
            Turn::new().text("Done."),
        ],
    );
    let said = seen.text("tool");
    // The last ones go past the proxy, which the kernel does not let them: not even to what is listed.
    let lines = [
        "curl=listed",
        "connect=200",
        "wget=listed",
        "python=listed",
        "direct=PermissionError",
        "udp=PermissionError",
        "lookup=socket.gaierror",
        "bare=curl: (7)",
    ];
    for line in lines {
        assert!(said.contains(line), "{line}: {said}");
    }
    let heads = listed.heads();
    let agents = [
        "curl/",
        "Wget/",
        "Python-urllib",
        "git/",
        "npm/",
        "pip/",
        "cargo",
        "Go-http-client",
    ];
    for agent in agents {
        assert!(heads.contains(agent), "{agent}: {said}\n{heads}");
    }
    assert!(!heads.to_lowercase().contains("proxy-"), "{heads}");

    let seen = world.run(
        "refused",
        [
            Turn::new().tool("bash", bash(&tools(refused))),
            Turn::new().tool(
                "bash",
                bash(&format!(
                    "curl -sSL http://{wanted}/away; env | grep SIDECAR_E; true"
                )),
            ),
            Turn::new().text("Done."),
        ],
    );
    let said = seen.text("tool");
    let curl = format!("curl=The sidecar did not connect to {refused}");
    assert!(
        said.contains(&curl) && said.contains("connect=403"),
        "{said}"
    );
    assert!(
        said.contains("python=urllib.error.HTTPError: HTTP Error 403: Refused by the sidecar"),
        "{said}"
    );
    assert!(!said.contains("SIDECAR_E"), "{said}");

    webfetch(&world, wanted, refused);
    narrower(&world, wanted, refused);
    assert_eq!(other.heads(), "", "nobody reached what is not listed");
    let metrics = world.sidecar.get("/metrics").body;
    for outcome in ["allowed", "not_listed", "none"] {
        let line = format!("sidecar_egress_requests_total{{outcome=\"{outcome}\"}} ");
        let (_, count) = metrics.split_once(&line).unwrap();
        assert!(!count.starts_with("0\n"), "{outcome}");
    }
}

/// A session that is narrower than the instance, and one that would be wider.
fn narrower(world: &World, wanted: SocketAddr, refused: SocketAddr) {
    world.script(
        "none",
        [
            Turn::new().tool("bash", bash(&format!("curl -sS http://{wanted}/x"))),
            Turn::new().text("Done."),
        ],
    );
    world.create_with("none", |body| {
        body["model_config"]["egress"] = json!("none");
    });
    let said = world.follow("none").text("tool");
    assert!(said.contains("this session may reach no host"), "{said}");
    let mut wider = world.body("wider");
    wider["model_config"]["egress_allow"] = json!([refused.to_string()]);
    let answer = world.post_session(&wider);
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(
        answer.body.contains("model_config.egress_allow"),
        "{answer:?}"
    );
}

/// OpenCode fetches by itself, and follows redirects.
fn webfetch(world: &World, wanted: SocketAddr, refused: SocketAddr) {
    let fetch = |address: SocketAddr, path: &str| json!({ "url": format!("http://{address}{path}"), "format": "text" });
    let seen = world.run(
        "fetch-refused",
        [
            Turn::new().tool("webfetch", fetch(refused, "/x")),
            Turn::new().text("Done."),
        ],
    );
    let fetched = seen.result("webfetch").to_string();
    assert!(fetched.contains("did not connect to"), "{fetched}");
    let seen = world.run(
        "fetched",
        [
            Turn::new().tool("webfetch", fetch(wanted, "/fetched")),
            Turn::new().text("Done."),
        ],
    );
    let fetched = seen.result("webfetch").to_string();
    assert!(fetched.contains("listed"), "{fetched}");
    let seen = world.run(
        "sent-away",
        [
            Turn::new().tool("webfetch", fetch(wanted, "/away")),
            Turn::new().text("Done."),
        ],
    );
    let fetched = seen.result("webfetch").to_string();
    assert!(fetched.contains("did not connect to"), "{fetched}");
}
