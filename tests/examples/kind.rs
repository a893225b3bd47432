//! `examples/kind`: no cluster is here, so the script is played with stand-ins that write down what they were asked.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::world::{Running, file, program};

/// A program that notes its arguments. What is piped into a shell is what it does besides.
fn stand_in(dir: &Path, name: &str, does: &str) {
    let path = dir.join(name);
    let notes = dir.join("notes");
    let script = format!(
        "#!/bin/sh\necho \"{name} $*\" >>'{}'\n{does}\n",
        notes.display()
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// The calls of the script, in their order.
fn played(with: &str) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    for name in ["kind", "k3d", "curl"] {
        stand_in(dir.path(), name, "");
    }
    // `apply -k` gets a folder that has to be there; a port is forwarded until that is ended.
    stand_in(
        dir.path(),
        "kubectl",
        "case $* in *port-forward*) exec sleep 60 ;; *'apply -k'*) for last; do :; done; exec test -f \"$last/kustomization.yaml\" ;; esac",
    );
    stand_in(dir.path(), "openssl", "echo s3cr3t");
    let mut command = program(file("examples/kind/up.sh"), "");
    let path = std::env::var("PATH").unwrap();
    command
        .arg(with)
        .env("PATH", format!("{}:{path}", dir.path().display()));
    Running::start(command).done();
    let notes = fs::read_to_string(dir.path().join("notes")).unwrap();
    notes.lines().map(str::to_owned).collect()
}

#[test]
fn the_script_goes_from_nothing_to_a_streamed_session() {
    let kind = played("kind");
    let image = format!("opencode-sidecar:{}", env!("CARGO_PKG_VERSION"));
    let load = format!("kind load docker-image --name opencode-sidecar {image}");
    let steps = [
        "kind create cluster --config examples/kind/cluster.yaml",
        load.as_str(),
        "kubectl create namespace agents",
        "openssl rand",
        "kubectl --namespace agents create secret generic opencode-sidecar --from-file=accepted=/dev/fd/",
        "kubectl --namespace agents apply -k deploy/overlays/quickstart",
        "kubectl --namespace agents rollout status deployment/example-app",
    ];
    for (step, call) in steps.iter().zip(&kind) {
        assert!(call.starts_with(step), "expected {step:?}, seen {call:?}");
    }
    // The port is forwarded beside what follows.
    let rest = &kind[steps.len()..];
    let begins = |what: &str| rest.iter().any(|call| call.starts_with(what));
    assert!(
        begins("kubectl --namespace agents port-forward deployment/example-app 3003:3003"),
        "{rest:?}"
    );
    assert!(
        begins("curl -sSN --fail-with-body localhost:3003/sessions"),
        "{rest:?}"
    );

    assert!(
        !kind.iter().any(|call| call.contains("s3cr3t")),
        "the secret is in no command line: {kind:?}"
    );

    let k3d = played("k3d");
    assert_eq!(k3d[0], "k3d cluster create opencode-sidecar");
    assert_eq!(
        k3d[1],
        format!("k3d image import --cluster opencode-sidecar {image}")
    );
    assert_eq!(k3d[2..7], kind[2..7]);
}

/// The fields of kind's v1alpha4 that are used, with their types; none else may be there.
#[test]
fn the_cluster_is_one_that_kind_knows() {
    let text = fs::read_to_string(file("examples/kind/cluster.yaml")).unwrap();
    let cluster: Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(
        cluster,
        json!({
            "kind": "Cluster",
            "apiVersion": "kind.x-k8s.io/v1alpha4",
            "name": "opencode-sidecar",
            "nodes": [{ "role": "control-plane" }],
        })
    );
}
