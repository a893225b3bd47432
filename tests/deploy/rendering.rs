//! `deploy/rendered` is what the sources come to, now.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use sha2::{Digest as _, Sha256};

use crate::manifests::{all, documents, folders, rendered, root};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// As `tools/manifests/render` makes it: the hash of a list of hashes.
fn hash_of_sources() -> String {
    fn walk(dir: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else {
                let relative = path.strip_prefix(root()).unwrap();
                found.insert(relative.display().to_string());
            }
        }
    }
    let mut paths = BTreeSet::new();
    walk(&root().join("base"), &mut paths);
    walk(&root().join("components"), &mut paths);
    walk(&root().join("overlays"), &mut paths);
    let list = paths.iter().fold(String::new(), |mut list, path| {
        let content = fs::read(root().join(path)).unwrap();
        writeln!(list, "{}  {path}", hex(&Sha256::digest(content))).unwrap();
        list
    });
    hex(&Sha256::digest(list))
}

#[test]
fn what_is_rendered_comes_from_the_sources_as_they_are() {
    let hash = hash_of_sources();
    for folder in folders() {
        let yaml = fs::read_to_string(rendered(&folder)).unwrap();
        let head =
            format!("# Made by tools/manifests/render from deploy/{folder}. Sources: {hash}");
        assert_eq!(
            yaml.lines().next(),
            Some(head.as_str()),
            "{folder} changed: run tools/manifests/render"
        );
    }
    let files = fs::read_dir(root().join("rendered")).unwrap().count();
    assert_eq!(files, folders().len(), "one rendering a folder");
}

/// Whether what `kubectl version` says names a Kustomize that knows all we use: 5 or later.
fn knows_kustomize(version: &str) -> bool {
    let line = version
        .lines()
        .find_map(|line| line.strip_prefix("Kustomize Version: v"));
    let major = line.and_then(|line| line.split('.').next()?.parse::<u32>().ok());
    major.is_some_and(|major| major >= 5)
}

#[test]
fn an_old_kubectl_is_told_from_a_new_one() {
    let said = "Client Version: v1.32.4\nKustomize Version: v5.5.0\n";
    assert!(knows_kustomize(said));
    assert!(!knows_kustomize(&said.replace("v5", "v4")));
    assert!(!knows_kustomize("Client Version: v1.20.2\n"));
}

/// Not byte by byte: versions of kubectl differ in the order of documents, not in what they say.
#[test]
fn kubectl_renders_the_same() {
    let version = Command::new("kubectl")
        .args(["version", "--client"])
        .output();
    if !version.is_ok_and(|output| knows_kustomize(&String::from_utf8_lossy(&output.stdout))) {
        // The test above finds what is stale all the same, by hash.
        eprintln!("no kubectl with Kustomize 5 here: compared by hash only");
        return;
    }
    for rendering in all() {
        let output = Command::new("kubectl")
            .arg("kustomize")
            .arg(root().join(&rendering.name))
            .output()
            .unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {complaint}", rendering.name);
        assert_eq!(complaint, "", "{}", rendering.name);
        let sorted = |documents: &[serde_json::Value]| {
            let texts = documents.iter().map(ToString::to_string);
            texts.collect::<BTreeSet<_>>()
        };
        let now = documents(std::str::from_utf8(&output.stdout).unwrap());
        assert_eq!(
            sorted(&now),
            sorted(&rendering.documents),
            "{}",
            rendering.name
        );
    }
}

#[test]
fn every_rendering_has_what_its_name_promises() {
    let counts: Vec<(String, usize)> = all()
        .into_iter()
        .map(|rendering| (rendering.name, rendering.documents.len()))
        .collect();
    let expected = [
        ("base", 7),
        ("overlays/agent-sandbox", 5),
        ("overlays/agent-sandbox-v1beta1", 5),
        ("overlays/backend", 7),
        ("overlays/classic-sidecar", 7),
        ("overlays/durable", 8),
        ("overlays/gvisor", 8),
        ("overlays/mesh", 7),
        ("overlays/project-pod", 7),
        ("overlays/project-pod-full", 8),
        ("overlays/quickstart", 6),
        ("overlays/service-monitor", 7),
    ]
    .map(|(name, count)| (name.to_owned(), count));
    assert_eq!(counts, expected);
}
