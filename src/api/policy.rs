//! The fields of `model_config` that say what the agent may do by itself, and what a person is asked before.

use std::fmt;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use utoipa::ToSchema as _;
use utoipa::openapi::schema::{ArrayBuilder, OneOfBuilder, SchemaType, Type};
use utoipa::openapi::{ObjectBuilder, Ref, RefOr, Schema};

use super::error::ApiError;
use crate::egress_policy::{InstanceEgress, Word};
use crate::permission::{PolicyChange, Rule, ask_before};
use crate::tool::Tools;

const MAX_RULES: usize = 100;

/// In characters.
const MAX_PATTERN: usize = 1000;

/// A week.
const MAX_ASK_TIMEOUT: i64 = 7 * 24 * 3600;

/// `permission_mode` as it is written.
#[derive(Debug)]
pub(super) enum PermissionMode {
    Auto,
    Ask,
    Rules(Vec<Rule>),
}

/// What a body says, unchecked.
#[derive(Debug, Default)]
pub(super) struct PolicyFields {
    pub(super) permission_mode: Option<PermissionMode>,
    pub(super) ask_tools: Option<Vec<String>>,
    pub(super) questions: Option<bool>,
    pub(super) ask_timeout_secs: Option<i64>,
    pub(super) egress: Option<Word>,
    pub(super) egress_allow: Option<Vec<String>>,
}

// === impl PermissionMode ===

impl<'de> Deserialize<'de> for PermissionMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Mode;

        impl<'de> Visitor<'de> for Mode {
            type Value = PermissionMode;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`auto`, `ask` or a list of rules")
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<Self::Value, E> {
                match word {
                    "auto" => Ok(PermissionMode::Auto),
                    "ask" => Ok(PermissionMode::Ask),
                    _ => Err(E::custom(format!(
                        "{word:?} is no mode; it is auto, ask or a list of rules"
                    ))),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, rules: A) -> Result<Self::Value, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(rules)).map(PermissionMode::Rules)
            }
        }

        deserializer.deserialize_any(Mode)
    }
}

/// The schema of `permission_mode`.
pub(super) fn mode_schema() -> Schema {
    let words = ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(["auto", "ask"]));
    let rules = ArrayBuilder::new()
        .items(RefOr::Ref(Ref::from_schema_name(Rule::name())))
        .max_items(Some(MAX_RULES));
    let null = ObjectBuilder::new().schema_type(SchemaType::Type(Type::Null));
    OneOfBuilder::new()
        .item(words)
        .item(rules)
        .item(null)
        .build()
        .into()
}

// === impl PolicyFields ===

impl PolicyFields {
    /// `instance` is what no session may be wider than.
    pub(super) fn check(self, instance: &InstanceEgress) -> Result<PolicyChange, ApiError> {
        let asks = matches!(self.permission_mode, Some(PermissionMode::Ask));
        if self.ask_tools.is_some() && !asks {
            return Err(field("ask_tools", "needs permission_mode \"ask\""));
        }
        let rules = match self.permission_mode {
            None => None,
            Some(PermissionMode::Auto) => Some(Vec::new()),
            Some(PermissionMode::Ask) => {
                let tools = self.ask_tools.as_deref().map(Tools::parse).transpose();
                let tools = tools.map_err(|name| {
                    let names = Tools::names();
                    field(
                        "ask_tools",
                        &format!("{name:?} is no tool; the tools are {names}"),
                    )
                })?;
                Some(ask_before(tools.as_ref()))
            }
            Some(PermissionMode::Rules(rules)) => Some(checked(rules)?),
        };
        let secs = self.ask_timeout_secs;
        if secs.is_some_and(|secs| !(1..=MAX_ASK_TIMEOUT).contains(&secs)) {
            let reason = format!("must be a whole number from 1 to {MAX_ASK_TIMEOUT}");
            return Err(field("ask_timeout_secs", &reason));
        }
        let egress = instance
            .narrow(self.egress, self.egress_allow.as_deref())
            .map_err(|wider| field(wider.field, &wider.reason))?;
        Ok(PolicyChange {
            egress,
            rules,
            questions: self.questions,
            ask_timeout_secs: secs.and_then(|secs| secs.try_into().ok()),
        })
    }
}

/// The rules with the permissions that govern the tools they name.
fn checked(rules: Vec<Rule>) -> Result<Vec<Rule>, ApiError> {
    if rules.len() > MAX_RULES {
        let reason = format!(
            "has {} rules, and at most {MAX_RULES} are accepted",
            rules.len()
        );
        return Err(field("permission_mode", &reason));
    }
    let mut checked = Vec::with_capacity(rules.len());
    for (at, rule) in rules.into_iter().enumerate() {
        let of = |name: &str| format!("permission_mode[{at}].{name}");
        let permission = match &*rule.permission {
            "*" => "*",
            name => Tools::permission(name).ok_or_else(|| {
                let names = Tools::permission_names();
                let reason = format!("{name:?} is no permission; it is * or one of {names}");
                field(&of("permission"), &reason)
            })?,
        };
        if rule.pattern.is_empty() || rule.pattern.chars().count() > MAX_PATTERN {
            let reason = format!("must have 1 to {MAX_PATTERN} characters");
            return Err(field(&of("pattern"), &reason));
        }
        checked.push(Rule {
            permission: permission.to_owned(),
            ..rule
        });
    }
    Ok(checked)
}

fn field(name: &str, reason: &str) -> ApiError {
    ApiError::invalid(&format!("model_config.{name}"), reason)
}
