//! `API_CONTRACT.md` is true: its examples are run, its tables are compared with what is built.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use crate::support::Options;

const CONTRACT: &str = include_str!("../../API_CONTRACT.md");

/// `(command, expected output)` of every `console` block, in order.
fn examples() -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut inside = false;
    for line in CONTRACT.lines() {
        match line {
            "```console" => inside = true,
            "```" => inside = false,
            _ if !inside => {}
            _ => match (line.strip_prefix("$ "), found.last_mut()) {
                (Some(command), _) => found.push((command.to_owned(), String::new())),
                (None, Some((_, output))) => {
                    output.push_str(line);
                    output.push('\n');
                }
                (None, None) => panic!("output before any command: {line}"),
            },
        }
    }
    found
}

/// `…` stands for anything that differs from time to time.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.trim_end().split('…');
    let Some(mut rest) = text.trim_end().strip_prefix(parts.next().unwrap()) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    for (n, part) in parts.iter().enumerate() {
        let at = if n + 1 == parts.len() && !part.is_empty() {
            rest.rfind(part)
        } else {
            rest.find(part)
        };
        let Some(at) = at else { return false };
        rest = rest.get(at + part.len()..).unwrap();
    }
    rest.is_empty() || parts.last().is_some_and(|part| part.is_empty())
}

#[test]
fn every_example_of_the_contract_is_true() {
    let sidecar = Options::stub().start().ready();
    let examples = examples();
    assert!(examples.len() >= 7, "the examples were found");
    for (command, expected) in examples {
        assert!(command.starts_with("curl "), "{command}");
        let here = command.replace("localhost:3003", &sidecar.address.to_string());
        let output = Command::new("sh").args(["-c", &here]).output().unwrap();
        let output = String::from_utf8(output.stdout).unwrap();
        assert!(
            matches(&expected, &output),
            "$ {command}\nexpected {expected}\ngot      {output}"
        );
    }
}

/// The document a client gets.
fn document() -> Value {
    Options::stub().start().get("/openapi.json").json()
}

fn properties<'a>(document: &'a Value, schema: &str) -> BTreeSet<&'a str> {
    let schema = &document["components"]["schemas"][schema];
    let found = schema["properties"].as_object();
    found
        .unwrap_or_else(|| panic!("no properties in {schema}"))
        .keys()
        .map(String::as_str)
        .collect()
}

fn words<'a>(document: &'a Value, schema: &str) -> BTreeSet<&'a str> {
    let found = document["components"]["schemas"][schema]["enum"].as_array();
    found
        .unwrap()
        .iter()
        .map(|word| word.as_str().unwrap())
        .collect()
}

/// The rows of the table whose head begins so, each as its cells.
fn table(head: &str) -> Vec<Vec<&'static str>> {
    let mut lines = CONTRACT.lines().skip_while(|line| !line.starts_with(head));
    assert!(lines.next().is_some(), "no table {head}");
    lines
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

/// What stands in backticks.
fn quoted(text: &str) -> BTreeSet<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

fn first_column(head: &str) -> BTreeSet<&'static str> {
    table(head).iter().flat_map(|row| quoted(row[0])).collect()
}

#[test]
fn the_contract_the_description_and_the_router_have_the_same_routes() {
    let document = document();
    let mut described = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            described.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    let listed = first_column("| route | what |");
    assert_eq!(described, listed.iter().map(ToString::to_string).collect());

    // No route takes TRACE, so each says what it takes. The probes are answered before the router is asked. `CONNECT` is how
    // HTTP/2 asks for a WebSocket, which is described as the `GET` of HTTP/1.1.
    let sidecar = Options::stub().start();
    let mut built = BTreeSet::new();
    for path in document["paths"].as_object().unwrap().keys() {
        let refused = sidecar.send("TRACE", &path.replace("{id}", "s1"), "");
        assert_eq!(refused.status, 405, "{path}: {refused:?}");
        let allowed = refused.header("allow").unwrap();
        let methods = allowed.split(',').map(str::trim);
        // The router answers HEAD wherever it answers GET.
        built.extend(
            methods
                .filter(|method| !matches!(*method, "HEAD" | "CONNECT"))
                .map(|method| format!("{method} {path}")),
        );
    }
    assert_eq!(described, built);
}

