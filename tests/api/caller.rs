//! Without a secret: who asks from this host, and whether that is the agent.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::json;

use crate::support::{Options, Sidecar, as_nobody, skipped};

/// Commands of the agent. Each waits for the port in `D/port`, and what it says goes to `D/said-n`.
fn with_commands(options: Options, commands: &[&str]) -> Options {
    let dir = options.dir.path().join("workspace");
    let tools: Vec<String> = commands
        .iter()
        .enumerate()
        .map(|(n, command)| {
            format!(
                "cd {}; until [ -s port ]; do sleep 0.02; done; P=$(cat port); ({command}) >new-{n} 2>&1; mv new-{n} said-{n}",
                dir.display()
            )
        })
        .collect();
    options.script(json!({ "tools": tools }))
}

fn said(sidecar: &Sidecar, count: usize) -> Vec<String> {
    let dir = sidecar.workspace();
    fs::write(dir.join("new-port"), sidecar.address.port().to_string()).unwrap();
    fs::rename(dir.join("new-port"), dir.join("port")).unwrap();
    let file = |n| dir.join(format!("said-{n}"));
    sidecar.until("said", |_| (0..count).all(|n| file(n).exists()));
    (0..count)
        .map(|n| fs::read_to_string(file(n)).unwrap().trim().to_owned())
        .collect()
}

const STATUS: &str = "curl -s -o /dev/null -w %{http_code}";

#[test]
fn the_agent_s_commands_are_refused_and_everybody_else_is_not() {
    let get = format!("{STATUS} http://127.0.0.1:$P/sessions");
    let ask = "curl -s -X POST http://127.0.0.1:$P/engine/stop";
    let probe = format!("{STATUS} http://127.0.0.1:$P/healthz");
    let escaped = format!("setsid {get} & wait");
    // Asks and is gone: nobody can tell any more who it was.
    let gone = "exec 3<>/dev/tcp/127.0.0.1/$P; printf 'POST /engine/stop HTTP/1.1\\r\\nhost: a\\r\\n\\r\\n' >&3; exec 3>&-; sleep 1; echo gone";
    let options = with_commands(Options::stub(), &[&get, ask, &probe, &escaped, gone]);
    let sidecar = options.start().ready();
    let said = said(&sidecar, 5);
    assert_eq!(
        (&*said[0], &*said[2], &*said[3], &*said[4]),
        ("403", "200", "403", "gone")
    );
    let refusal: serde_json::Value = serde_json::from_str(&said[1]).unwrap();
    assert_eq!(refusal["code"], "agent_process");
    assert!(
        refusal["error"]
            .as_str()
            .unwrap()
            .contains("OPENCODE_SHARED_SECRET")
    );
    assert_eq!(sidecar.engine()["state"], "ready", "nothing was stopped");
}

#[test]
fn with_a_secret_the_token_alone_decides() {
    let with = format!("{STATUS} -H 'authorization: Bearer s3cret' http://127.0.0.1:$P/sessions");
    let without = format!("{STATUS} http://127.0.0.1:$P/sessions");
    let options = Options::stub().env("OPENCODE_SHARED_SECRET", "s3cret");
    let sidecar = with_commands(options, &[&with, &without]).start().ready();
    assert_eq!(said(&sidecar, 2), ["200", "401"]);
}

