//! Every field we write is one that Kubernetes knows: read into its types, written again, compared.
//!
//! What a type does not know is dropped on the way, and so is missed in the end.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, Pod, PodSpec, Service, ServiceAccount,
};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::manifests::{all, base, one};

/// kubernetes-sigs/agent-sandbox: the fields that v1alpha1 and v1beta1 share.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Sandbox {
    api_version: String,
    kind: String,
    metadata: ObjectMeta,
    spec: SandboxSpec,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct SandboxSpec {
    pod_template: PodTemplate,
    #[serde(default)]
    volume_claim_templates: Vec<ClaimTemplate>,
    shutdown_time: Option<String>,
    shutdown_policy: Option<ShutdownPolicy>,
    service: Option<bool>,
}

#[derive(Debug, Deserialize, Serialize)]
enum ShutdownPolicy {
    Delete,
    Retain,
}

#[derive(Debug, Deserialize, Serialize)]
struct PodTemplate {
    metadata: Option<Embedded>,
    spec: PodSpec,
}

/// Metadata of something that has no name of its own yet.
#[derive(Debug, Deserialize, Serialize)]
struct Embedded {
    name: Option<String>,
    labels: Option<Value>,
    annotations: Option<Value>,
}

#[derive(Debug, Deserialize, Serialize)]
struct ClaimTemplate {
    metadata: Option<Embedded>,
    spec: PersistentVolumeClaimSpec,
}

/// The Prometheus operator's, as far as we use it.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct PodMonitor {
    api_version: String,
    kind: String,
    metadata: ObjectMeta,
    spec: PodMonitorSpec,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct PodMonitorSpec {
    selector: LabelSelector,
    pod_metrics_endpoints: Vec<Endpoint>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint {
    port: String,
    path: String,
    interval: Option<String>,
    scrape_timeout: Option<String>,
    authorization: Option<Authorization>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Authorization {
    #[serde(rename = "type")]
    scheme: String,
    credentials: KeySelector,
}

#[derive(Debug, Deserialize, Serialize)]
struct KeySelector {
    name: String,
    key: String,
}

fn again<T: DeserializeOwned + Serialize>(document: &Value) -> Result<Value, String> {
    let typed: T = serde_json::from_value(document.clone()).map_err(|error| error.to_string())?;
    serde_json::to_value(typed).map_err(|error| error.to_string())
}

/// Through the type that the document claims to be of.
fn typed(document: &Value) -> Result<Value, String> {
    let version = document["apiVersion"].as_str().unwrap_or("");
    let kind = document["kind"].as_str().unwrap_or("");
    match (version, kind) {
        ("apps/v1", "Deployment") => again::<Deployment>(document),
        ("v1", "Pod") => again::<Pod>(document),
        ("v1", "Service") => again::<Service>(document),
        ("v1", "ServiceAccount") => again::<ServiceAccount>(document),
        ("v1", "PersistentVolumeClaim") => again::<PersistentVolumeClaim>(document),
        ("networking.k8s.io/v1", "NetworkPolicy") => again::<NetworkPolicy>(document),
        ("policy/v1", "PodDisruptionBudget") => again::<PodDisruptionBudget>(document),
        ("scheduling.k8s.io/v1", "PriorityClass") => again::<PriorityClass>(document),
        ("node.k8s.io/v1", "RuntimeClass") => again::<RuntimeClass>(document),
        ("monitoring.coreos.com/v1", "PodMonitor") => again::<PodMonitor>(document),
        ("agents.x-k8s.io/v1alpha1" | "agents.x-k8s.io/v1beta1", "Sandbox") => {
            again::<Sandbox>(document)
        }
        other => Err(format!("{other:?} has no type here: add it")),
    }
}

/// The places of `written` that did not come back as they were.
fn lost(written: &Value, back: &Value, place: &str, found: &mut Vec<String>) {
    match (written, back) {
        (Value::Object(written), Value::Object(back)) => {
            for (key, value) in written {
                let back = back.get(key).unwrap_or(&Value::Null);
                lost(value, back, &format!("{place}/{key}"), found);
            }
        }
        (Value::Array(written), Value::Array(back)) if written.len() == back.len() => {
            for (at, (written, back)) in written.iter().zip(back).enumerate() {
                lost(written, back, &format!("{place}/{at}"), found);
            }
        }
        (written, back) if written == back => {}
        (written, _) => found.push(format!("{place}: {written} is lost")),
    }
}

fn faults(document: &Value) -> Vec<String> {
    let mut found = Vec::new();
    match typed(document) {
        Ok(back) => lost(document, &back, "", &mut found),
        Err(error) => found.push(error),
    }
    found
}

#[test]
fn every_field_is_one_that_kubernetes_knows() {
    for rendering in all() {
        for document in &rendering.documents {
            let found = faults(document);
            assert!(found.is_empty(), "{}: {found:?}", rendering.name);
        }
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
        ("base", "PodMonitor", "/spec/podMetricsEndpoints/0", "intervall", json!("5s")),
        ("overlays/project-pod", "Pod", "/spec", "priorityClass", json!("x")),
        ("overlays/project-pod", "PriorityClass", "", "preemption", json!("Never")),
        ("overlays/gvisor", "RuntimeClass", "", "handlers", json!("runsc")),
        ("overlays/agent-sandbox", "Sandbox", "/spec", "replica", json!(1)),
        ("overlays/agent-sandbox", "Sandbox", "/spec", "shutdownPolicy", json!("Keep")),
        ("overlays/agent-sandbox", "Sandbox", "/spec/podTemplate/spec/containers/0", "imagePolicy", json!("x")),
    ]
}

#[test]
fn a_field_that_kubernetes_does_not_know_is_found() {
    for (folder, kind, place, field, value) in misspelt() {
        let mut documents = one(folder);
        let document = documents.iter_mut().find(|one| one["kind"] == kind);
        let document = document.unwrap();
        document.pointer_mut(place).unwrap()[field] = value;
        let found = faults(document);
        assert!(!found.is_empty(), "{kind}{place}/{field} is not found");
    }
}

#[test]
fn a_kind_of_a_version_that_is_not_known_here_is_a_fault() {
    let mut document = base().remove(0);
    document["apiVersion"] = json!("v2");
    assert!(faults(&document).concat().contains("has no type here"));
}
