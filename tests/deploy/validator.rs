//! Kubernetes' own schemas, strict, for every version that is supported.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::custom::is_custom;
use crate::manifests::{all, base, one, pods};

const VERSIONS: &[&str] = &["1.31", "1.32", "1.33"];

fn program() -> PathBuf {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/manifests/venv/bin/kubernetes-validate");
    assert!(
        path.exists(),
        "{} is missing: run tools/manifests/install (make test does)",
        path.display()
    );
    path
}

/// What Kubernetes has a schema for. Of a Sandbox, which it does not know, the pod inside.
fn native(documents: &[Value]) -> Vec<Value> {
    let sandboxed = pods(documents)
        .into_iter()
        .filter(|pod| pod.kind == "Sandbox")
        .map(|pod| {
            let mut metadata = pod.metadata.clone();
            metadata["name"] = json!(pod.name);
            json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod.spec })
        });
    documents
        .iter()
        .filter(|document| !is_custom(document))
        .cloned()
        .chain(sandboxed)
        .collect()
}

/// Whether all pass, how many passed, and what was said.
fn validate(version: &str, documents: &[Value]) -> (bool, usize, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("all.yaml");
    let texts: Vec<String> = documents.iter().map(ToString::to_string).collect();
    fs::write(&file, texts.join("\n---\n")).unwrap();
    let output = Command::new(program())
        .args(["-k", version, "--strict"])
        .arg(&file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    let passed = said.matches(" passed for resource ").count();
    (output.status.success(), passed, said.into_owned())
}

#[test]
fn every_supported_kubernetes_takes_the_manifests() {
    let mut documents: Vec<Value> = all()
        .iter()
        .flat_map(|rendering| native(&rendering.documents))
        .collect();
    // Most are the same in every rendering; one look at each is enough.
    documents.sort_by_key(ToString::to_string);
    documents.dedup();
    for version in VERSIONS {
        let (fine, passed, said) = validate(version, &documents);
        assert!(fine, "{version}: {said}");
        // What it has no schema for it would pass over.
        assert_eq!(passed, documents.len(), "{version}: {said}");
    }
}

#[test]
fn a_manifest_that_kubernetes_would_not_take_is_refused() {
    let mut documents = base();
    let deployment = documents.iter_mut().find(|one| one["kind"] == "Deployment");
    deployment.unwrap()["spec"]["template"]["spec"]["containerz"] = json!([]);
    for version in VERSIONS {
        let (fine, _, said) = validate(version, &native(&documents));
        assert!(!fine, "{version}: {said}");
        assert!(said.contains("containerz"), "{version}: {said}");
    }
}

/// A rendering, a kind in it, a place in that, and a field that is misspelt or of a wrong type.
type Misspelt = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    Value,
);

#[rustfmt::skip]
fn misspelt() -> Vec<Misspelt> {
    vec![
        ("base", "Deployment", "/spec/template/spec", "terminationGracePeriod", json!(40)),
        ("base", "Deployment", "/spec/template/spec/initContainers/0/startupProbe", "failureTreshold", json!(3)),
        ("base", "Deployment", "/spec", "replicas", json!("one")),
        ("base", "Service", "/spec/ports/0", "appProtocoll", json!("http")),
        ("base", "ServiceAccount", "", "automountToken", json!(false)),
        ("base", "PersistentVolumeClaim", "/spec", "accessMode", json!("ReadWriteOnce")),
        ("base", "NetworkPolicy", "/spec/ingress/0", "form", json!([])),
        ("base", "PodDisruptionBudget", "/spec", "maxUnavailabel", json!(1)),
        ("overlays/project-pod", "Pod", "/spec", "priorityClass", json!("x")),
        ("overlays/project-pod", "PriorityClass", "", "preemption", json!("Never")),
        ("overlays/gvisor", "RuntimeClass", "", "handlers", json!("runsc")),
        ("overlays/agent-sandbox", "Sandbox", "/spec/podTemplate/spec/containers/0", "imagePolicy", json!("x")),
    ]
}

#[test]
fn a_field_that_kubernetes_does_not_know_is_refused() {
    let broken: Vec<Value> = misspelt()
        .into_iter()
        .map(|(folder, kind, place, field, value)| {
            let mut documents = one(folder);
            documents.retain(|document| document["kind"] == kind);
            documents[0].pointer_mut(place).unwrap()[field] = value;
            documents.truncate(1);
            native(&documents).remove(0)
        })
        .collect();
    let (fine, passed, said) = validate(VERSIONS[2], &broken);
    assert!(!fine);
    assert_eq!(passed, 0, "{said}");
    for (_, kind, place, field, value) in misspelt() {
        // A wrong type is told by the value.
        let told = said.contains(field) || value.as_str().is_some_and(|value| said.contains(value));
        assert!(told, "{kind}{place}/{field}: {said}");
    }
}
