//! Links in the workspace, as a cloned repository may bring them, and tools that follow them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::{Value, json};

use super::Victim;
use crate::llm::Turn;

/// A session that has no shell reads and writes through links.
pub(super) fn leave_the_workspace_through_links(victim: &mut Victim) {
    let workspace = victim.workspace();
    let data = victim.data_dir();
    let secret = data.join("engine/home/secret");
    fs::write(&secret, "what-lies-outside\n").unwrap();
    fs::write(workspace.join("inside"), "what-lies-inside\n").unwrap();
    let link = |name: &str, target: &Path| {
        let path = workspace.join(name);
        fs::remove_file(&path).ok();
        symlink(target, &path).unwrap();
        path.to_string_lossy().into_owned()
    };
    let to_file = link("to-file", &secret);
    let to_folder = link("to-folder", &data.join("engine/home"));
    // There is nothing yet where this one leads.
    let to_nothing = link("to-nothing", &data.join("engine/home/.gitconfig"));
    let over_another = link("over-another", Path::new("to-nothing"));
    let passwd = link("passwd", Path::new("/etc/passwd"));
    // By its text this is the file beside the link.
    let around = format!("{to_folder}/../home/secret");
    let patch = format!("*** Begin Patch\n*** Add File: {to_nothing}\n+x\n*** End Patch");
    let calls: [(&str, Value); 12] = [
        ("read", json!({ "filePath": to_file })),
        ("read", json!({ "filePath": "to-file" })),
        ("read", json!({ "filePath": passwd })),
        ("read", json!({ "filePath": format!("{to_folder}/secret") })),
        ("read", json!({ "filePath": around })),
        ("grep", json!({ "pattern": "what-lies", "path": to_folder })),
        ("grep", json!({ "pattern": "what-lies", "path": to_file })),
        ("glob", json!({ "pattern": "*", "path": to_folder })),
        (
            "write",
            json!({ "filePath": to_nothing, "content": "[core]" }),
        ),
        (
            "write",
            json!({ "filePath": over_another, "content": "[core]" }),
        ),
        (
            "edit",
            json!({ "filePath": to_file, "oldString": "what", "newString": "that" }),
        ),
        ("apply_patch", json!({ "patchText": patch })),
    ];
    let inner = link("inner", Path::new("inside"));
    let allowed = [
        ("read", json!({ "filePath": inner })),
        ("grep", json!({ "pattern": "what-lies" })),
    ];
    let seen = victim.play(
        calls
            .iter()
            .chain(&allowed)
            .map(|(tool, arguments)| Turn::new().tool(tool, arguments.clone())),
    );
    let results: Vec<&Value> = seen.of("tool_result").collect();
    assert_eq!(results.len(), calls.len() + allowed.len());
    for ((tool, arguments), result) in calls.iter().zip(&results) {
        let said = result.to_string();
        assert!(
            !said.contains("what-lies-outside"),
            "{tool} {arguments}: {said}"
        );
        assert!(!said.contains("root:x"), "{tool} {arguments}: {said}");
        assert!(
            said.contains("works in the workspace only") || said.contains("unavailable tool"),
            "{tool} {arguments}: {said}"
        );
    }
    // What stays inside is read and searched as ever.
    assert!(
        results[calls.len()]
            .to_string()
            .contains("what-lies-inside")
    );
    assert_eq!(results[calls.len() + 1]["is_error"], false);
    assert_eq!(fs::read_to_string(&secret).unwrap(), "what-lies-outside\n");
    assert!(!data.join("engine/home/.gitconfig").exists());

    for name in [
        "to-file",
        "to-folder",
        "to-nothing",
        "over-another",
        "passwd",
        "inner",
        "inside",
    ] {
        fs::remove_file(workspace.join(name)).unwrap();
    }
}
