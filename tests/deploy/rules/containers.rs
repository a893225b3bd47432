//! The sidecar's container: where it stands, how it is asked, what it is told, what it gets.

use serde_json::Value;

use crate::known::Known;
use crate::manifests::{Pod, SIDECAR, list, of_kind, pods, text};
use crate::quantity;

/// A process that is up answers in milliseconds; this is for a node that is busy with other starts.
const PATIENCE_AT_START: u64 = 20;

/// What the kubelet may take around the drain, as the setting's own words say.
const AFTER_DRAIN: f64 = 5.0;

/// OpenCode, in bytes: the peak of five sessions, and what each further one takes (FACTS, section 9:
/// 820 MB with 5, 1162 MB with 20).
const FIVE_SESSIONS: f64 = 820e6;
const EACH_MORE: f64 = 23e6;

/// Ours: what is in memory when all sessions are long, with room to spare (docs/BENCHMARKS.md).
const OWN: f64 = 50e6;

/// Present once, in the list where it starts as it is meant to.
pub(super) fn sidecar(documents: &[Value], known: &Known) -> Vec<String> {
    let mut found = Vec::new();
    let pods = pods(documents);
    if pods.is_empty() {
        found.push("there is no pod".into());
    }
    for pod in pods {
        let count = pod
            .containers()
            .filter(|container| text(container, "/name") == SIDECAR)
            .count();
        if count != 1 {
            found.push(format!(
                "{} has {count} containers named {SIDECAR}",
                pod.name
            ));
        }
        for container in list(pod.spec, "/initContainers") {
            if text(container, "/name") == SIDECAR && text(container, "/restartPolicy") != "Always"
            {
                found.push(
                    "without restartPolicy Always the pod waits for the sidecar's end".into(),
                );
            }
        }
        let hook = "/lifecycle/preStop/exec/command";
        found.extend(command(list(pod.sidecar(), hook), "preStop", known));
    }
    found
}

/// A command that is run in the container is one the binary has.
fn command(words: &[Value], place: &str, known: &Known) -> Option<String> {
    let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
    let fine = match words.as_slice() {
        [program, command, ..] => *program == SIDECAR && known.command(command),
        _ => false,
    };
    (!fine).then(|| format!("{place} runs {words:?}, which is no command of {SIDECAR}"))
}

pub(super) fn probes(documents: &[Value], known: &Known) -> Vec<String> {
    let mut found = Vec::new();
    for pod in pods(documents) {
        for container in pod.containers() {
            let name = text(container, "/name");
            for kind in ["startupProbe", "livenessProbe", "readinessProbe"] {
                let Some(probe) = container.get(kind) else {
                    if name == SIDECAR {
                        found.push(format!("the sidecar has no {kind}"));
                    }
                    continue;
                };
                let place = format!("{kind} of {name}");
                for port in ["/httpGet/port", "/tcpSocket/port"] {
                    let port = probe.pointer(port);
                    if port.is_some_and(|port| !listens(container, port)) {
                        found.push(format!("{place} asks a port that is not declared"));
                    }
                }
                if name == SIDECAR {
                    found.extend(asks(kind, probe, known));
                }
            }
        }
        let startup = &pod.sidecar()["startupProbe"];
        let number = |field: &str, default| startup[field].as_u64().unwrap_or(default);
        let patience = number("initialDelaySeconds", 0)
            + number("periodSeconds", 10) * number("failureThreshold", 3);
        if patience < PATIENCE_AT_START {
            found.push(format!("the startup probe gives up after {patience} s"));
        }
    }
    found
}

/// By name or by number, as the field allows.
fn listens(container: &Value, port: &Value) -> bool {
    list(container, "/ports")
        .iter()
        .any(|declared| declared["name"] == *port || declared["containerPort"] == *port)
}

/// Life and readiness are different questions: a pod must not be killed because its engine restarts.
fn asks(kind: &str, probe: &Value, known: &Known) -> Option<String> {
    let readiness = kind == "readinessProbe";
    let words = list(probe, "/exec/command");
    if !words.is_empty() {
        let about_work = words.iter().any(|word| word == "--ready");
        return command(words, kind, known).or_else(|| {
            (about_work != readiness).then(|| format!("{kind} asks the wrong question: {words:?}"))
        });
    }
    let path = text(probe, "/httpGet/path");
    if !known.is_probe(path) {
        return Some(format!(
            "{kind} asks {path:?}, which is no probe of the API"
        ));
    }
    ((path == "/ready") != readiness).then(|| format!("{kind} asks the wrong question: {path}"))
}

pub(super) fn settings(documents: &[Value], known: &Known) -> Vec<String> {
    let mut found = Vec::new();
    for pod in pods(documents) {
        let mut seen = Vec::new();
        for variable in list(pod.sidecar(), "/env") {
            let name = text(variable, "/name");
            if !known.setting(name) {
                found.push(format!("{name} is no setting of the binary"));
            }
            if seen.contains(&name) {
                found.push(format!("{name} is set twice"));
            }
            seen.push(name);
        }
    }
    found
}

