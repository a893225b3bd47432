//! A scripted `opencode`, for what the real one does too rarely: hang, die, babble, refuse to go.
//!
//! The script is the file `stub.json` in the directory `$XDG_DATA_HOME`'s parent's parent (the
//! sidecar's `DATA_DIR`), read anew at every start: the sidecar hands the child no variable of ours,
//! so a file is the way in. Every start adds a line with its pid and its password to `stub.log` there,
//! and what it found (variables, limits, umask, arguments) and was asked (requests, ids of prompts) to `stub.found`.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::exit,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test program: it fails by panicking and reads what it was given"
)]

#[path = "opencode/front.rs"]
mod front;

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio, exit};
use std::time::Duration;

use serde::Deserialize;

#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of its own that a test sets"
)]
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Script {
    /// Exit with this status before anything else.
    exit: Option<i32>,
    /// Say these words on stderr first.
    stderr: Vec<String>,
    /// Write this many bytes of garbage on stdout first.
    garbage: usize,
    /// Never say where it listens.
    silent: bool,
    /// Listen without asking for secrets, as a binary does that is not OpenCode.
    takes_no_secrets: bool,
    /// Wait this long before listening.
    delay_ms: u64,
    /// Answer health checks with this status.
    health_status: Option<u16>,
    /// Accept requests and answer none, once this file exists in `DATA_DIR`.
    hang_when: Option<String>,
    /// Die when a prompt comes, if this file exists in `DATA_DIR`, and remove the file.
    dies_when: Option<String>,
    /// Do not leave on SIGTERM, and do not answer the dispose call.
    stubborn: bool,
    /// Start these shell commands, as tools do: each in a session of its own.
    tools: Vec<String>,
    /// Become this real OpenCode. `hungry`, `cut_when` and `hold_when` hold for it too.
    front_of: Option<PathBuf>,
    /// Take this many MiB of memory at the start.
    eat_mb: usize,
    /// Take as many MiB as the file `eat` in `DATA_DIR` says, and remove it, whenever it is there.
    hungry: bool,
    /// Cut every connection, and take no new one, while this file exists in `DATA_DIR`.
    cut_when: Option<String>,
    /// Hold back what it answers while this file exists in `DATA_DIR`.
    hold_when: Option<String>,
}

