//! The sidecar is one container, wherever it runs. What an overlay changes in it is listed here.

use serde_json::Value;

use crate::manifests::{all, base, pods};

/// Overlay, and the fields of the container that it is for.
const CHANGES: &[(&str, &[&str])] = &[
    ("overlays/classic-sidecar", &["restartPolicy"]),
    ("overlays/project-pod", &["restartPolicy"]),
    (
        "overlays/project-pod-full",
        &["env", "restartPolicy", "volumeMounts"],
    ),
    ("overlays/backend", &["env", "volumeMounts"]),
    ("overlays/quickstart", &["env"]),
    (
        "overlays/mesh",
        &["startupProbe", "livenessProbe", "readinessProbe"],
    ),
];

fn differences(here: &Value, there: &Value) -> Vec<String> {
    let (here, there) = (here.as_object().unwrap(), there.as_object().unwrap());
    let keys = here.keys().chain(there.keys());
    let mut found: Vec<String> = keys
        .filter(|key| here.get(*key) != there.get(*key))
        .cloned()
        .collect();
    found.sort();
    found.dedup();
    found
}

#[test]
fn an_overlay_changes_in_the_sidecar_what_it_is_for_and_nothing_else() {
    let base = base();
    let base = pods(&base)[0].sidecar();
    for rendering in all() {
        let changes = CHANGES.iter().find(|(name, _)| *name == rendering.name);
        let mut expected = changes.map_or(Vec::new(), |(_, fields)| fields.to_vec());
        expected.sort_unstable();
        let pods = pods(&rendering.documents);
        assert_eq!(pods.len(), 1, "{}", rendering.name);
        assert_eq!(
            differences(base, pods[0].sidecar()),
            expected,
            "{}",
            rendering.name
        );
    }
}

#[test]
fn a_sidecar_that_differs_is_found() {
    let base = base();
    let container = pods(&base)[0].sidecar();
    let mut other = container.clone();
    other["image"] = "opencode-sidecar:0.0.9".into();
    other.as_object_mut().unwrap().remove("lifecycle");
    assert_eq!(differences(container, &other), ["image", "lifecycle"]);
}