#[test]
fn the_contract_and_the_description_have_the_same_words() {
    let document = document();
    assert_eq!(
        words(&document, "ErrorCode"),
        first_column("| code | status | when |")
    );
    assert_eq!(
        words(&document, "FailureCode"),
        first_column("| `code` of an `error` event")
    );
    assert_eq!(
        properties(&document, "Events"),
        first_column("| event | data |")
    );
    let reasons: BTreeSet<&str> = table("| cursor | answer |")
        .iter()
        .filter_map(|row| row[1].strip_prefix("`gap` `")?.split('`').next())
        .collect();
    assert_eq!(words(&document, "GapReason"), reasons);
    // `{code, error}` names both.
    let other = |c: char| !c.is_ascii_alphanumeric() && c != '_';
    let all: BTreeSet<&str> = quoted(CONTRACT)
        .into_iter()
        .flat_map(|text| text.split(other))
        .collect();
    for schema in ["State", "Phase", "Channel", "Source"] {
        for word in words(&document, schema) {
            assert!(all.contains(word), "{schema} {word} is not in the contract");
        }
    }
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for schema in schemas
        .keys()
        .filter(|name| document["components"]["schemas"][name.as_str()]["properties"].is_object())
    {
        // How an event is framed is said in words.
        if matches!(schema.as_str(), "StreamEvent" | "NotReady" | "Probe") {
            continue;
        }
        for field in properties(&document, schema) {
            assert!(
                all.contains(field),
                "{schema}.{field} is not in the contract"
            );
        }
    }
}

/// Each row of the contract's table of events has exactly the fields of its schema.
#[test]
fn every_event_of_the_contract_has_the_fields_of_its_schema() {
    let document = document();
    for row in table("| event | data |") {
        let name = row[0].trim_matches('`');
        let reference = &document["components"]["schemas"]["Events"]["properties"][name]["$ref"];
        let schema = reference.as_str().unwrap().rsplit('/').next().unwrap();
        let fields = &document["components"]["schemas"][schema]["properties"];
        let fields: BTreeSet<&str> = fields
            .as_object()
            .into_iter()
            .flatten()
            .map(|(field, _)| field.as_str())
            .collect();
        let common = BTreeSet::from(["turn", "timestamp", "agent", "truncated"]);
        let missing: Vec<_> = fields
            .iter()
            .filter(|field| !common.contains(*field) && !quoted(row[1]).contains(*field))
            .collect();
        assert!(missing.is_empty(), "{name}: {missing:?} are not in its row");
    }
}

/// What `event` writes, as its own snapshot has it, fits what is described.
#[test]
fn every_event_that_is_written_fits_its_schema() {
    const WRITTEN: &str = include_str!(
        "../../src/event/snapshots/opencode_sidecar__event__tests__the_vocabulary_is_what_the_contract_says.snap"
    );
    let document = document();
    let mut seen = BTreeSet::new();
    for line in WRITTEN.lines().filter(|line| line.ends_with('}')) {
        let (head, json) = line.split_at(line.find('{').unwrap());
        let data: Value = serde_json::from_str(json).unwrap();
        let kind = head.split(' ').next().filter(|kind| !kind.is_empty());
        let kind = kind.unwrap_or(if data["args"].is_object() {
            "tool_call"
        } else {
            "output"
        });
        seen.insert(kind.to_owned());
        let reference = &document["components"]["schemas"]["Events"]["properties"][kind]["$ref"];
        let schema = reference.as_str().unwrap().rsplit('/').next().unwrap();
        let schema = &document["components"]["schemas"][schema];
        let fields = data.as_object().unwrap();
        for field in fields.keys() {
            assert!(
                schema["properties"][field].is_object(),
                "{kind}.{field} is not described"
            );
        }
        for field in schema["required"].as_array().unwrap() {
            let field = field.as_str().unwrap();
            assert!(
                fields.contains_key(field),
                "{kind}.{field} is not written: {line}"
            );
        }
    }
    assert_eq!(seen.len(), 10, "all but heartbeat and gap: {seen:?}");
}

#[test]
fn the_description_has_what_a_generator_needs() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(
                ids.insert(operation["operationId"].as_str().unwrap()),
                "{method} {path}"
            );
            let probe = matches!(path.as_str(), "/healthz" | "/health" | "/ready");
            let refused = operation["responses"]["401"].is_object();
            assert_eq!(refused, !probe, "{method} {path}");
        }
    }
    let guarded = Options::stub()
        .env("OPENCODE_SHARED_SECRET", "hunter2")
        .start();
    assert_eq!(guarded.get("/openapi.json").status, 401);
}

#[test]
fn a_pattern_matches_what_it_should_and_nothing_else() {
    assert!(matches("a…c", "abbc") && matches("abc\n", "abc") && matches("a…", "abc"));
    assert!(!matches("a…c", "abcd") && !matches("abc", "abcd") && !matches("x…", "abc"));
}
