//! Starts that are refused, with the exact sentence; starts that are odd but fine.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use crate::support::{Options, SIDECAR, as_nobody};

/// Status and the sentence after the program's name.
fn refusal(options: &Options) -> (i32, String) {
    let (status, stderr) = options.refused();
    let last = stderr
        .lines()
        .rfind(|line| line.starts_with("opencode-sidecar: "))
        .unwrap_or_else(|| panic!("{stderr}"));
    (
        status.unwrap(),
        last.trim_start_matches("opencode-sidecar: ").to_owned(),
    )
}

#[test]
fn a_missing_binary() {
    let options = Options::stub().env("OPENCODE_BIN", "/nowhere/opencode");
    let sentence = "OPENCODE_BIN=\"/nowhere/opencode\" is not accepted: there is no such file; give the path of an executable file";
    assert_eq!(refusal(&options), (64, sentence.into()));
}

#[test]
fn a_binary_that_cannot_be_executed() {
    let options = Options::stub();
    let file = options.dir.path().join("plain");
    fs::write(&file, "text").unwrap();
    let sentence = format!(
        "OPENCODE_BIN={file:?} is not accepted: this user may not execute it; give the path of an executable file"
    );
    assert_eq!(
        refusal(&options.env("OPENCODE_BIN", &file.to_string_lossy())),
        (64, sentence)
    );
}

#[test]
fn no_binary_anywhere() {
    let options = Options::stub()
        .env("OPENCODE_BIN", "")
        .env("PATH", "/nowhere");
    let mut command = options.command();
    let output = command.current_dir(options.dir.path()).output().unwrap();
    let sentence = "opencode-sidecar: no OpenCode found on PATH or in tools/opencode: run `make opencode`, or set OPENCODE_BIN to its path\n";
    assert_eq!(
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).as_ref()
        ),
        (Some(64), sentence)
    );
}

#[test]
fn a_program_that_is_not_opencode_is_named_in_readiness() {
    let sidecar = Options::stub()
        .env("OPENCODE_BIN", "/bin/true")
        .env("ENGINE_RESTART_BUDGET", "1")
        .start();
    sidecar.until("failed", |sidecar| {
        let error = sidecar.get("/ready").error();
        error.starts_with(
            "engine failed: it exited with status 0 before it was ready; trying again in ",
        )
    });
}

#[test]
fn a_file_that_is_no_program_is_named_in_readiness() {
    let options = Options::stub().env("ENGINE_RESTART_BUDGET", "1");
    let file = options.dir.path().join("garbage");
    fs::write(&file, "\x7fnot an executable").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    let sidecar = options.env("OPENCODE_BIN", &file.to_string_lossy()).start();
    // A shell is tried on it, as execvp(3) does; what that says is the shell's own.
    let sentence = "engine failed: it exited with status 127 before it was ready; its last words: ";
    sidecar.until("failed", |sidecar| {
        sidecar.get("/ready").error().starts_with(sentence)
    });
}

#[test]
fn a_port_that_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let options = Options::stub().env("PORT", &address.port().to_string());
    let sentence =
        format!("cannot listen on {address}: the port is taken; stop what uses it or set PORT");
    assert_eq!(refusal(&options), (64, sentence));
}

#[test]
fn a_data_dir_that_cannot_be_written() {
    let sentence = "DATA_DIR=\"/proc/sidecar\" cannot be used: no such file or directory; give a directory this user can write";
    assert_eq!(
        refusal(&Options::stub().env("DATA_DIR", "/proc/sidecar")),
        (64, sentence.into())
    );
}

#[test]
fn a_data_dir_of_another_owner() {
    if !rustix::process::geteuid().is_root() {
        crate::support::skipped("only root may become somebody else");
        return;
    }
    let (options, mut command) = as_nobody(Options::stub(), &["workspace"]);
    let output = command.output().unwrap();
    let expected = format!(
        "opencode-sidecar: DATA_DIR={:?} cannot be used: permission denied; give a directory this user can write\n",
        options.dir.path().join("data")
    );
    assert_eq!(
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned()
        ),
        (Some(64), expected)
    );
}

