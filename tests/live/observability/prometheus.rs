//! A real Prometheus for a test.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::http;

/// One that scrapes one sidecar, until it is dropped.
pub(super) struct Prometheus {
    process: Child,
    address: SocketAddr,
    _directory: tempfile::TempDir,
}

// === impl Prometheus ===

impl Prometheus {
    pub(super) fn start(target: SocketAddr, rules: &str) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("alerts.yaml"), rules).unwrap();
        let config = format!(
            "global: {{scrape_interval: 250ms, scrape_timeout: 250ms, evaluation_interval: 250ms}}\nrule_files: [alerts.yaml]\nscrape_configs:\n- job_name: opencode-sidecar\n  static_configs: [{{targets: ['{target}']}}]\n"
        );
        std::fs::write(at("prometheus.yml"), config).unwrap();
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", at("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", at("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            process,
            address,
            _directory: directory,
        }
    }

    /// The series that a query finds; nothing while it does not answer.
    pub(super) fn query(&self, query: &str) -> Option<Vec<Value>> {
        let body = format!("query={}", encoded(query));
        let kind = [("content-type", "application/x-www-form-urlencoded")];
        let answer = http::send(
            self.address,
            "POST",
            "/api/v1/query",
            &kind,
            body.as_bytes(),
        );
        let answer = answer.ok().filter(|answer| answer.status != 503)?;
        assert_eq!(answer.status, 200, "{query}: {}", answer.body);
        Some(answer.json()["data"]["result"].as_array().unwrap().clone())
    }

    /// The value of the first series.
    pub(super) fn value(&self, query: &str) -> Option<f64> {
        let found = self.query(query)?;
        found.first()?["value"][1].as_str()?.parse().ok()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        write!(encoded, "%{byte:02X}").unwrap();
        encoded
    })
}
