use std::ffi::OsString;
use std::path::Path;

use super::super::{Config, ConfigError};
use super::{Command, read};

/// A directory with an executable `opencode` in it, so that a configuration can be complete.
struct Host {
    dir: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join("opencode");
        std::fs::write(&bin, "").unwrap();
        std::fs::set_permissions(&bin, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { dir }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn read(&self, args: &[&str], env: &[(&str, &str)]) -> Result<Command, ConfigError> {
        let data = self.path().join("data");
        let base = [
            ("PATH", self.path().as_os_str().to_owned()),
            ("DATA_DIR", data.into_os_string()),
        ];
        let args = std::iter::once("opencode-sidecar").chain(args.iter().copied());
        let env = env
            .iter()
            .map(|(name, value)| (*name, OsString::from(*value)));
        read(
            args.map(OsString::from),
            base.into_iter()
                .chain(env)
                .map(|(n, v)| (OsString::from(n), v)),
        )
    }

    fn config(&self, args: &[&str], env: &[(&str, &str)]) -> Box<Config> {
        match self.read(args, env).unwrap() {
            Command::Serve(config) => config,
            other => panic!("{other:?}"),
        }
    }

    fn refusal(&self, args: &[&str], env: &[(&str, &str)]) -> String {
        self.read(args, env).unwrap_err().to_string()
    }
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let host = Host::new();
    let config = host.config(&[], &[]);
    assert_eq!(config.port, 3003);
    assert_eq!(config.host.to_string(), "::");
    assert_eq!(config.workspace, Path::new("/workspace"));
    assert_eq!(
        config.engine.bin,
        host.path().join("opencode"),
        "the one on PATH"
    );
    assert!(!config.shared_secrets.required());
    assert!(host.path().join("data").is_dir(), "DATA_DIR is made");
}

#[test]
fn a_flag_wins_over_its_variable_and_an_empty_variable_is_none() {
    let host = Host::new();
    assert_eq!(host.config(&["--port", "1"], &[("PORT", "2")]).port, 1);
    assert_eq!(host.config(&[], &[("PORT", "2")]).port, 2);
    assert_eq!(host.config(&[], &[("PORT", "")]).port, 3003);
}

#[test]
fn the_old_spelling_of_the_engine_port_still_works() {
    let host = Host::new();
    assert_eq!(
        host.config(&[], &[("OPENCOD_PORT", "4096")]).engine.port,
        4096
    );
    let both = [("OPENCOD_PORT", "1"), ("OPENCODE_PORT", "2")];
    assert_eq!(host.config(&[], &both).engine.port, 2);
}

#[test]
fn a_bad_value_is_one_line_with_name_value_and_remedy() {
    let host = Host::new();
    let cases = [
        (
            ("PORT", "http"),
            "PORT=\"http\" is not accepted: give a port number from 0 to 65535 (0 picks a free one)",
        ),
        (
            ("OPENCOD_PORT", "x"),
            "OPENCOD_PORT=\"x\" is not accepted: give a port number from 0 to 65535 (0 picks a free one)",
        ),
        (
            ("HOST", "localhost"),
            "HOST=\"localhost\" is not accepted: give an IP address such as ::, 0.0.0.0 or 127.0.0.1",
        ),
        (
            ("DRAIN_TIMEOUT", "soon"),
            "DRAIN_TIMEOUT=\"soon\" is not accepted: give a duration such as 30, 30s, 500ms, 5m or 1h (a bare number is seconds)",
        ),
        (
            ("LOG_LEVEL", "loud"),
            "LOG_LEVEL=\"loud\" is not accepted: give error, warn, info, debug, trace, or a list such as info,opencode_sidecar::engine=debug",
        ),
        (
            ("MAX_CONCURRENT_SESSIONS", "0"),
            "MAX_CONCURRENT_SESSIONS=\"0\" is not accepted: give a number from 1 to 1000",
        ),
        (
            ("OPENCODE_SHARED_SECRET", "hunter2 hunter3"),
            "OPENCODE_SHARED_SECRET is not accepted (the value is not shown): give one secret, or two separated by a comma or a line break while you rotate; no spaces inside",
        ),
        (
            ("OPENCODE_SHARED_SECRET_FILE", "/nowhere"),
            "OPENCODE_SHARED_SECRET_FILE names \"/nowhere\", which cannot be read: no such file or directory",
        ),
        (
            ("BACKEND_API_URL", "backend:8080"),
            "BACKEND_API_URL=\"backend:8080\" is not accepted: give an http or https address without user name, query or fragment, such as http://backend:8080",
        ),
        (
            ("BACKEND_API_URL", "http://me:hunter2@backend"),
            "BACKEND_API_URL is not accepted (the value is not shown): give an http or https address without user name, query or fragment, such as http://backend:8080",
        ),
        (
            ("OPENCODE_BIN", "/nowhere"),
            "OPENCODE_BIN=\"/nowhere\" is not accepted: there is no such file; give the path of an executable file",
        ),
        (
            ("OPENCODE_BIN", "/etc/passwd"),
            "OPENCODE_BIN=\"/etc/passwd\" is not accepted: this user may not execute it; give the path of an executable file",
        ),
        (
            ("OPENCODE_BIN", "/etc"),
            "OPENCODE_BIN=\"/etc\" is not accepted: it is not a file; give the path of an executable file",
        ),
        (
            ("DATA_DIR", "/proc/x"),
            "DATA_DIR=\"/proc/x\" cannot be used: no such file or directory; give a directory this user can write",
        ),
    ];
    for (variable, expected) in cases {
        assert_eq!(host.refusal(&[], &[variable]), expected);
    }
    let flag = host.refusal(&["--port", "x"], &[]);
    assert!(flag.starts_with("--port=\"x\" is not accepted"), "{flag}");
}

#[test]
fn an_unknown_flag_is_one_line() {
    let refusal = Host::new().refusal(&["--prot", "1"], &[]);
    assert_eq!(
        refusal,
        "unexpected argument '--prot' found; --help lists what there is"
    );
}

#[test]
fn a_misspelt_variable_is_pointed_out_and_a_foreign_one_is_not() {
    let host = Host::new();
    let env = [
        ("OPENCODE_SHARED_SECERT", "x"),
        ("OPENCODE_DISABLE_AUTOUPDATE", "1"),
        ("SIDECAR_X", "1"),
    ];
    let expected = "the environment variable OPENCODE_SHARED_SECERT is not a setting; did you mean OPENCODE_SHARED_SECRET?";
    assert_eq!(host.config(&[], &env).hints, [expected]);
}

#[test]
fn nothing_but_the_allow_list_reaches_the_child() {
    let env = [
        ("AWS_SECRET_ACCESS_KEY", "x"),
        ("LANG", "C.UTF-8"),
        ("OPENCODE_SHARED_SECRET", "s"),
    ];
    let passed = Host::new().config(&[], &env).engine.passed_on;
    let names: Vec<&str> = passed.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["PATH", "LANG"]);
}

