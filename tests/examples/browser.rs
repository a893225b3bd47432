//! `examples/browser`: the page in a real Chromium.

use std::process::{Command, Stdio};

use crate::world::{Running, TOKEN, file, free_port, installed, options, program, ready};

const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

fn chromium() -> String {
    let paths = std::env::var("PATH").unwrap();
    let mut found = paths
        .split(':')
        .flat_map(|dir| NAMES.map(|name| format!("{dir}/{name}")))
        .filter(|path| std::path::Path::new(path).exists());
    found
        .next()
        .unwrap_or_else(|| panic!("no Chromium on PATH: run tools/test-needs (make test does)"))
}

#[test]
fn a_page_follows_a_task_and_stops_one() {
    let page = file("examples/browser");
    let typescript = installed("examples/browser/node_modules/typescript/bin/tsc");
    let built = Command::new("node")
        .arg(typescript)
        .current_dir(&page)
        .output()
        .unwrap();
    assert!(built.status.success(), "{built:?}");
    let port = free_port().to_string();
    let origin = format!("http://localhost:{port}");
    let mut serve = program("node", "");
    serve
        .arg("serve.mjs")
        .current_dir(&page)
        .env("PORT", &port)
        .stderr(Stdio::inherit());
    let mut server = Running::start(serve);
    server.until(&origin);
    let sidecar = ready(options().env("CORS_ALLOW_ORIGINS", &origin));
    let url = format!("http://{}", sidecar.address);
    // Chromium writes into it, whatever profile it is given.
    let home = tempfile::tempdir().unwrap();
    let mut test = program("node", &url);
    test.arg(file("tests/examples/browser.mjs"))
        .args([&origin, &url, TOKEN])
        .env("CHROMIUM", chromium())
        .env("HOME", home.path());
    let said = Running::start(test).done();
    assert!(said.ends_with("passed\n"), "{said}");
    home.close().unwrap();
}
