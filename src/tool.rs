//! The tools a session may use: OpenCode's names, the group names of the contract, and the permissions of
//! OpenCode that follow from a list of them. Pure.

use std::collections::BTreeSet;

/// OpenCode's tools, each with the permission that governs it.
const TOOLS: &[(&str, &str)] = &[
    ("apply_patch", "edit"),
    ("bash", "bash"),
    ("edit", "edit"),
    ("glob", "glob"),
    ("grep", "grep"),
    ("list", "list"),
    ("read", "read"),
    ("task", "task"),
    ("todowrite", "todowrite"),
    ("webfetch", "webfetch"),
    ("websearch", "websearch"),
    ("write", "edit"),
];

/// Names for several tools, as backends of the contract store them.
const GROUPS: &[(&str, &[&str])] = &[
    ("code_exec", &["bash"]),
    (
        "file_ops",
        &[
            "read",
            "write",
            "edit",
            "apply_patch",
            "glob",
            "grep",
            "list",
        ],
    ),
    ("terminal", &["bash"]),
    ("web_search", &["webfetch", "websearch"]),
];

/// Tools that may be asked for and that the pinned OpenCode never offers to a model: it has no `list` any
/// more, searches the web only for its own provider, and gives `apply_patch` to models whose names it knows,
/// which ours never are in the child. A test asks the real binary.
const NOT_OFFERED: &[&str] = &["apply_patch", "list", "websearch"];

/// Never offered, whatever a session asks for: `question` waits for a person, `skill` reads files of
/// other programs.
const NEVER: &[&str] = &["question", "skill"];

/// The tool of this name as a word of ours, for labels; none for one that a model made up.
pub(crate) fn known(name: &str) -> Option<&'static str> {
    let mut names = TOOLS.iter().map(|(tool, _)| *tool);
    names.find(|tool| *tool == name)
}

/// A checked choice of tools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tools(BTreeSet<&'static str>);

// === impl Tools ===

impl Tools {
    /// Every tool there is.
    pub(crate) fn all() -> Self {
        Self(TOOLS.iter().map(|(name, _)| *name).collect())
    }

    /// Tool and group names to tools. `Err` is the first name that is neither.
    pub(crate) fn parse(names: &[String]) -> Result<Self, String> {
        let mut chosen = BTreeSet::new();
        for name in names {
            let group = GROUPS
                .iter()
                .find(|(group, _)| group == name)
                .map(|(_, tools)| tools.to_vec());
            let single = || {
                TOOLS
                    .iter()
                    .find(|(tool, _)| tool == name)
                    .map(|(tool, _)| vec![*tool])
            };
            chosen.extend(group.or_else(single).ok_or_else(|| name.clone())?);
        }
        Ok(Self(chosen))
    }

    /// The tools among these names.
    pub(crate) fn known(names: &[String]) -> Self {
        let known = TOOLS.iter().map(|(tool, _)| *tool);
        let among = known.filter(|tool| names.iter().any(|name| name == tool));
        Self(among.collect())
    }

    /// Every name that is accepted, for a message.
    pub(crate) fn names() -> String {
        let all = TOOLS
            .iter()
            .map(|(name, _)| *name)
            .chain(GROUPS.iter().map(|(name, _)| *name));
        all.collect::<Vec<_>>().join(", ")
    }

    /// Every name by which a permission can be given, for a message.
    pub(crate) fn permission_names() -> String {
        TOOLS
            .iter()
            .map(|(tool, _)| *tool)
            .collect::<Vec<_>>()
            .join(", ")
    }

    pub(crate) fn list(&self) -> Vec<String> {
        self.0.iter().map(|name| (*name).to_owned()).collect()
    }

    /// Those among them that no model is offered.
    pub(crate) fn not_offered(&self) -> Vec<&'static str> {
        let asked = |name: &&&str| self.0.contains(**name);
        NOT_OFFERED.iter().filter(asked).copied().collect()
    }

    /// The permission that governs a tool.
    pub(crate) fn permission(tool: &str) -> Option<&'static str> {
        let governing = TOOLS.iter().find(|(name, _)| *name == tool);
        governing.map(|(_, permission)| *permission)
    }

    /// The permissions that govern these tools.
    pub(crate) fn permissions(&self) -> BTreeSet<&'static str> {
        let chosen = TOOLS.iter().filter(|(tool, _)| self.0.contains(tool));
        chosen.map(|(_, permission)| *permission).collect()
    }

    /// OpenCode's permissions to refuse. A list of refusals and not "nothing but": a subagent inherits
    /// only refusals, so with the other form it would have no tools at all.
    pub(crate) fn denied_permissions(&self) -> Vec<&'static str> {
        let allowed = self.permissions();
        let all: BTreeSet<&'static str> = TOOLS.iter().map(|(_, permission)| *permission).collect();
        all.into_iter()
            .filter(|permission| !allowed.contains(permission))
            .chain(NEVER.iter().copied())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(names: &[&str]) -> Result<Tools, String> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Tools::parse(&names)
    }

    #[test]
    fn groups_and_tools_mix_and_doubles_are_one() {
        let tools = parse(&["terminal", "code_exec", "bash", "web_search"]).unwrap();
        assert_eq!(tools.list(), ["bash", "webfetch", "websearch"]);
    }

    #[test]
    fn what_is_not_offered_is_a_part_of_what_was_asked_for() {
        let groups = parse(&["file_ops", "terminal"]).unwrap();
        assert_eq!(groups.not_offered(), ["apply_patch", "list"]);
        assert_eq!(parse(&["bash"]).unwrap().not_offered(), [""; 0]);
        assert_eq!(Tools::all().not_offered(), NOT_OFFERED);
    }

    #[test]
    fn an_unknown_name_is_given_back() {
        assert_eq!(parse(&["bash", "hammer"]), Err("hammer".into()));
        assert_eq!(parse(&["question"]), Err("question".into()));
        assert!(
            Tools::names().starts_with("apply_patch, bash")
                && Tools::names().ends_with("web_search")
        );
    }

    #[test]
    fn what_is_not_enabled_is_denied_by_its_permission() {
        assert_eq!(
            parse(&["read", "write", "edit", "bash"])
                .unwrap()
                .denied_permissions(),
            [
                "glob",
                "grep",
                "list",
                "task",
                "todowrite",
                "webfetch",
                "websearch",
                "question",
                "skill"
            ]
        );
        // Permissions cannot allow writing without editing: the plugin enforces that.
        assert!(
            !parse(&["write"])
                .unwrap()
                .denied_permissions()
                .contains(&"edit")
        );
        assert_eq!(Tools::all().denied_permissions(), ["question", "skill"]);
        assert_eq!(parse(&[]).unwrap().denied_permissions().len(), 12);
    }
}
