//! What OpenCode starts as its shell: hands the command to the runner of the session and ends as it ends.
//!
//! It runs in the child's domain, the command in that of the session. OpenCode signals this process when
//! a command has to end; its end closes the connection, and by that the runner knows.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use super::message::{
    Request, START_SOCKET, connect_at, receive_code, session_socket, valid_session,
};

/// The file name of the link by which OpenCode starts [`run`]. OpenCode knows a shell by its file
/// name: by this one it passes what bash understands, and tells the model that it has bash.
pub(crate) const SHELL_LINK: &str = "bash";

/// The variable that our plugin gives to every command: OpenCode's id of the session.
const SESSION: &str = "SIDECAR_SESSION";

/// The runner of a command that has no session, such as one that is typed into OpenCode's own API.
const NO_SESSION: &str = "none";

/// How long the sidecar may take to start a runner.
const START: Duration = Duration::from_secs(10);

/// What a shell says when a command could not be started.
const CANNOT_RUN: u8 = 126;

/// What a shell says of a command that was killed.
const KILLED: u8 = 137;

/// Whether this process was started by the link that OpenCode has as its shell.
pub fn is_shell(program: &OsStr) -> bool {
    Path::new(program).file_name() == Some(OsStr::new(SHELL_LINK))
}

/// Runs one command: `program` is the link's path, `arguments` are bash's.
pub fn run(
    program: &OsStr,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
) -> ExitCode {
    match forward(Path::new(program), arguments, environment) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            drop(writeln!(
                io::stderr(),
                "tool-shell: the command was not started: {error}"
            ));
            ExitCode::from(CANNOT_RUN)
        }
    }
}

fn forward(
    program: &Path,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
) -> io::Result<u8> {
    let folder = program
        .parent()
        .ok_or_else(|| io::Error::other("it was not called by its path"))?;
    let session = environment
        .iter()
        .find(|(name, _)| name == SESSION)
        .and_then(|(_, value)| value.to_str())
        .filter(|session| valid_session(session))
        .unwrap_or(NO_SESSION);
    let runner = connect(folder, session)?;
    let request = Request {
        directory: directory(),
        arguments,
        environment,
    };
    request.send(&runner)?;
    Ok(receive_code(&runner).unwrap_or(KILLED))
}

/// A directory that was removed while we were in it has no name; the command then begins at the root.
fn directory() -> PathBuf {
    std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"))
}

fn connect(folder: &Path, session: &str) -> io::Result<UnixStream> {
    let name = session_socket(session);
    if let Ok(runner) = connect_at(folder, &name) {
        return Ok(runner);
    }
    let mut sidecar = connect_at(folder, START_SOCKET)?;
    sidecar.set_read_timeout(Some(START))?;
    writeln!(sidecar, "{session}")?;
    let mut answer = String::new();
    sidecar.read_to_string(&mut answer)?;
    if answer.is_empty() {
        connect_at(folder, &name)
    } else {
        Err(io::Error::other(answer))
    }
}
