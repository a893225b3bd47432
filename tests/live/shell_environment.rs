//! What a command of the agent inherits is what docs/SECURITY.md says.

use std::collections::BTreeSet;

use crate::llm::Turn;
use crate::world::{World, bash};

const SECURITY: &str = include_str!("../../docs/SECURITY.md");

#[test]
fn what_is_said_of_removed_variables_is_true() {
    let (_, rest) = SECURITY
        .split_once("name from the shell's environment but ")
        .unwrap();
    let (kept, _) = rest.split_once(", by which").unwrap();
    let kept: BTreeSet<&str> = kept.split('`').skip(1).step_by(2).collect();
    let world = World::start();
    let seen = world.run(
        "names",
        [
            Turn::new().tool("bash", bash("env -0 | tr '\\0' '\\n' | sed 's/=.*//'")),
            Turn::new().text("Listed."),
        ],
    );
    let names = seen.text("tool");
    let secret = [
        "KEY",
        "TOKEN",
        "SECRET",
        "PASSWORD",
        "PASSWD",
        "CREDENTIAL",
        "CREDENTIALS",
    ];
    let hidden = |name: &&str| {
        let name = name.trim_end_matches("_FILE");
        name.starts_with("OPENCODE_")
            || name.starts_with("SIDECAR_")
            || secret.iter().any(|end| name.ends_with(end))
    };
    let left: BTreeSet<&str> = names.lines().filter(hidden).collect();
    assert_eq!(left, kept, "{names}");
}