#[test]
fn debug_of_the_whole_configuration_shows_no_secret() {
    let config = Host::new().config(&[], &[("OPENCODE_SHARED_SECRET", "hunter2")]);
    assert!(config.shared_secrets.accept(b"hunter2").is_some());
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn a_secret_has_no_flag_because_command_lines_can_be_read() {
    let host = Host::new();
    let refusal = host.refusal(&["--opencode-shared-secret", "hunter2"], &[]);
    assert!(
        refusal.starts_with("unexpected argument '--opencode-shared-secret' found"),
        "{refusal}"
    );
    let file = host.path().join("secret");
    std::fs::write(&file, "hunter2").unwrap();
    let by_file = host.config(
        &["--opencode-shared-secret-file", &file.to_string_lossy()],
        &[],
    );
    assert!(by_file.shared_secrets.accept(b"hunter2").is_some());
}

#[test]
fn drain_takes_its_token_where_the_sidecar_does_and_by_no_flag() {
    let host = Host::new();
    let env = [("OPENCODE_SHARED_SECRET", "one,two"), ("PORT", "4000")];
    let Ok(Command::Drain(drain)) = host.read(&["drain", "--drain-timeout", "7"], &env) else {
        panic!("drain is a command");
    };
    assert_eq!((drain.port, drain.timeout.as_secs()), (4000, 7));
    assert!(drain.token.as_ref().unwrap().matches(b"one"));
    assert!(!format!("{drain:?}").contains("one"));
    let refusal = host.refusal(&["drain", "--opencode-shared-secret", "one"], &[]);
    assert!(refusal.starts_with("unexpected argument"), "{refusal}");
}

#[test]
fn help_groups_every_setting() {
    let Ok(Command::Print(help)) = Host::new().read(&["--help"], &[]) else {
        panic!("--help prints");
    };
    let settings = super::settings();
    assert!(settings.len() > 40, "{settings:?}");
    for (name, _) in settings {
        let flag = format!("--{} <", name.to_ascii_lowercase().replace('_', "-"));
        assert_eq!(
            help.contains(&flag),
            name != "OPENCODE_SHARED_SECRET",
            "{name}"
        );
        assert!(help.contains(&format!("[{name}")), "{name}");
    }
    for heading in [
        "Server:",
        "Sessions:",
        "Engine (the OpenCode child):",
        "Logs:",
    ] {
        assert!(help.contains(heading), "{heading}\n{help}");
    }
}

#[test]
fn the_table_in_the_readme_has_a_row_for_every_setting_with_its_default() {
    let readme = include_str!("../../README.md");
    let settings = super::settings().into_iter();
    // Said in the paragraph below the table.
    for (name, default) in settings.filter(|(name, _)| !name.ends_with("_SECRET_FILE")) {
        let default = default.unwrap_or("–".into());
        let row = format!("| `{name}` | {default} |");
        assert!(readme.contains(&row), "README.md lacks the row {row}");
    }
}
