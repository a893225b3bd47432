use super::*;

fn resolve(name: &str, endpoint: Option<&str>) -> Upstream {
    Upstream::resolve(name, endpoint, true, true).unwrap()
}

#[test]
fn openai_speaks_responses_at_home_and_chat_elsewhere() {
    for home in [
        None,
        Some(""),
        Some("https://api.openai.com/v1"),
        Some("https://api.openai.com/v1/"),
    ] {
        let upstream = resolve("openai", home);
        assert_eq!(
            upstream.url().as_str(),
            "https://api.openai.com/v1/responses",
            "{home:?}"
        );
    }
    let elsewhere = resolve("openai", Some("http://proxy.corp:8080/llm/v1"));
    assert_eq!(
        elsewhere.url().as_str(),
        "http://proxy.corp:8080/llm/v1/chat/completions"
    );
}

#[test]
fn anthropic_speaks_messages_everywhere() {
    assert_eq!(
        resolve("anthropic", None).url().as_str(),
        "https://api.anthropic.com/v1/messages"
    );
    assert_eq!(
        resolve("anthropic", Some("https://x.test/v1"))
            .url()
            .as_str(),
        "https://x.test/v1/messages"
    );
}

#[test]
fn a_wrong_address_is_named_for_what_is_wrong() {
    let error = |name, endpoint, key| Upstream::resolve(name, endpoint, key, false).unwrap_err();
    assert_eq!(
        error("claude", None, true),
        ResolveError::UnknownProvider("claude".into())
    );
    assert_eq!(
        error("custom", None, true),
        ResolveError::EndpointMissing("custom")
    );
    assert_eq!(
        error("custom", Some("ftp://x/v1"), true),
        ResolveError::EndpointInvalid
    );
    assert_eq!(
        error("custom", Some("x/v1"), true),
        ResolveError::EndpointInvalid
    );
    assert_eq!(
        error("custom", Some("https://u:p@x/v1"), true),
        ResolveError::EndpointCredentials
    );
    assert_eq!(
        error("custom", Some("https://x/v1?api-version=1"), true),
        ResolveError::EndpointQuery
    );
    assert_eq!(
        error("openai", None, false),
        ResolveError::KeyMissing("openai")
    );
    assert_eq!(error("demo", None, false), ResolveError::DemoOff);
    assert!(Upstream::resolve("local", None, false, false).is_ok());
}

#[test]
fn versions_are_named_as_the_provider_names_them() {
    let id =
        |name, endpoint, model, version| resolve(name, endpoint).model_id(model, Some(version));
    assert_eq!(
        id("openai", None, "gpt-4o", "2024-08-06"),
        "gpt-4o-2024-08-06"
    );
    assert_eq!(
        id("openai", None, "gpt-4o-2024-08-06", "2024-08-06"),
        "gpt-4o-2024-08-06"
    );
    assert_eq!(
        id("anthropic", None, "claude-sonnet-4", "2025-05-14"),
        "claude-sonnet-4-20250514"
    );
    assert_eq!(id("local", None, "llama3.1", "70b"), "llama3.1:70b");
    assert_eq!(id("custom", Some("http://x/v1"), "m", "2024"), "m");
    assert_eq!(id("openai", None, "gpt-4o", " "), "gpt-4o");
}

#[test]
fn reasoning_models_are_known_by_name() {
    for yes in [
        "o1",
        "o3-mini",
        "o4-mini-2025-04-16",
        "gpt-5",
        "gpt-5.1-codex",
        "openai/o3",
    ] {
        assert!(is_reasoning_model(yes), "{yes}");
    }
    for no in ["gpt-4o", "olmo", "o", "gpt-5-chat-latest", "claude-opus-4"] {
        assert!(!is_reasoning_model(no), "{no}");
    }
}

#[test]
fn the_document_prints_this_table() {
    let document = include_str!("../../API_CONTRACT.md");
    for row in PROVIDERS {
        let base = row.default_base.filter(|_| row.name != DEMO).unwrap_or("-");
        let key = if row.key == KeyRule::Required {
            "required"
        } else {
            "optional"
        };
        let version = match row.version_style {
            VersionStyle::Dash => "`-version`",
            VersionStyle::DashDigits => "`-version`, digits only",
            VersionStyle::Colon => "`:version`",
            VersionStyle::Ignored => "not sent",
        };
        let dialect = |d: Dialect| match d {
            Dialect::Chat => "chat completions",
            Dialect::Responses => "responses",
            Dialect::Messages => "messages",
        };
        let spoken = if row.dialect == row.custom_dialect {
            dialect(row.dialect).to_owned()
        } else {
            format!(
                "{}; {} elsewhere",
                dialect(row.dialect),
                dialect(row.custom_dialect)
            )
        };
        let line = format!("| `{}` | {spoken} | {base} | {key} | {version} |", row.name);
        assert!(document.contains(&line), "API_CONTRACT.md lacks: {line}");
    }
}
