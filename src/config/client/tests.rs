use std::ffi::OsString;

use super::*;

fn environment(variables: &[(&str, &str)]) -> ClientEnvironment {
    let variables = variables
        .iter()
        .map(|(name, value)| (OsString::from(*name), OsString::from(*value)));
    ClientEnvironment::new(Environment::new(variables))
}

fn home(contexts: &str) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join(".config/opencode-sidecar");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("contexts.toml"), contexts).unwrap();
    std::fs::write(home.path().join("token"), "from-file\n").unwrap();
    home
}

const CONTEXTS: &str = r#"
    current = "near"
    [contexts.near]
    url = "localhost:4000"
    token = "near-token"
    provider = "local"
    [contexts.far]
    url = "https://far.example/agents"
    token_file = "~/token"
"#;

#[test]
fn without_anything_it_is_the_sidecar_of_this_host_with_its_own_secret() {
    let target = environment(&[]).target(&ConnectionArgs::default()).unwrap();
    assert_eq!(target.url.as_str(), "http://127.0.0.1:3003/");
    assert!(target.token.is_none());
    let variables = [
        ("PORT", "4000"),
        ("HOST", "::"),
        ("OPENCODE_SHARED_SECRET", "one,two"),
    ];
    let target = environment(&variables)
        .target(&ConnectionArgs::default())
        .unwrap();
    assert_eq!(target.url.as_str(), "http://127.0.0.1:4000/");
    assert_eq!(target.token.unwrap().expose(), "one");
}

#[test]
fn the_secret_of_this_host_is_not_sent_to_another() {
    let variables = [
        ("SIDECAR_URL", "http://far"),
        ("OPENCODE_SHARED_SECRET", "ours"),
    ];
    let target = environment(&variables)
        .target(&ConnectionArgs::default())
        .unwrap();
    assert!(target.token.is_none());
}

#[test]
fn a_flag_wins_over_a_variable_and_both_over_the_current_context() {
    let home = home(CONTEXTS);
    let home = home.path().to_string_lossy().into_owned();
    let none = ConnectionArgs::default();
    let target = environment(&[("HOME", &home)]).target(&none).unwrap();
    assert_eq!(target.url.as_str(), "http://localhost:4000/");
    assert_eq!(target.token.unwrap().expose(), "near-token");
    assert_eq!(target.defaults.provider.as_deref(), Some("local"));

    let far = environment(&[("HOME", &home), ("SIDECAR_CONTEXT", "far")]);
    let target = far.target(&none).unwrap();
    assert_eq!(target.url.as_str(), "https://far.example/agents");
    assert_eq!(target.token.unwrap().expose(), "from-file");

    let args = ConnectionArgs {
        url: Some("http://other".into()),
        ..none
    };
    let target = far.target(&args).unwrap();
    assert_eq!(
        (target.url.as_str(), target.token.is_some()),
        ("http://other/", false)
    );
}

#[test]
fn a_mistake_in_the_file_is_named_by_its_line_and_shows_no_token() {
    let home = home("[contexts.a]\nurl = \"x\"\ntoken = hunter2\n");
    let home = home.path().to_string_lossy().into_owned();
    let args = ConnectionArgs {
        context: Some("a".into()),
        ..ConnectionArgs::default()
    };
    let error = environment(&[("HOME", &home)])
        .target(&args)
        .unwrap_err()
        .to_string();
    assert!(error.contains("line 3"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
    let unknown = environment(&[]).target(&args).unwrap_err().to_string();
    assert!(
        unknown.starts_with("the context a cannot be used"),
        "{unknown}"
    );
}
