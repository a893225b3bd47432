//! What is mounted where, from what, and how secrets come.

use serde_json::Value;

use crate::known::Known;
use crate::manifests::{Pod, SIDECAR, has, list, of_kind, pods, text};

/// Made by hand, and never in this repository: its keys are told in docs/DEPLOY.md.
const SECRETS: &[&str] = &["opencode-sidecar", "project-example"];
const SECRET_KEYS: &[&str] = &["accepted", "token"];

const SECRET_FILE: &str = "OPENCODE_SHARED_SECRET_FILE";
const SECRET_VARIABLE: &str = "OPENCODE_SHARED_SECRET";
const FROM_SECRET: &str = "/valueFrom/secretKeyRef";

/// Every mount has a volume and every volume a mount.
pub(super) fn volumes(documents: &[Value], _: &Known) -> Vec<String> {
    let mut found = Vec::new();
    for pod in pods(documents) {
        let volumes = list(pod.spec, "/volumes").iter();
        let mut volumes: Vec<&str> = volumes.map(|volume| text(volume, "/name")).collect();
        volumes.extend(&pod.claimed);
        let mut mounted = Vec::new();
        for container in pod.containers() {
            for mount in list(container, "/volumeMounts") {
                let name = text(mount, "/name");
                if !volumes.contains(&name) {
                    found.push(format!("{name} is mounted and is no volume"));
                }
                mounted.push(name);
            }
        }
        for (at, name) in volumes.iter().enumerate() {
            if volumes.iter().take(at).any(|other| other == name) {
                found.push(format!("there are two volumes named {name}"));
            }
            if !mounted.contains(name) {
                found.push(format!("the volume {name} is mounted nowhere"));
            }
        }
    }
    found
}

/// What a pod names is there, or is known to be made elsewhere.
pub(super) fn references(documents: &[Value], _: &Known) -> Vec<String> {
    let mut found = Vec::new();
    let mut want = |kind: &str, name: &str| {
        if !has(documents, kind, name) {
            found.push(format!("{kind} {name:?} does not exist"));
        }
    };
    for pod in pods(documents) {
        want("ServiceAccount", text(pod.spec, "/serviceAccountName"));
        for (field, kind) in [
            ("/priorityClassName", "PriorityClass"),
            ("/runtimeClassName", "RuntimeClass"),
        ] {
            if let Some(name) = pod.spec.pointer(field).and_then(Value::as_str) {
                want(kind, name);
            }
        }
        for volume in list(pod.spec, "/volumes") {
            let claim = text(volume, "/persistentVolumeClaim/claimName");
            if volume.get("persistentVolumeClaim").is_some() {
                want("PersistentVolumeClaim", claim);
            }
            if volume.get("configMap").is_some() {
                want("ConfigMap", text(volume, "/configMap/name"));
            }
        }
    }
    let mut keys = Vec::new();
    for pod in pods(documents) {
        for volume in list(pod.spec, "/volumes") {
            for item in list(volume, "/secret/items") {
                keys.push((text(volume, "/secret/secretName"), text(item, "/key")));
            }
        }
    }
    for pod in pods(documents) {
        for container in pod.containers() {
            let env = list(container, "/env").iter();
            let refs = env.filter_map(|variable| variable.pointer(FROM_SECRET));
            keys.extend(refs.map(|from| (text(from, "/name"), text(from, "/key"))));
        }
    }
    let monitors = [
        ("PodMonitor", "/spec/podMetricsEndpoints"),
        ("ServiceMonitor", "/spec/endpoints"),
    ];
    for (kind, place) in monitors {
        let monitors = of_kind(documents, kind);
        for endpoint in monitors.flat_map(|monitor| list(monitor, place)) {
            let credentials = &endpoint["authorization"]["credentials"];
            keys.push((text(credentials, "/name"), text(credentials, "/key")));
        }
    }
    for (name, key) in keys {
        if !SECRETS.contains(&name) || !SECRET_KEYS.contains(&key) {
            found.push(format!(
                "the secret {name:?} with the key {key:?} is not told in docs/DEPLOY.md"
            ));
        }
    }
    found
}

/// Where the sidecar and the engine write: their settings, and /tmp for what knows nothing of them.
pub(super) fn writable(documents: &[Value], known: &Known) -> Vec<String> {
    let mut found = Vec::new();
    for pod in pods(documents) {
        let setting = |name| pod.env(name).or(known.default(name)).unwrap_or("");
        for path in [setting("WORKSPACE_DIR"), setting("DATA_DIR"), "/tmp"] {
            let mounts = list(pod.sidecar(), "/volumeMounts");
            let mount = mounts
                .iter()
                .find(|mount| text(mount, "/mountPath") == path);
            if mount.is_none_or(|mount| mount["readOnly"] == true) {
                found.push(format!("the sidecar cannot write {path:?}"));
            }
        }
        for volume in list(pod.spec, "/volumes") {
            let empty = volume.get("emptyDir");
            if empty.is_some_and(|empty| empty.get("sizeLimit").is_none()) {
                found.push(format!(
                    "{} may fill the node's disk",
                    text(volume, "/name")
                ));
            }
            // It would count against the memory limit, which is measured without it.
            if empty.is_some_and(|empty| empty.get("medium").is_some()) {
                found.push(format!("{} is in memory", text(volume, "/name")));
            }
        }
    }
    found
}

/// As a file, read-only, with only what is needed of it; or in the one variable that is closed to the agent.
pub(super) fn secrets(documents: &[Value], _: &Known) -> Vec<String> {
    let mut found = Vec::new();
    if of_kind(documents, "Secret").next().is_some() {
        found.push("a secret is part of the manifests".into());
    }
    for pod in pods(documents) {
        for container in pod.containers() {
            let name = text(container, "/name");
            if !list(container, "/envFrom").is_empty() {
                found.push(format!("{name} takes variables from somewhere else"));
            }
            for variable in list(container, "/env") {
                let variable_name = text(variable, "/name");
                let closed = name == SIDECAR && variable_name == SECRET_VARIABLE;
                if variable.pointer(FROM_SECRET).is_some() && !closed {
                    found.push(format!(
                        "{variable_name} of {name} is a secret in a variable"
                    ));
                }
                if variable_name == SECRET_VARIABLE && variable.get("value").is_some() {
                    found.push(format!("{name} is given the secret itself"));
                }
            }
        }
        let variable = list(pod.sidecar(), "/env").iter().any(|variable| {
            text(variable, "/name") == SECRET_VARIABLE && variable.pointer(FROM_SECRET).is_some()
        });
        if variable == pod.env(SECRET_FILE).is_some() {
            found.push("the secret comes in no way, or in two".into());
        }
        if !variable && !secret_file_is_mounted(&pod) {
            found.push(format!("{SECRET_FILE} names no file of a mounted secret"));
        }
    }
    found
}

fn secret_file_is_mounted(pod: &Pod<'_>) -> bool {
    let Some((dir, file)) = pod.env(SECRET_FILE).and_then(|path| path.rsplit_once('/')) else {
        return false;
    };
    let mounts = list(pod.sidecar(), "/volumeMounts");
    let mount = mounts.iter().find(|mount| text(mount, "/mountPath") == dir);
    let Some(mount) = mount.filter(|mount| mount["readOnly"] == true) else {
        return false;
    };
    let volumes = list(pod.spec, "/volumes");
    let volume = volumes
        .iter()
        .find(|volume| volume["name"] == mount["name"]);
    volume.is_some_and(|volume| {
        let items = list(volume, "/secret/items");
        items.iter().any(|item| text(item, "/path") == file)
    })
}