/// The place of the image: neither OpenCode nor the command can be looked at by others of their user.
#[test]
fn as_nobody_with_closed_binaries_the_command_drains_and_an_agent_does_not() {
    if !rustix::process::geteuid().is_root() {
        skipped("only root can become nobody");
        return;
    }
    let closed = |dir: &std::path::Path| {
        for name in ["sidecar", "opencode"] {
            fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o711)).unwrap();
        }
    };
    let program = Options::stub();
    let dir = program.dir.path().to_owned();
    // Its own binary cannot be read, so neither can its descriptors.
    let drain = format!(
        "env -i HOST=127.0.0.1 PORT=$P {}/sidecar drain; echo $?",
        dir.display()
    );
    let hidden = "python3 -c 'import ctypes, os; ctypes.CDLL(None).prctl(4, 0); import urllib.request as u, sys\ntry: print(u.urlopen(\"http://127.0.0.1:\" + sys.argv[1] + \"/sessions\").status)\nexcept u.HTTPError as e: print(e.code)' $P";
    let options = with_commands(program, &[&drain, hidden]);
    let (options, command) = as_nobody(options, &["workspace", "data"]);
    closed(&dir);
    let mut sidecar = options.start_as(command).ready();
    let said = said(&sidecar, 2);
    assert!(
        said[0].contains("/drain on port") && said[0].ends_with('1'),
        "{said:?}"
    );
    assert_eq!(said[1], "403");
    assert_eq!(sidecar.get("/ready").status, 200);

    let output = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(dir.join("sidecar"))
        .arg("drain")
        .env_clear()
        .env("HOST", "127.0.0.1")
        .env("PORT", sidecar.address.port().to_string())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(sidecar.exit().code(), Some(0));
}

/// The commands have the shared secret in their environment, which others of their user must not read.
#[test]
fn while_a_command_waits_its_environment_is_closed_to_its_user() {
    if !rustix::process::geteuid().is_root() {
        skipped("only root can become nobody");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("sidecar");
    fs::copy(crate::support::SIDECAR, &program).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let nobody = || {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        command
    };
    for (name, mode) in [
        ("drain", 0o711),
        ("drain", 0o755),
        ("healthcheck", 0o711),
        ("healthcheck", 0o755),
    ] {
        fs::set_permissions(&program, fs::Permissions::from_mode(mode)).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let mut waiting = nobody()
            .arg(&program)
            .arg(name)
            .env_clear()
            .envs([
                ("HOST", "127.0.0.1"),
                ("PORT", &port),
                ("OPENCODE_SHARED_SECRET", "s3cret"),
            ])
            .spawn()
            .unwrap();
        // It has asked, and gets no answer.
        let asked = listener.accept().unwrap();
        let file = format!("/proc/{}/environ", waiting.id());
        let look = nobody().args(["cat", &file]).output().unwrap();
        assert!(
            !look.status.success() && look.stdout.is_empty(),
            "{name} {mode:o}: {look:?}"
        );
        waiting.kill().unwrap();
        waiting.wait().unwrap();
        drop(asked);
    }
}

/// A cgroup of a test, which goes with it.
struct Group(std::path::PathBuf);

impl Drop for Group {
    fn drop(&mut self) {
        fs::remove_dir(&self.0).ok();
    }
}

/// A process of the same user that cannot be looked at, as in another container of a pod whose user is set for all
/// of it: it is told by its cgroup, which is another than ours. Within ours it may be the agent's.
#[test]
fn a_neighbour_of_the_same_user_is_known_by_its_cgroup() {
    let root = std::path::Path::new("/sys/fs/cgroup/unified");
    if !rustix::process::geteuid().is_root() || !root.join("cgroup.procs").exists() {
        skipped("this needs root and cgroups of the second version");
        return;
    }
    let (options, command) = as_nobody(Options::stub(), &["workspace", "data"]);
    let opencode = options.dir.path().join("opencode");
    fs::set_permissions(opencode, fs::Permissions::from_mode(0o711)).unwrap();
    let sidecar = options.start_as(command).ready();
    let group = Group(root.join(format!("sidecar-test-{}", sidecar.pid())));
    fs::create_dir(&group.0).unwrap();
    let ask = |join: &str| {
        let script = format!(
            "{join} exec setpriv --reuid 65534 --regid 65534 --clear-groups /usr/bin/python3 -c \"$0\" {}",
            sidecar.address.port()
        );
        let python = "import ctypes, sys, urllib.request as u\nctypes.CDLL(None).prctl(4, 0)\ntry: print(u.urlopen('http://127.0.0.1:' + sys.argv[1] + '/sessions').status)\nexcept u.HTTPError as e: print(e.code)";
        let output = Command::new("sh")
            .args(["-c", &script, python])
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(
            !said.is_empty(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        said.trim().to_owned()
    };
    assert_eq!(ask(""), "403");
    assert_eq!(
        ask(&format!("echo $$ > {}/cgroup.procs;", group.0.display())),
        "200"
    );
}
