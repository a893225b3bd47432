//! The kinds that Kubernetes itself has no schema for: every field we write is one that their makers know.
//!
//! The pod inside a Sandbox is checked by Kubernetes' own schema; see `validator`.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::manifests::{all, base, one};

/// kubernetes-sigs/agent-sandbox: the fields that v1alpha1 and v1beta1 share.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read to be checked")]
struct Sandbox {
    api_version: String,
    kind: String,
    metadata: Metadata,
    spec: SandboxSpec,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read to be checked")]
struct SandboxSpec {
    pod_template: Template,
    #[serde(default)]
    volume_claim_templates: Vec<Template>,
    shutdown_time: Option<String>,
    shutdown_policy: Option<ShutdownPolicy>,
    service: Option<bool>,
}

#[derive(Debug, Deserialize)]
enum ShutdownPolicy {
    Delete,
    Retain,
}

/// A pod or a claim to be made.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read to be checked")]
struct Template {
    metadata: Option<Metadata>,
    spec: Value,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read to be checked")]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    labels: Option<Value>,
    annotations: Option<Value>,
}

/// The Prometheus operator's, as far as we use it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read to be checked")]
struct PodMonitor {
    api_version: String,
    kind: String,
    metadata: Metadata,
    spec: PodMonitorSpec,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read to be checked")]
struct PodMonitorSpec {
    selector: Value,
    pod_metrics_endpoints: Vec<Endpoint>,
}

/// The same operator's, for whoever has Services scraped.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read to be checked")]
struct ServiceMonitor {
    api_version: String,
    kind: String,
    metadata: Metadata,
    spec: ServiceMonitorSpec,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read to be checked")]
struct ServiceMonitorSpec {
    selector: Value,
    endpoints: Vec<Endpoint>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read to be checked")]
struct Endpoint {
    port: String,
    path: String,
    interval: Option<String>,
    scrape_timeout: Option<String>,
    authorization: Option<Authorization>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read to be checked")]
struct Authorization {
    #[serde(rename = "type")]
    scheme: String,
    credentials: KeySelector,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read to be checked")]
struct KeySelector {
    name: String,
    key: String,
}

/// Whether Kubernetes has no schema for this.
pub(crate) fn is_custom(document: &Value) -> bool {
    matches!(
        document["kind"].as_str(),
        Some("Sandbox" | "PodMonitor" | "ServiceMonitor")
    )
}

/// What is wrong with a document of a custom kind.
fn fault(document: &Value) -> Option<String> {
    let version = document["apiVersion"].as_str().unwrap_or("");
    let kind = document["kind"].as_str().unwrap_or("");
    match (version, kind) {
        ("monitoring.coreos.com/v1", "PodMonitor") => PodMonitor::deserialize(document).err(),
        ("monitoring.coreos.com/v1", "ServiceMonitor") => {
            ServiceMonitor::deserialize(document).err()
        }
        ("agents.x-k8s.io/v1alpha1" | "agents.x-k8s.io/v1beta1", "Sandbox") => {
            Sandbox::deserialize(document).err()
        }
        other => return Some(format!("{other:?} has no type here: add it")),
    }
    .map(|error| error.to_string())
}

#[test]
fn every_field_is_one_that_the_kind_has() {
    for rendering in all() {
        for document in rendering.documents.iter().filter(|one| is_custom(one)) {
            assert_eq!(fault(document), None, "{}", rendering.name);
        }
    }
}

#[test]
fn a_field_that_the_kind_does_not_have_is_found() {
    let table = [
        (
            "base",
            "PodMonitor",
            "/spec/podMetricsEndpoints/0",
            "intervall",
            json!("5s"),
        ),
        (
            "overlays/service-monitor",
            "ServiceMonitor",
            "/spec/endpoints/0",
            "targetport",
            json!(3003),
        ),
        (
            "overlays/agent-sandbox",
            "Sandbox",
            "/spec",
            "replica",
            json!(1),
        ),
        (
            "overlays/agent-sandbox",
            "Sandbox",
            "/spec",
            "shutdownPolicy",
            json!("Keep"),
        ),
    ];
    for (folder, kind, place, field, value) in table {
        let mut documents = one(folder);
        let document = documents.iter_mut().find(|one| one["kind"] == kind);
        let document = document.unwrap();
        document.pointer_mut(place).unwrap()[field] = value;
        assert_ne!(fault(document), None, "{kind}{place}/{field}");
    }
}

#[test]
fn a_kind_of_a_version_that_is_not_known_here_is_a_fault() {
    let mut document = base().remove(0);
    document["apiVersion"] = json!("v2");
    assert!(fault(&document).unwrap().contains("has no type here"));
}
