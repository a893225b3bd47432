//! What the agent reaches over loopback: this API, and the places of servers that others call with a key.

use std::fs;

use serde_json::json;

use super::Victim;
use crate::llm::Turn;
use crate::world::bash;

/// Uses the API without a secret from a command: as it is, by other addresses, hidden from `/proc`, and gone before
/// anybody looks.
pub(super) fn use_the_api(victim: &mut Victim) {
    let port = victim.sidecar.address.port();
    let script = format!(
        r#"cat > call.py <<'END'
import ctypes, socket, sys, urllib.request as u, urllib.error as e
def ask(host):
    try: return u.urlopen(f"http://{{host}}:{port}/sessions", timeout=10).status
    except e.HTTPError as error: return error.code
    except OSError: return "none"
def shot():
    s = socket.create_connection(("127.0.0.1", {port}))
    s.sendall(b"POST /engine/stop HTTP/1.1\r\nhost: a\r\n\r\n"); s.close()
def hide():
    s = socket.create_connection(("127.0.0.1", {port}))
    a, b = socket.socketpair()
    s.sendall(b"GET /sessions HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    socket.send_fds(a, [b"x"], [s.fileno()]); s.close()
    import time; time.sleep(1)
    _, fds, _, _ = socket.recv_fds(b, 1, 1)
    return socket.socket(fileno=fds[0]).recv(64).split(b" ")[1].decode()
said = [ask("127.0.0.1"), ask("127.0.0.2"), ask("0.0.0.0")]
ctypes.CDLL(None).prctl(4, 0)
said += [ask("127.0.0.1"), hide()]
shot()
print("said", *said)
END
python3 call.py || /usr/bin/python3 call.py; curl -s -o /dev/null -w 'curl %{{http_code}}\n' -X POST http://127.0.0.1:{port}/drain"#
    );
    let seen = victim.run([&*script]);
    let output = seen.result("bash")["result"]["stdout"].as_str().unwrap();
    let said = output.lines().find(|line| line.starts_with("said"));
    let said = said.unwrap_or_else(|| panic!("{output}"));
    assert!(
        said.split(' ')
            .skip(1)
            .all(|one| matches!(one, "403" | "none")),
        "{output}"
    );
    assert!(
        said.contains("403") && output.contains("curl 403"),
        "{output}"
    );
    assert_eq!(victim.sidecar.engine()["state"], "ready");
    assert_eq!(victim.sidecar.get("/ready").status, 200);
}

/// Listens where another session's server is expected, and waits for its key.
pub(super) fn take_the_place_of_a_local_server(victim: &mut Victim) {
    let (listening, done) = (victim.file("listening"), victim.file("done"));
    for file in [&listening, &done] {
        fs::remove_file(file).ok();
    }
    let script = r#"cat > squat.py <<'END'
import os, socket, threading, time
v4 = socket.socket(); v4.bind(("127.0.0.1", 0)); v4.listen()
v6 = socket.socket(socket.AF_INET6)
try: v6.bind(("::1", 0)); v6.listen(); port6 = v6.getsockname()[1]
except OSError: port6 = 0
loot = []
def serve(s):
    while True:
        c, _ = s.accept(); c.settimeout(3)
        try: loot.append(c.recv(65536).decode()); c.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        except OSError: pass
        c.close()
for s in (v4, v6): threading.Thread(target=serve, args=(s,), daemon=True).start()
open("new", "w").write(f"{v4.getsockname()[1]} {port6}"); os.rename("new", "listening")
for _ in range(600):
    if os.path.exists("done"): break
    time.sleep(0.1)
print("loot", loot)
END
python3 squat.py || /usr/bin/python3 squat.py"#;
    let squatter = victim.new_session();
    let end = Turn::new().text("done");
    victim.script(&squatter, [Turn::new().tool("bash", bash(script)), end]);
    victim.create_with(&squatter, |body| {
        body["model_config"]["enabled_tools"] = json!(["code_exec"]);
    });
    victim
        .sidecar
        .until("listening", |_| fs::metadata(&listening).is_ok());
    let ports = fs::read_to_string(&listening).unwrap();
    let (v4, v6) = ports.split_once(' ').unwrap();

    for endpoint in [
        format!("http://127.0.0.1:{v4}/v1"),
        format!("http://0.0.0.0:{v4}/v1"),
    ] {
        let id = victim.new_session();
        victim.create_with(&id, |body| {
            body["model_config"]["api_endpoint"] = json!(endpoint);
        });
        let seen = victim.follow(&id);
        assert_eq!(victim.status(&id)["status"], "failed");
        assert!(
            seen.last().to_string().contains("nothing is sent to it")
                || seen.last().to_string().contains("no secret is sent"),
            "{}",
            seen.last()
        );
    }
    // `localhost` is 127.0.0.1 and nothing else. The agent repeats what cannot be reached, so this one is stopped.
    let id = victim.new_session();
    victim.create_with(&id, |body| {
        body["model_config"]["api_endpoint"] = json!(format!("http://localhost:{v6}/v1"));
    });
    victim.sidecar.until("tried", |_| {
        let status = victim.status(&id).to_string();
        ["retry", "reached", "failed"]
            .iter()
            .any(|word| status.contains(word))
    });
    victim.stop(&id);

    fs::write(&done, "").unwrap();
    let seen = victim.follow(&squatter);
    let output = seen.result("bash")["result"]["stdout"].as_str().unwrap();
    // Connections that were closed again, without a word.
    assert!(output.contains("loot"), "{output}");
    for word in ["POST", "sk-attacker", "Bearer"] {
        assert!(!output.contains(word), "{output}");
    }
}

/// Cuts the journal's files under the sidecar, and writes rows of its own into it.
pub(super) fn write_the_journal(victim: &mut Victim) {
    let dir = victim.sidecar.data_dir().join("journal");
    // In a file, because the agent asks before a command names a folder outside the workspace.
    let script = format!(
        r#"cat > forge.py <<'END'
import glob, os, sqlite3
for name in glob.glob("{dir}/*-shm"):
    try: os.truncate(name, 0)
    except OSError as error: print(error)
try:
    c = sqlite3.connect("{dir}/sessions.db", timeout=1)
    c.execute("INSERT INTO sessions VALUES (9999, '../../admin', 'abcdefghij', NULL, 'completed', 1, NULL, 0, 1, '{{}}')")
    c.commit()
    print("forged")
except sqlite3.Error as error: print(error)
END
python3 forge.py || /usr/bin/python3 forge.py; echo tried"#,
        dir = dir.display()
    );
    let seen = victim.run([&*script]);
    let result = seen.result("bash");
    let output = result["result"]["stdout"]
        .as_str()
        .unwrap_or_else(|| panic!("{result}"));
    assert!(
        output.contains("tried") && !output.contains("forged"),
        "{output}"
    );
    let after = victim.run(["echo alive"]);
    assert_eq!(after.last()["finish_reason"], "stop");
    assert!(!victim.sidecar.get("/sessions").body.contains("admin"));
}
