//! `examples/compose`: no Docker is here, so the file is held to Compose's schema and its settings to the program.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::support::SIDECAR;
use crate::world::{file, installed};

const CHECK: &str = "
import glob, json, sys
import jsonschema
schema = json.load(open(glob.glob(sys.prefix + '/lib/python*/site-packages/compose/config/compose_spec.json')[0]))
errors = list(jsonschema.Draft7Validator(schema).iter_errors(json.load(sys.stdin)))
sys.exit('; '.join(error.message for error in errors) or 0)
";

fn compose() -> Value {
    let text = fs::read_to_string(file("examples/compose/compose.yaml")).unwrap();
    serde_saphyr::from_str(&text).unwrap()
}

/// What the schema says against it.
fn faults(document: &Value) -> Option<String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("compose.json");
    fs::write(&path, document.to_string()).unwrap();
    let output = Command::new(installed("tools/examples/venv/bin/python"))
        .args(["-c", CHECK])
        .stdin(fs::File::open(path).unwrap())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    (!output.status.success()).then_some(said)
}

#[test]
fn compose_takes_the_file() {
    let mut document = compose();
    assert_eq!(faults(&document), None);
    document["services"]["sidecar"]["read_olny"] = true.into();
    let fault = faults(&document).unwrap();
    assert!(fault.contains("read_olny"), "{fault}");
}

#[test]
fn the_sidecar_takes_the_settings() {
    let sidecar = compose()["services"]["sidecar"].clone();
    let mut check = Command::new(SIDECAR);
    check.args(["config", "check"]).env_clear();
    for (name, value) in sidecar["environment"].as_object().unwrap() {
        let value = value.as_str().unwrap();
        // The variable has to be there; without it Compose says so and ends.
        let value = if value.starts_with("${SIDECAR_TOKEN:?") {
            "a-token"
        } else {
            value
        };
        check.env(name, value);
    }
    let output = check.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said, "✓ the settings are good\n", "{output:?}");
}

#[test]
fn the_container_is_closed_off_and_has_time_to_leave() {
    let sidecar = &compose()["services"]["sidecar"];
    let image = format!("opencode-sidecar:{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(sidecar["image"], image.as_str());
    assert_eq!(
        sidecar["ports"][0], "127.0.0.1:3003:3003",
        "nobody else reaches it"
    );
    assert_eq!(sidecar["read_only"], true);
    assert_eq!(sidecar["cap_drop"][0], "ALL");
    assert_eq!(sidecar["security_opt"][0], "no-new-privileges:true");
    assert_eq!(sidecar["tmpfs"][0], "/tmp");
    let volumes: Vec<&str> = sidecar["volumes"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(
        volumes,
        ["workspace:/workspace", "state:/var/lib/opencode-sidecar"]
    );
    let drain = sidecar["environment"]["DRAIN_TIMEOUT"].as_str().unwrap();
    let drain: u64 = drain.parse().unwrap();
    let grace = sidecar["stop_grace_period"].as_str().unwrap();
    let grace: u64 = grace.trim_end_matches('s').parse().unwrap();
    assert!(grace >= drain + 5, "{grace} and {drain}");
}
