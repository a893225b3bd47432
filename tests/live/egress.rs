//! The tools of a session reach what its list says and nothing else, with the real OpenCode.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::{fs, thread};

use parking_lot::Mutex;
use rustix::process::Signal;
use serde_json::json;

use crate::llm::Turn;
use crate::world::{Seen, World, bash};

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
    let mut world = World::with(|options| {
        let audit = options.dir.path().join("data/audit.log");
        options
            .env("AUDIT_FILE", audit.to_str().unwrap())
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

    told(&world, &seen, refused);
    webfetch(&world, wanted, refused);
    narrower(&world, wanted, refused);
    assert_eq!(other.heads(), "", "nobody reached what is not listed");
    let metrics = world.sidecar.get("/metrics").body;
    for outcome in ["allowed", "not_listed", "none"] {
        let line = format!("sidecar_egress_requests_total{{outcome=\"{outcome}\"}} ");
        let (_, count) = metrics.split_once(&line).unwrap();
        assert!(!count.starts_with("0\n"), "{outcome}");
    }
    // Last: it restarts the sidecar, and with it what was counted.
    changed(&mut world, wanted);
}

/// What was refused stands in the stream, of each host once and not once for each of the tools, and in the audit log.
fn told(world: &World, seen: &Seen, refused: SocketAddr) {
    let denied: Vec<_> = seen.of("egress").collect();
    let count: u64 = denied
        .iter()
        .map(|data| data["count"].as_u64().unwrap())
        .sum();
    for data in &denied {
        assert_eq!(data["decision"], "denied", "{data}");
        assert_eq!(data["host"], refused.ip().to_string(), "{data}");
        assert_eq!(data["port"], refused.port(), "{data}");
        assert_eq!(data["reason"], "not_listed", "{data}");
    }
    assert!(count >= 8, "one for each tool: {denied:?}");
    assert!((denied.len() as u64) < count, "{denied:?}");
    let audit = fs::read_to_string(world.data_dir().join("audit.log")).unwrap();
    let lines = audit.lines().filter(|line| {
        line.contains("\"egress.denied\"")
            && line.contains(&format!("\"host\":\"{refused}\""))
            && line.contains("\"session.id\":\"refused\"")
            && line.contains("\"reason\":\"not_listed\"")
    });
    assert_eq!(lines.count() as u64, count, "{audit}");
}

/// The list of a session that runs is changed, and holds for the next turn and after a restart too.
fn changed(world: &mut World, wanted: SocketAddr) {
    let wait = "until [ -e go ]; do sleep 0.02; done";
    let ask = format!("curl -sS http://{wanted}/x");
    world.script(
        "changed",
        [
            Turn::new().tool("bash", bash(&format!("{ask}; touch asked; {wait}; {ask}"))),
            Turn::new().text("Done."),
            Turn::new().tool("bash", bash(&ask)),
            Turn::new().text("Done."),
        ],
    );
    world.create_with("changed", |_| ());
    world.until("asking", |_| Path::new(&world.file("asked")).exists());
    let path = "/sessions/changed/egress";
    let before = world.sidecar.get(path).json();
    let list = json!([wanted.to_string()]);
    assert_eq!(
        before,
        json!({ "egress": "list", "egress_allow": list, "sidecar": { "egress": "list", "egress_allow": list } })
    );
    let put = |body: &str| world.sidecar.send("PUT", path, body);
    for (body, sentence) in [
        ("{}", "egress: is missing"),
        (r#"{"egress":"open"}"#, "egress: \"open\" is wider"),
        (
            r#"{"egress_allow":["*"]}"#,
            "egress_allow: \"*\" is not within",
        ),
        (r#"{"egress":"ask"}"#, "egress: "),
    ] {
        let answer = put(body);
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
        assert!(answer.error().starts_with(sentence), "{body}: {answer:?}");
    }
    let answer = put(r#"{"egress":"none"}"#);
    assert_eq!(answer.status, 200, "{answer:?}");
    let narrow = answer.json();
    assert_eq!(
        (&narrow["egress"], &narrow["egress_allow"]),
        (&json!("none"), &json!([]))
    );
    fs::write(world.file("go"), "").unwrap();
    let said = world.follow("changed").text("tool");
    assert!(said.starts_with("listed"), "{said}");
    assert!(said.contains("this session may reach no host"), "{said}");
    world.sidecar.signal(Signal::TERM);
    world.sidecar.restart();
    world.until("ready", |sidecar| sidecar.get("/ready").status == 200);
    assert_eq!(world.sidecar.get(path).json(), narrow);
    let mut again = world.body("changed");
    again.as_object_mut().unwrap().remove("session_id");
    let answer = world.post("/sessions/changed/prompt", &again.to_string());
    assert_eq!(answer.status, 202, "{answer:?}");
    let said = world.stream("changed", "").rest();
    let said = format!("{said:?}");
    assert_eq!(
        said.matches("this session may reach no host").count(),
        4,
        "{said}"
    );
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