/// A tool may close a directory to its owner, which would keep everybody but root from wiping it.
#[test]
fn a_directory_that_a_tool_has_closed_does_not_keep_the_engine_from_starting() {
    if !rustix::process::geteuid().is_root() {
        crate::support::skipped("only root may become somebody else");
        return;
    }
    let options = Options::stub();
    let closed = ["data/engine", "data/engine/home", "data/engine/home/closed"];
    let inner = options.dir.path().join("data/engine/home/closed/inner");
    fs::create_dir_all(&inner).unwrap();
    fs::set_permissions(inner.parent().unwrap(), fs::Permissions::from_mode(0o000)).unwrap();
    let owned = [
        &["workspace", "data", "data/engine/home/closed/inner"],
        &closed[..],
    ]
    .concat();
    let (options, command) = as_nobody(options, &owned);
    let sidecar = options.start_as(command).ready();
    assert_eq!(sidecar.engine()["generation"], 1);
    assert!(!inner.exists());
}

#[test]
fn a_second_sidecar_on_the_same_data_dir() {
    let first = Options::stub().start();
    let data = first.data_dir();
    let second = Options::stub().env("DATA_DIR", &data.to_string_lossy());
    let sentence =
        format!("DATA_DIR={data:?} is in use by another opencode-sidecar; give each its own");
    assert_eq!(refusal(&second), (64, sentence));
    assert_eq!(first.get("/healthz").status, 200);
}

#[test]
fn a_bad_value_leaves_with_64_and_one_line() {
    let (status, stderr) = Options::stub().env("PORT", "http").refused();
    assert_eq!(status, Some(64));
    assert_eq!(
        stderr,
        "opencode-sidecar: PORT=\"http\" is not accepted: give a port number from 0 to 65535 (0 picks a free one)\n"
    );
}

#[test]
fn a_misspelt_variable_is_pointed_out_in_the_log() {
    let sidecar = Options::stub().env("OPENCODE_SHARED_SECERT", "x").start();
    sidecar.until("said", |sidecar| {
        sidecar
            .log()
            .contains("did you mean OPENCODE_SHARED_SECRET?")
    });
}

#[test]
fn healthcheck_tells_by_its_exit_code() {
    let sidecar = Options::stub().start().ready();
    let check = |args: &[&str], port: u16| {
        let output = Command::new(SIDECAR)
            .arg("healthcheck")
            .args(args)
            .env("PORT", port.to_string())
            .output()
            .unwrap();
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let port = sidecar.address.port();
    assert_eq!(check(&[], port), (0, String::new()));
    assert_eq!(check(&["--ready"], port), (0, String::new()));

    assert_eq!(sidecar.post("/engine/stop", "").status, 200);
    assert_eq!(check(&[], port).0, 0, "alive without an engine");
    let (status, words) = check(&["--ready"], port);
    assert_eq!(status, 1);
    assert!(words.contains("engine stopped"), "{words}");

    drop(sidecar);
    let (status, words) = check(&[], port);
    assert_eq!(status, 1);
    assert!(
        words.contains(&format!("nothing answers on port {port}")),
        "{words}"
    );
}

#[test]
fn healthcheck_asks_at_the_address_that_is_listened_on() {
    // A host of its own on loopback, where 127.0.0.1 is closed.
    let sidecar = Options::stub()
        .env("HOST", "127.0.0.9")
        .start_at([127, 0, 0, 9]);
    let port = sidecar.address.port().to_string();
    let check = |host: &str| {
        let output = Command::new(SIDECAR)
            .arg("healthcheck")
            .env("HOST", host)
            .env("PORT", &port)
            .output()
            .unwrap();
        output.status.code()
    };
    assert_eq!(check("127.0.0.9"), Some(0));
    assert_eq!(check("127.0.0.1"), Some(1));
}

#[test]
fn the_default_host_takes_ipv4_and_ipv6() {
    let sidecar = Options::stub().env("HOST", "::").start();
    assert_eq!(sidecar.get("/healthz").status, 200, "over IPv4");
    let v6 = std::net::SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, sidecar.address.port()));
    if TcpListener::bind("[::1]:0").is_ok() {
        assert_eq!(
            crate::support::http::send(v6, "GET", "/healthz", &[], b"")
                .unwrap()
                .status,
            200
        );
    }
}
