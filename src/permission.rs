//! What a session's agent does by itself, what a person is asked before, and what is refused: as a list of
//! OpenCode's rules. Pure.

mod wildcard;

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;
use utoipa::ToSchema;

use crate::egress_policy::SessionEgress;
use crate::tool::Tools;

/// A rule about a permission of OpenCode. Of all rules that match, the last one decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = PermissionRule)]
pub(crate) struct Rule {
    /// The name of a permission: that of a tool, but `edit` stands for `write` and `apply_patch` as well.
    pub(crate) permission: String,
    /// With `*` and `?`. What it is compared with depends on the tool: a command, a path, an address.
    pub(crate) pattern: String,
    pub(crate) action: Action,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr, ToSchema)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", const_into_str)]
#[schema(as = PermissionAction)]
pub(crate) enum Action {
    Allow,
    Ask,
    Deny,
}

/// How a session treats what needs a person. The default asks nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Policy {
    /// What differs from "every enabled tool runs". A rule about a tool that is not enabled changes nothing.
    pub(crate) rules: Vec<Rule>,
    /// Whether the agent may ask the user questions.
    pub(crate) questions: bool,
    /// `None`: `ASK_TIMEOUT`.
    pub(crate) ask_timeout_secs: Option<u64>,
    /// Which hosts its tools may reach.
    pub(crate) egress: SessionEgress,
}

/// What a request says of a [`Policy`]; what it leaves out stays as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PolicyChange {
    pub(crate) rules: Option<Vec<Rule>>,
    pub(crate) questions: Option<bool>,
    pub(crate) ask_timeout_secs: Option<u64>,
    pub(crate) egress: Option<SessionEgress>,
}

/// The tools of the mode `ask` when it names none: those that change something or reach out of the workspace.
const ASKED_BY_DEFAULT: [&str; 6] = [
    "apply_patch",
    "bash",
    "edit",
    "webfetch",
    "websearch",
    "write",
];

/// The permission by which OpenCode offers its tool `question`.
const QUESTION: &str = "question";

// === impl Policy ===

impl Policy {
    /// As it is after `change`.
    pub(crate) fn with(&self, change: &PolicyChange) -> Self {
        Self {
            rules: change.rules.clone().unwrap_or_else(|| self.rules.clone()),
            questions: change.questions.unwrap_or(self.questions),
            ask_timeout_secs: change.ask_timeout_secs.or(self.ask_timeout_secs),
            egress: change.egress.clone().unwrap_or_else(|| self.egress.clone()),
        }
    }

    /// Whether anything may ever wait for a person.
    pub(crate) fn may_ask(&self) -> bool {
        self.questions || self.rules.iter().any(|rule| rule.action == Action::Ask)
    }

    pub(crate) fn ask_timeout(&self, default: Duration) -> Duration {
        self.ask_timeout_secs.map_or(default, Duration::from_secs)
    }

    /// OpenCode's rules for a session with these tools (`None`: every tool). They hold whatever rules the session
    /// had before, because they say something about each permission.
    pub(crate) fn session_rules(&self, tools: Option<&Tools>) -> Vec<Rule> {
        let all = Tools::all();
        let tools = tools.unwrap_or(&all);
        let allowed = tools.permissions();
        let denied = tools.denied_permissions();
        let denied = denied
            .into_iter()
            .filter(|permission| !(self.questions && *permission == QUESTION));
        let mut rules: Vec<Rule> = allowed
            .iter()
            .map(|permission| Rule::whole(permission, Action::Allow))
            .chain(denied.map(|permission| Rule::whole(permission, Action::Deny)))
            .collect();
        if self.questions {
            rules.push(Rule::whole(QUESTION, Action::Allow));
        }
        for rule in &self.rules {
            let all: Vec<&str> = match &*rule.permission {
                "*" => allowed.iter().copied().collect(),
                permission => allowed.get(permission).copied().into_iter().collect(),
            };
            rules.extend(all.into_iter().map(|permission| Rule {
                permission: permission.to_owned(),
                ..rule.clone()
            }));
        }
        rules
    }
}

// === impl Rule ===

impl Rule {
    /// The rule about everything that `permission` governs.
    pub(crate) fn whole(permission: &str, action: Action) -> Self {
        Self {
            permission: permission.to_owned(),
            pattern: "*".to_owned(),
            action,
        }
    }
}

// === impl Action ===

impl Action {
    pub(crate) const fn as_str(self) -> &'static str {
        self.into_str()
    }
}

/// The rules that ask before each of these tools; `None`: before those that a careful user would want to see.
pub(crate) fn ask_before(tools: Option<&Tools>) -> Vec<Rule> {
    let permissions = match tools {
        Some(tools) => tools.permissions(),
        None => ASKED_BY_DEFAULT
            .iter()
            .filter_map(|tool| Tools::permission(tool))
            .collect::<BTreeSet<_>>(),
    };
    permissions
        .into_iter()
        .map(|permission| Rule::whole(permission, Action::Ask))
        .collect()
}