/// All of them at once, given to the binary.
pub(super) fn values(documents: &[Value], known: &Known) -> Vec<String> {
    let refused = |pod: Pod<'_>| {
        let given: Vec<(&str, &str)> = list(pod.sidecar(), "/env")
            .iter()
            .map(|variable| (text(variable, "/name"), text(variable, "/value")))
            .collect();
        known.refusal(&given)
    };
    pods(documents).into_iter().filter_map(refused).collect()
}

/// `25`, `30s`, `500ms`, `5m`, `1h`, in seconds.
fn seconds(duration: &str) -> Option<f64> {
    let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let (number, factor) = units
        .iter()
        .find_map(|(unit, factor)| Some((duration.strip_suffix(unit)?, *factor)))
        .unwrap_or((duration, 1.0));
    Some(number.parse::<f64>().ok()? * factor)
}

pub(super) fn grace(documents: &[Value], known: &Known) -> Vec<String> {
    let mut found = Vec::new();
    for pod in pods(documents) {
        let drain = pod.env("DRAIN_TIMEOUT").or(known.default("DRAIN_TIMEOUT"));
        let drain = drain.and_then(seconds);
        let grace = pod.spec["terminationGracePeriodSeconds"]
            .as_f64()
            .unwrap_or(30.0);
        if drain.is_none_or(|drain| grace < drain + AFTER_DRAIN) {
            found.push(format!(
                "{grace} s of grace is too little for a drain of {drain:?} s"
            ));
        }
    }
    found
}

pub(super) fn quantities(documents: &[Value], _: &Known) -> Vec<String> {
    let mut places: Vec<(String, &Value)> = Vec::new();
    for pod in pods(documents) {
        for container in pod.containers() {
            let name = text(container, "/name");
            let (requests, limits) = (
                &container["resources"]["requests"],
                &container["resources"]["limits"],
            );
            for what in ["cpu", "memory"] {
                if requests[what].is_null() {
                    places.push((format!("the {what} that {name} requests"), &Value::Null));
                }
            }
            for list in [requests, limits] {
                let list = list.as_object().into_iter().flatten();
                places.extend(list.map(|(what, amount)| (format!("{what} of {name}"), amount)));
            }
        }
        for volume in list(pod.spec, "/volumes") {
            if let Some(limit) = volume.pointer("/emptyDir/sizeLimit") {
                places.push((format!("the size of {}", text(volume, "/name")), limit));
            }
        }
    }
    for claim in of_kind(documents, "PersistentVolumeClaim") {
        let size = claim.pointer("/spec/resources/requests/storage");
        places.push(("the size of a claim".into(), size.unwrap_or(&Value::Null)));
    }
    let unreadable = |(place, amount): (String, &Value)| {
        let fine = amount.as_str().and_then(quantity::parse).is_some();
        (!fine).then(|| format!("{place} is no quantity: {amount}"))
    };
    places.into_iter().filter_map(unreadable).collect()
}

/// What was measured fits, and is ours: memory that is promised to two cannot be had by both.
pub(super) fn memory(documents: &[Value], known: &Known) -> Vec<String> {
    let mut found = Vec::new();
    for pod in pods(documents) {
        let name = "MAX_CONCURRENT_SESSIONS";
        let sessions = pod.env(name).or(known.default(name));
        let sessions: f64 = sessions.and_then(|count| count.parse().ok()).unwrap_or(0.0);
        let need = FIVE_SESSIONS + (sessions - 5.0).max(0.0) * EACH_MORE + OWN;
        let amount = |list: &str| {
            let place = format!("/resources/{list}/memory");
            quantity::parse(text(pod.sidecar(), &place)).unwrap_or(0.0)
        };
        let (request, limit) = (amount("requests"), amount("limits"));
        if limit < need {
            found.push(format!(
                "{limit} bytes are too few: {sessions} sessions take {need}"
            ));
        }
        if request < limit {
            found.push("the sidecar requests less memory than it may use".into());
        }
    }
    found
}

pub(super) fn images(documents: &[Value], _: &Known) -> Vec<String> {
    let mut found = Vec::new();
    for pod in pods(documents) {
        for container in pod.containers() {
            let image = text(container, "/image");
            let tag = image.rsplit_once(':').map_or("", |(_, tag)| tag);
            if tag.is_empty() || tag == "latest" || tag.contains('/') {
                found.push(format!("{image} has no version"));
            }
            if text(container, "/name") == SIDECAR && tag != env!("CARGO_PKG_VERSION") {
                found.push(format!("{image} is not this version"));
            }
        }
    }
    found
}

#[test]
fn durations_are_read_as_the_binary_reads_them() {
    assert_eq!(seconds("25"), Some(25.0));
    assert_eq!(seconds("500ms"), Some(0.5));
    assert_eq!(seconds("30s"), Some(30.0));
    assert_eq!(seconds("5m"), Some(300.0));
    assert_eq!(seconds("1h"), Some(3600.0));
    assert_eq!(seconds("soon"), None);
}