fn main() {
    if front::relay_if_told() {
        return;
    }
    let data_dir = data_dir();
    let script: Script = std::fs::read(data_dir.join("stub.json"))
        .map(|text| serde_json::from_slice(&text).unwrap())
        .unwrap_or_default();
    if script.stubborn {
        ignore_sigterm();
    }
    let message = if script.takes_no_secrets {
        String::new()
    } else {
        take_secrets()
    };
    let secrets: serde_json::Value = serde_json::from_str(&message).unwrap_or_default();
    let password = secrets["environment"]["OPENCODE_SERVER_PASSWORD"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let mut log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(data_dir.join("stub.log"))
        .unwrap();
    writeln!(log, "{} {password}", std::process::id()).unwrap();
    note(&data_dir, &found());
    for line in &script.stderr {
        eprintln!("{line}");
    }
    if let Some(status) = script.exit {
        exit(status);
    }
    if script.garbage > 0 {
        let noise: Vec<u8> = (0..script.garbage)
            .map(|n| u8::try_from(n % 251).unwrap())
            .collect();
        std::io::stdout().write_all(&noise).unwrap();
        println!();
    }
    for tool in &script.tools {
        let child = Command::new("setsid")
            .args(["bash", "-c", tool])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // Nobody waits for a tool here: that is what the sidecar has to cope with.
        drop(child);
    }
    let eat = script.hungry.then(|| data_dir.join("eat"));
    if let Some(bin) = &script.front_of {
        let switches = front::Switches {
            cut: script.cut_when.map(|file| data_dir.join(file)),
            hold: script.hold_when.map(|file| data_dir.join(file)),
            eat,
        };
        front::become_opencode(bin, &message, switches);
    }
    let _eaten = vec![1_u8; script.eat_mb << 20];
    if let Some(eat) = eat {
        std::thread::spawn(move || dine(&eat));
    }
    std::thread::sleep(Duration::from_millis(script.delay_ms));
    serve(&script, &data_dir, &password);
}

/// As the preload does it in the real one.
fn take_secrets() -> String {
    println!("opencode-sidecar: ready for the secrets");
    std::io::read_to_string(std::io::stdin()).unwrap()
}

/// Every page is written to, so that it is there.
fn dine(eat: &Path) {
    let mut eaten = Vec::new();
    loop {
        let course = std::fs::read_to_string(eat).ok();
        if let Some(megabytes) = course.and_then(|text| text.parse::<usize>().ok()) {
            // First, because whoever takes that much may be killed for it, and the next one is not to do it again.
            std::fs::remove_file(eat).unwrap();
            eaten.push(vec![1_u8; megabytes << 20]);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// `DATA_DIR`, from `XDG_DATA_HOME=DATA_DIR/engine/share`.
fn data_dir() -> PathBuf {
    let share = PathBuf::from(std::env::var_os("XDG_DATA_HOME").unwrap());
    share.parent().unwrap().parent().unwrap().to_owned()
}

fn note(data_dir: &Path, text: &str) {
    let mut file = std::fs::File::options()
        .create(true)
        .append(true)
        .open(data_dir.join("stub.found"))
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// What this process was given, a line each.
fn found() -> String {
    let mut lines: Vec<String> = std::env::vars()
        .map(|(name, value)| format!("env {name}={value}"))
        .collect();
    lines.sort();
    let proc = |file: &str| std::fs::read_to_string(format!("/proc/self/{file}")).unwrap();
    let status = proc("status");
    let umask = status.lines().find(|line| line.starts_with("Umask:"));
    lines.push(umask.unwrap().replace('\t', " "));
    lines.push(format!("oom {}", proc("oom_score_adj").trim()));
    for line in proc("limits").lines().skip(1) {
        let words: Vec<&str> = line.split_whitespace().collect();
        lines.push(format!("limit {}", words.join(" ")));
    }
    let config = PathBuf::from(std::env::var_os("XDG_CONFIG_HOME").unwrap()).join("opencode");
    for file in ["package.json", "package-lock.json", "node_modules"] {
        if config.join(file).exists() {
            lines.push(format!("seeded {file}"));
        }
    }
    lines.join("\n") + "\n"
}

/// SIGTERM is blocked in this thread and all later ones, which is as good as ignored.
fn ignore_sigterm() {
    // Without unsafe there is no sigaction; becoming `env --ignore-signal` is the same.
    if std::env::var_os("STUB_DEAF").is_none() {
        use std::os::unix::process::CommandExt as _;
        let error = Command::new("env")
            .arg("--ignore-signal=TERM")
            .arg(std::env::current_exe().unwrap())
            .args(std::env::args_os().skip(1))
            .env("STUB_DEAF", "1")
            .exec();
        panic!("{error}");
    }
}

fn serve(script: &Script, data_dir: &Path, password: &str) {
    let port = std::env::args()
        .skip_while(|arg| arg != "--port")
        .nth(1)
        .unwrap();
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).unwrap_or_else(|error| {
        eprintln!("cannot listen: {error}");
        exit(1)
    });
    if !script.silent {
        println!(
            "opencode server listening on http://{}",
            listener.local_addr().unwrap()
        );
    }
    let authorization = format!(
        "basic {}",
        base64(format!("opencode:{password}").as_bytes())
    );
    for stream in listener.incoming() {
        let (script, data_dir, authorization) =
            (script.clone(), data_dir.to_owned(), authorization.clone());
        std::thread::spawn(move || {
            let hangs = || {
                script
                    .hang_when
                    .as_ref()
                    .is_some_and(|file| data_dir.join(file).exists())
            };
            while let Some(request) = stream.as_ref().ok().and_then(read_request) {
                note(
                    &data_dir,
                    &format!("asked {} {}\n", request.method, request.path),
                );
                if request.path.ends_with("/prompt_async") {
                    take_prompt(&script, &data_dir, &request.body);
                }
                if hangs() || (script.stubborn && request.path == "/global/dispose") {
                    std::thread::sleep(Duration::from_hours(1));
                }
                answer(
                    stream.as_ref().unwrap(),
                    &data_dir,
                    &script,
                    &request,
                    &authorization,
                );
            }
        });
    }
}

/// Notes the id of a prompt, and dies under it if that is wanted.
fn take_prompt(script: &Script, data_dir: &Path, body: &[u8]) {
    let prompt: serde_json::Value = serde_json::from_slice(body).unwrap();
    let id = prompt["messageID"].as_str().unwrap_or_default();
    note(data_dir, &format!("prompted {id}\n"));
    let words = prompt["parts"][0]["text"].as_str().unwrap_or_default();
    let first = words.lines().next().unwrap_or_default();
    note(data_dir, &format!("told {first}\n"));
    let switch = script.dies_when.as_ref().map(|file| data_dir.join(file));
    if switch.is_some_and(|file| std::fs::remove_file(file).is_ok()) {
        exit(1);
    }
}

struct Request {
    method: String,
    /// The path with its query.
    target: String,
    path: String,
    authorization: String,
    body: Vec<u8>,
}

fn read_request(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::with_capacity(1, stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (mut length, mut authorization) = (0, String::new());
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim().split_once(": ") else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "authorization" => value.clone_into(&mut authorization),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let path = target.split('?').next()?.to_owned();
    Some(Request {
        method,
        target,
        path,
        authorization,
        body,
    })
}

/// An answer of the file `stub.answers` in `DATA_DIR`, which is a map from `METHOD /path?query` or `METHOD /path`. It is
/// read at each request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scripted {
    status: u16,
    /// Lines as they are on the wire.
    #[serde(default)]
    headers: String,
    #[serde(default)]
    body: serde_json::Value,
    /// Instead of the body: a text of this many MiB.
    #[serde(default)]
    fill_mb: usize,
}

fn scripted(data_dir: &Path, request: &Request) -> Option<Scripted> {
    let text = std::fs::read(data_dir.join("stub.answers")).ok()?;
    let mut answers: HashMap<String, Scripted> = serde_json::from_slice(&text).unwrap();
    [&request.target, &request.path]
        .into_iter()
        .find_map(|asked| answers.remove(&format!("{} {asked}", request.method)))
}

fn answer(
    mut stream: &TcpStream,
    data_dir: &Path,
    script: &Script,
    request: &Request,
    authorization: &str,
) {
    let sent = request.authorization.replacen("Basic", "basic", 1);
    if request.path == "/global/event" && sent == authorization {
        return feed(stream);
    }
    if let Some(scripted) = scripted(data_dir, request).filter(|_| sent == authorization) {
        let headers = scripted.headers;
        let body = match scripted.fill_mb {
            0 => scripted.body.to_string(),
            size => format!("\"{}\"", "x".repeat(size << 20)),
        };
        let head = format!(
            "HTTP/1.1 {} X\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n",
            scripted.status,
            body.len()
        );
        drop(stream.write_all(head.as_bytes()));
        drop(stream.write_all(body.as_bytes()));
        return;
    }
    let (status, body) = match (request.method.as_str(), request.path.as_str()) {
        _ if sent != authorization => (401, "\"no\""),
        ("GET", "/global/health") => (
            script.health_status.unwrap_or(200),
            r#"{"healthy":true,"version":"1.18.33"}"#,
        ),
        ("POST", "/session") => (200, r#"{"id":"ses_stub"}"#),
        ("DELETE", _) | ("POST", "/global/dispose") => (200, "true"),
        ("POST", path) if path.ends_with("/prompt_async") => (204, ""),
        ("POST", path) if path.ends_with("/abort") => (200, "true"),
        ("GET", "/session/status") => (200, "{}"),
        // A session of an earlier life, made for ours with the id `kept`.
        ("GET", "/session/ses_kept") => (200, r#"{"id":"ses_kept","title":"kept"}"#),
        ("GET", path) if path.ends_with("/message") => (200, ABORTED),
        ("GET", path) if path.ends_with("/children") || path.ends_with("/todo") => (200, "[]"),
        _ => (404, r#"{"name":"NotFoundError"}"#),
    };
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    drop(stream.write_all(format!("{head}{body}").as_bytes()));
}

/// What is left of a turn once it was aborted; nobody asks before.
const ABORTED: &str = r#"[{"info":{"id":"msg_1","sessionID":"ses_stub","role":"assistant",
"time":{"created":1,"completed":2},
"error":{"name":"MessageAbortedError","data":{"message":"Aborted"}}},"parts":[]}]"#;

/// An event stream on which nothing happens, until the reader goes.
fn feed(mut stream: &TcpStream) {
    let head = "HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\n\r\n";
    let mut sent = stream.write_all(head.as_bytes());
    let mut kind = "server.connected";
    while sent.is_ok() {
        let event = format!(r#"{{"payload":{{"type":"{kind}","properties":{{}}}}}}"#);
        sent = stream.write_all(format!("data: {event}\n\n").as_bytes());
        kind = "server.heartbeat";
        std::thread::sleep(Duration::from_secs(2));
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |group: u32, shift: u32| char::from(DIGITS[(group >> shift & 63) as usize]);
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |n: usize| u32::from(chunk.get(n).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        text.push(digit(group, 18));
        text.push(digit(group, 12));
        text.push(if chunk.len() > 1 {
            digit(group, 6)
        } else {
            '='
        });
        text.push(if chunk.len() > 2 {
            digit(group, 0)
        } else {
            '='
        });
    }
    text
}
