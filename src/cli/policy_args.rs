//! What the agent may do without a person, as flags: the fields of `model_config` about permissions, questions and hosts.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::setting;

/// Permissions and questions. Without any of them a further turn keeps what holds for the session.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Permissions")]
#[group(skip)]
pub(super) struct PolicyArgs {
    /// `auto`: every enabled tool runs; `ask`: you are asked before each of --ask-tools
    #[arg(long, value_name = "MODE", value_parser = ["auto", "ask"])]
    permission_mode: Option<String>,
    /// Tools and groups you are asked about, separated by commas; implies `--permission-mode ask`. Default: those that
    /// change something or reach out
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    ask_tools: Option<Vec<String>>,
    /// `<tool>[:<pattern>]=allow|ask|deny`, such as `bash:git *=ask`; may be given again, the last one that fits decides
    #[arg(long = "rule", value_name = "RULE", value_parser = rule, conflicts_with_all = ["permission_mode", "ask_tools"])]
    rules: Vec<Rule>,
    /// Let the agent ask you questions
    #[arg(long)]
    questions: bool,
    /// How long it waits for your answer, such as 10m
    #[arg(long, value_name = "DURATION", value_parser = setting::duration)]
    ask_timeout: Option<Duration>,
    /// Hosts that the agent's tools may reach: `list`: those the sidecar allows; `none`: none. Needs a sidecar with
    /// EGRESS=list
    #[arg(long, value_name = "MODE", value_parser = ["list", "none"])]
    egress: Option<String>,
    /// Only these of the hosts that the sidecar allows, separated by commas, such as `*.npmjs.org,pypi.org:443`
    #[arg(
        long,
        value_name = "HOSTS",
        value_delimiter = ',',
        conflicts_with = "egress"
    )]
    egress_allow: Option<Vec<String>>,
}

/// One rule of `permission_mode`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    permission: String,
    pattern: String,
    action: String,
}

fn rule(text: &str) -> Result<Rule, &'static str> {
    const ACCEPTS: &str = "such as bash=ask or bash:git *=allow; the end is =allow, =ask or =deny";
    // A pattern may hold `=` and `:` itself.
    let (what, action) = text.rsplit_once('=').ok_or(ACCEPTS)?;
    let (permission, pattern) = what.split_once(':').unwrap_or((what, "*"));
    let known = matches!(action, "allow" | "ask" | "deny");
    if !known || permission.is_empty() || pattern.is_empty() {
        return Err(ACCEPTS);
    }
    Ok(Rule {
        permission: permission.to_owned(),
        pattern: pattern.to_owned(),
        action: action.to_owned(),
    })
}

// === impl PolicyArgs ===

impl PolicyArgs {
    /// Adds what was given to a `model_config`.
    pub(super) fn add_to(&self, config: &mut Map<String, Value>) {
        let mut add = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                config.insert(name.to_owned(), value);
            }
        };
        add("permission_mode", self.mode());
        add(
            "ask_tools",
            self.ask_tools.as_ref().map(|tools| json!(tools)),
        );
        add("questions", self.questions.then_some(Value::Bool(true)));
        let seconds = self.ask_timeout.map(|timeout| timeout.as_secs().max(1));
        add("ask_timeout_secs", seconds.map(Value::from));
        add("egress", self.egress.as_deref().map(Value::from));
        let hosts = self.egress_allow.as_ref();
        add("egress_allow", hosts.map(|hosts| json!(hosts)));
    }

    fn mode(&self) -> Option<Value> {
        if !self.rules.is_empty() {
            let rules = self.rules.iter().map(|rule| {
                json!({ "permission": rule.permission, "pattern": rule.pattern, "action": rule.action })
            });
            return Some(rules.collect());
        }
        let implied = self.ask_tools.as_ref().map(|_| "ask");
        self.permission_mode.as_deref().or(implied).map(Value::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_a_tool_a_pattern_and_what_to_do() {
        let of = |text: &str| rule(text).map(|rule| (rule.permission, rule.pattern, rule.action));
        let three = |a: &str, b: &str, c: &str| Ok((a.to_owned(), b.to_owned(), c.to_owned()));
        assert_eq!(of("bash=ask"), three("bash", "*", "ask"));
        assert_eq!(of("bash:git *=allow"), three("bash", "git *", "allow"));
        assert_eq!(of("bash:A=1 b:c=deny"), three("bash", "A=1 b:c", "deny"));
        for bad in ["bash", "bash=maybe", "=ask", "bash:=ask"] {
            assert!(of(bad).unwrap_err().starts_with("such as"), "{bad}");
        }
    }

    #[test]
    fn nothing_is_said_of_what_was_not_given() {
        let fields = |args: &PolicyArgs| {
            let mut config = Map::new();
            args.add_to(&mut config);
            Value::Object(config)
        };
        assert_eq!(fields(&PolicyArgs::default()), json!({}));
        let args = PolicyArgs {
            ask_tools: Some(vec!["bash".into()]),
            questions: true,
            ask_timeout: Some(Duration::from_mins(10)),
            egress_allow: Some(vec!["*.npmjs.org".into(), "pypi.org:443".into()]),
            ..PolicyArgs::default()
        };
        let expected = json!({ "permission_mode": "ask", "ask_tools": ["bash"], "questions": true, "ask_timeout_secs": 600,
            "egress_allow": ["*.npmjs.org", "pypi.org:443"] });
        assert_eq!(fields(&args), expected);
        let args = PolicyArgs {
            rules: vec![rule("bash=ask").unwrap()],
            ..PolicyArgs::default()
        };
        let expected = json!({ "permission_mode": [{ "permission": "bash", "pattern": "*", "action": "ask" }] });
        assert_eq!(fields(&args), expected);
    }
}
