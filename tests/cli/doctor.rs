//! `doctor`: what it finds, what to do, and that it says no secret. It calls loopback only.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use serde_json::Value;

use crate::golden::assert_golden;
use crate::program::{Output, command, output};
use crate::support::{SIDECAR, real_opencode};

fn doctor(variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    let arguments: Vec<&str> = ["doctor"].iter().chain(arguments).copied().collect();
    let mut command = command(&arguments);
    command.envs(variables.iter().copied());
    output(command)
}

fn line<'a>(output: &'a Output, about: &str) -> &'a str {
    let begins = |line: &&str| line.chars().skip(2).collect::<String>().starts_with(about);
    output
        .stdout
        .lines()
        .find(begins)
        .unwrap_or_else(|| panic!("no {about}: {output:?}"))
}

#[test]
fn a_host_that_can_run_a_sidecar_passes_and_no_secret_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_string_lossy();
    let opencode = real_opencode();
    let output = doctor(
        &[
            ("OPENCODE_BIN", &opencode.to_string_lossy()),
            ("WORKSPACE_DIR", &path),
            ("DATA_DIR", &path),
            ("PORT", "0"),
            ("OPENCODE_SHARED_SECRET", "hunter2"),
            ("HTTPS_PROXY", "http://me:hunter2@127.0.0.1:1"),
        ],
        &["--offline"],
    );
    assert_eq!(output.code, 0, "{output:?}");
    assert!(
        line(&output, "OpenCode").starts_with("✓ OpenCode      1."),
        "{output:?}"
    );
    assert!(line(&output, "workspace").ends_with("can be written"));
    assert!(line(&output, "port").starts_with('✓'));
    assert!(line(&output, "data").ends_with("is free to be used"));
    assert!(line(&output, "proxy").contains("HTTPS_PROXY"));
    assert!(output.stdout.contains("sandbox "), "{output:?}");
    assert!(
        !output.stdout.contains("hunter2") && !output.stderr.contains("hunter2"),
        "{output:?}"
    );
}

/// A report without what differs from host to host.
fn without_the_host(report: &str) -> String {
    const HOST: [&str; 5] = ["user", "kernel", "memory", "limits", "clock"];
    let mut is_kept = true;
    let lines = report.lines().filter(|line| {
        // A remedy belongs to the line before it.
        if !line.starts_with(' ') {
            let about = line.split_whitespace().nth(1).unwrap_or_default();
            is_kept = !HOST.contains(&about) && !line.ends_with(" to know.");
        }
        is_kept
    });
    lines.fold(String::new(), |text, line| text + line + "\n")
}

#[test]
fn everything_that_is_in_the_way_is_said_at_once_with_its_remedy() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = doctor(
        &[
            ("OPENCODE_BIN", "/nonexistent/opencode"),
            ("WORKSPACE_DIR", "/nonexistent/workspace"),
            ("DATA_DIR", "/proc/x"),
            ("HOST", "127.0.0.1"),
            ("PORT", &port),
            ("METRICS_PORT", &port),
            ("EXTRA_CA_FILE", "/etc/hostname"),
        ],
        &["--offline"],
    );
    assert_eq!(output.code, 1, "{output:?}");
    assert_golden("doctor", &without_the_host(&output.stdout));
    for (about, words) in [
        ("OpenCode", "there is no such file"),
        ("workspace", "does not exist"),
        ("data", "cannot be used"),
        ("port", "is taken by something that is no sidecar"),
        ("certificates", "EXTRA_CA_FILE"),
    ] {
        let found = line(&output, about);
        assert!(found.starts_with('✗') && found.contains(words), "{found}");
    }
    assert!(
        output
            .stdout
            .contains("→ mount the volume there or set WORKSPACE_DIR"),
        "{output:?}"
    );
    assert!(
        output.stdout.contains(&format!(
            "✗ port          {port} of METRICS_PORT cannot be had"
        )),
        "{output:?}"
    );
    assert!(
        output.stdout.contains("6 things are in the way"),
        "{output:?}"
    );
    let bad = doctor(&[("PORT", "http")], &["--offline"]);
    assert_eq!(bad.code, 1);
    assert!(
        line(&bad, "settings").contains("PORT=\"http\" is not accepted"),
        "{bad:?}"
    );
}

#[test]
fn a_provider_is_called_without_a_key_and_its_clock_compared() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let seen = std::thread::spawn(move || {
        let (mut stream, _) = server.accept().unwrap();
        let mut request = vec![0; 4096];
        let length = stream.read(&mut request).unwrap();
        let answer = "HTTP/1.1 401 Unauthorized\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8_lossy(&request[..length]).into_owned()
    });
    let dir = tempfile::tempdir().unwrap();
    let variables = [
        ("OPENCODE_BIN", SIDECAR),
        ("DATA_DIR", dir.path().to_str().unwrap()),
        ("PORT", "0"),
        ("SIDECAR_API_KEY", "hunter2"),
    ];
    let endpoint = format!("http://{address}/v1");
    let output = doctor(&variables, &["--endpoint", &endpoint, "--json"]);
    let request = seen.join().unwrap();
    assert!(request.starts_with("GET /v1/models "), "{request}");
    assert!(
        !request.to_lowercase().contains("authorization") && !request.contains("hunter2"),
        "{request}"
    );
    let report: Value = serde_json::from_str(&output.stdout).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let text = |about: &str| {
        let check = checks
            .iter()
            .rfind(|check| check["about"] == about)
            .unwrap();
        check["text"].as_str().unwrap().to_owned()
    };
    assert!(
        text("provider").contains("answers 401 to a call without a key"),
        "{output:?}"
    );
    assert!(
        text("clock").starts_with("it differs from the provider's by"),
        "{output:?}"
    );

    let named = doctor(
        &variables,
        &["--endpoint", "http://me:hunter2@127.0.0.1:1/v1"],
    );
    assert_eq!(named.code, 64, "{named:?}");
    assert!(!named.stderr.contains("hunter2"), "{named:?}");
    let gone = doctor(&variables, &["--endpoint", "http://127.0.0.1:1/v1"]);
    assert!(line(&gone, "provider").starts_with('✗'), "{gone:?}");
}
