//! Arguments in, exit code out: 0 well, 1 failed, 64 told something that cannot be (`EX_USAGE`).

use std::process::ExitCode;
use std::time::Duration;

use opencode_sidecar::config::{self, Command};
use opencode_sidecar::{
    App, AppError, Config, GIT, OomScore, RUNNER, SHIM, cli, drain, git, harden, healthcheck,
    is_shell, raise_open_file_limit, run_commands, run_shell, shim, telemetry,
};

const USAGE: u8 = 64;

/// What blocking work may take that hangs in the kernel when we want to leave.
const STUCK: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap_or_default();
    if is_shell(&program) {
        return run_shell(&program, arguments.collect(), config::variables());
    }
    let first = arguments.next().unwrap_or_default();
    if first == SHIM {
        return shim(arguments);
    }
    if first == RUNNER {
        return run_commands(arguments);
    }
    if first == GIT {
        return git(arguments);
    }
    let local = first == cli::LOCAL_SERVER;
    if local && !cli::dies_with_parent(arguments.next()) {
        return ExitCode::FAILURE;
    }
    if cli::wants(&first) {
        // The environment may hold a token.
        drop(harden());
        return cli::run(std::iter::once(first).chain(arguments));
    }
    // Before `harden`, after which it cannot be had; the other commands start no child.
    let oom_score = if first == "healthcheck" || first == "drain" {
        None
    } else {
        OomScore::open()
    };
    // Before anything else, and for every command: the environment holds the shared secret from the start.
    let hardened = harden();
    let command = if local {
        config::from_variables()
    } else {
        config::from_process()
    };
    match command {
        Ok(Command::Serve(config)) => serve(*config, oom_score, hardened),
        Ok(Command::Healthcheck(check)) => ended(healthcheck::run(&check)),
        Ok(Command::Drain(drain)) => ended(drain::run(&drain)),
        Ok(Command::Print(text)) => print(&text),
        Err(error) => fail(&error, USAGE),
    }
}

fn ended(outcome: Result<(), String>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => fail(&problem, 1),
    }
}

fn serve(config: Config, oom_score: Option<OomScore>, hardened: std::io::Result<()>) -> ExitCode {
    let log = match telemetry::init(config.log()) {
        Ok(log) => log,
        Err(error) => return fail(&error, 1),
    };
    if let Err(error) = hardened {
        tracing::warn!(%error, "this process cannot be closed to inspection");
    }
    raise_open_file_limit();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, 1),
    };
    let outcome = runtime.block_on(async { App::bind(config)?.run(oom_score).await });
    // A disk that hangs holds a thread in the kernel; it must not hold us.
    runtime.shutdown_timeout(STUCK);
    let written = log.flush();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // Nobody reads, and more words would hang.
        Err(_) if !written => ExitCode::FAILURE,
        Err(error @ AppError::Usage(_)) => fail(&error, USAGE),
        Err(error) => fail(&error, 1),
    }
}

#[expect(
    clippy::print_stderr,
    reason = "one line for whoever started us; there may be no log yet"
)]
fn fail(problem: &dyn std::fmt::Display, code: u8) -> ExitCode {
    eprintln!("opencode-sidecar: {problem}");
    ExitCode::from(code)
}

#[expect(clippy::print_stdout, reason = "this is what was asked for")]
fn print(text: &str) -> ExitCode {
    print!("{text}");
    ExitCode::SUCCESS
}
