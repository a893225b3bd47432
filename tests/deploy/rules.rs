//! What the validators cannot know: that names, numbers and promises fit each other and the binary.
//!
//! A rule reads one rendering and says what is wrong, one sentence a fault. `mutations` proves of each that
//! it can.

mod containers;
mod security;
mod selection;
mod volumes;

use serde_json::Value;

use crate::known::Known;
use crate::manifests::all;

pub(crate) type Rule = fn(&[Value], &Known) -> Vec<String>;

pub(crate) const RULES: &[(&str, Rule)] = &[
    ("sidecar", containers::sidecar),
    ("probes", containers::probes),
    ("settings", containers::settings),
    ("values", containers::values),
    ("grace", containers::grace),
    ("quantities", containers::quantities),
    ("memory", containers::memory),
    ("images", containers::images),
    ("volumes", volumes::volumes),
    ("references", volumes::references),
    ("writable", volumes::writable),
    ("secrets", volumes::secrets),
    ("locked", security::locked),
    ("walls", security::walls),
    ("backend", security::backend),
    ("selectors", selection::selectors),
    ("names", selection::names),
    ("budgets", selection::budgets),
    ("ports", selection::ports),
];

pub(crate) fn faults(documents: &[Value], rule: &str, known: &Known) -> Vec<String> {
    let (_, rule) = RULES.iter().find(|(name, _)| *name == rule).unwrap();
    rule(documents, known)
}

#[test]
fn every_rendering_keeps_every_rule() {
    let known = Known::ask();
    let mut found = Vec::new();
    for rendering in all() {
        for (name, rule) in RULES {
            let faults = rule(&rendering.documents, &known);
            let faults = faults.iter();
            found.extend(faults.map(|fault| format!("{}: {name}: {fault}", rendering.name)));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
