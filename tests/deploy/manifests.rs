//! Rendered manifests as JSON, and the pods in them, whatever they are wrapped in.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The sidecar's container, by this name everywhere.
pub(crate) const SIDECAR: &str = "opencode-sidecar";

/// One kustomization, rendered.
#[derive(Debug)]
pub(crate) struct Rendering {
    pub(crate) name: String,
    pub(crate) documents: Vec<Value>,
}

/// A pod, or the template of one.
#[derive(Debug)]
pub(crate) struct Pod<'a> {
    pub(crate) kind: &'a str,
    pub(crate) name: &'a str,
    pub(crate) metadata: &'a Value,
    pub(crate) spec: &'a Value,
    /// Volumes that a controller adds, one per claim template.
    pub(crate) claimed: Vec<&'a str>,
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

/// `base`, `overlays/durable` and so on.
pub(crate) fn folders() -> Vec<String> {
    let mut folders: Vec<String> = fs::read_dir(root().join("overlays"))
        .unwrap()
        .map(|entry| format!("overlays/{}", entry.unwrap().file_name().display()))
        .collect();
    folders.push("base".into());
    folders.sort();
    folders
}

/// Where the rendering of a folder is kept.
pub(crate) fn rendered(folder: &str) -> PathBuf {
    let name = folder.trim_start_matches("overlays/");
    root().join("rendered").join(format!("{name}.yaml"))
}

pub(crate) fn documents(yaml: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(yaml).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn all() -> Vec<Rendering> {
    let read = |name: String| Rendering {
        documents: one(&name),
        name,
    };
    folders().into_iter().map(read).collect()
}

pub(crate) fn one(folder: &str) -> Vec<Value> {
    let path = rendered(folder);
    let yaml = fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run tools/manifests/render", path.display()));
    documents(&yaml)
}

pub(crate) fn base() -> Vec<Value> {
    one("base")
}

/// The text at a place, or the empty text: a rule then says what it misses.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

/// The list at a place, or no elements.
pub(crate) fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    let list = value.pointer(pointer).and_then(Value::as_array);
    list.map_or(&[], Vec::as_slice)
}

pub(crate) fn of_kind<'a>(
    documents: &'a [Value],
    kind: &'a str,
) -> impl Iterator<Item = &'a Value> {
    documents
        .iter()
        .filter(move |document| document["kind"] == kind)
}

pub(crate) fn has(documents: &[Value], kind: &str, name: &str) -> bool {
    of_kind(documents, kind).any(|document| text(document, "/metadata/name") == name)
}

pub(crate) fn pods(documents: &[Value]) -> Vec<Pod<'_>> {
    let pod = |document| {
        let place = match text(document, "/kind") {
            "Pod" => document,
            "Deployment" => document.pointer("/spec/template")?,
            "Sandbox" => document.pointer("/spec/podTemplate")?,
            _ => return None,
        };
        let templates = list(document, "/spec/volumeClaimTemplates").iter();
        Some(Pod {
            kind: text(document, "/kind"),
            name: text(document, "/metadata/name"),
            metadata: &place["metadata"],
            spec: &place["spec"],
            claimed: templates
                .map(|claim| text(claim, "/metadata/name"))
                .collect(),
        })
    };
    documents.iter().filter_map(pod).collect()
}

/// Whether a selector chooses what has these labels. `matchLabels` is all we use.
pub(crate) fn chooses(selector: &Value, labels: &Value) -> bool {
    selector["matchLabels"].as_object().is_some_and(|wanted| {
        !wanted.is_empty() && wanted.iter().all(|(key, value)| labels[key] == *value)
    })
}

// === impl Pod ===

impl<'a> Pod<'a> {
    pub(crate) fn containers(&self) -> impl Iterator<Item = &'a Value> {
        let spec = self.spec;
        list(spec, "/initContainers")
            .iter()
            .chain(list(spec, "/containers"))
    }

    /// The sidecar among its containers. Every pod here has one.
    pub(crate) fn sidecar(&self) -> &'a Value {
        self.containers()
            .find(|container| text(container, "/name") == SIDECAR)
            .unwrap_or(&Value::Null)
    }

    /// A variable of the sidecar that is given as it stands.
    pub(crate) fn env(&self, name: &str) -> Option<&'a str> {
        list(self.sidecar(), "/env")
            .iter()
            .find(|variable| text(variable, "/name") == name)?
            .get("value")?
            .as_str()
    }
}