/// Whether `rules`, all of which allow, allow `permission` for each of the patterns.
pub(crate) fn allows(rules: &[Rule], permission: &str, patterns: &[String]) -> bool {
    let allowed = |pattern: &String| {
        rules
            .iter()
            .any(|rule| rule.permission == permission && wildcard::matches(&rule.pattern, pattern))
    };
    !patterns.is_empty() && patterns.iter().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tools(names: &[&str]) -> Tools {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Tools::parse(&names).unwrap()
    }

    fn rule(permission: &str, pattern: &str, action: Action) -> Rule {
        Rule {
            permission: permission.into(),
            pattern: pattern.into(),
            action,
        }
    }

    /// What decides about `permission` and `pattern`: OpenCode's own way of reading the list.
    fn decision(rules: &[Rule], permission: &str, pattern: &str) -> Action {
        let matching = rules.iter().rev().find(|rule| {
            rule.permission == permission && wildcard::matches(&rule.pattern, pattern)
        });
        matching.map_or(Action::Ask, |rule| rule.action)
    }

    #[test]
    fn the_default_allows_what_is_enabled_and_refuses_the_rest() {
        let rules = Policy::default().session_rules(Some(&tools(&["bash", "write"])));
        for (permission, action) in [
            ("bash", Action::Allow),
            ("edit", Action::Allow),
            ("read", Action::Deny),
            ("task", Action::Deny),
            ("question", Action::Deny),
            ("skill", Action::Deny),
        ] {
            assert_eq!(decision(&rules, permission, "x"), action, "{permission}");
        }
        assert!(!Policy::default().may_ask());
    }

    #[test]
    fn a_rule_never_enables_a_tool() {
        let policy = Policy {
            rules: vec![
                rule("bash", "rm *", Action::Deny),
                rule("*", "*", Action::Ask),
                rule("read", "*", Action::Allow),
            ],
            ..Policy::default()
        };
        let rules = policy.session_rules(Some(&tools(&["bash"])));
        assert_eq!(decision(&rules, "bash", "ls"), Action::Ask);
        assert_eq!(decision(&rules, "read", "x"), Action::Deny);
        assert_eq!(decision(&rules, "question", "x"), Action::Deny);
        assert!(policy.may_ask());
    }

    #[test]
    fn a_later_list_takes_the_place_of_an_earlier_one() {
        let enabled = tools(&["bash", "edit"]);
        let strict = Policy {
            egress: SessionEgress::None,
            rules: vec![
                rule("bash", "rm *", Action::Deny),
                rule("edit", "*", Action::Ask),
            ],
            questions: true,
            ask_timeout_secs: Some(7),
        };
        let change = PolicyChange {
            egress: None,
            rules: Some(Vec::new()),
            questions: Some(false),
            ask_timeout_secs: None,
        };
        let free = strict.with(&change);
        assert_eq!(free.ask_timeout_secs, Some(7));
        assert_eq!(strict.with(&PolicyChange::default()), strict);
        let mut rules = strict.session_rules(Some(&enabled));
        assert_eq!(decision(&rules, "question", "*"), Action::Allow);
        // OpenCode adds what it is given to what the session has.
        rules.extend(free.session_rules(Some(&enabled)));
        assert_eq!(decision(&rules, "bash", "rm x"), Action::Allow);
        assert_eq!(decision(&rules, "edit", "a"), Action::Allow);
        assert_eq!(decision(&rules, "question", "*"), Action::Deny);
    }

    #[test]
    fn asking_covers_what_changes_something_unless_tools_are_named() {
        let names = |rules: Vec<Rule>| {
            rules
                .into_iter()
                .map(|rule| rule.permission)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            names(ask_before(None)),
            ["bash", "edit", "webfetch", "websearch"]
        );
        assert_eq!(
            names(ask_before(Some(&tools(&["read", "write"])))),
            ["edit", "read"]
        );
    }

    #[test]
    fn what_was_allowed_for_good_covers_every_part_of_a_command() {
        let rules = [rule("bash", "echo *", Action::Allow)];
        let patterns = |texts: &[&str]| {
            texts
                .iter()
                .map(|text| (*text).to_owned())
                .collect::<Vec<_>>()
        };
        assert!(allows(&rules, "bash", &patterns(&["echo x", "echo"])));
        assert!(!allows(&rules, "bash", &patterns(&["echo x", "rm -f y"])));
        assert!(!allows(&rules, "edit", &patterns(&["echo x"])));
        assert!(!allows(&rules, "bash", &[]), "nothing is known of it");
    }
}
