//! `opencode-sidecar drain`: `POST /drain` for a container's preStop hook, without curl.
//!
//! Where no secret is set, the instance looks whose process asks, and refuses whom it cannot look at. So this
//! process opens itself to a look then: its own file may be unreadable, which closes it, and it has no secret.
//!
//! It is done when the turns have ended or the instance has left. It never starts anything again.

use std::time::{Duration, Instant};

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use crate::config::Drain;
use crate::loopback::{self, ProbeError, Question};

/// Past `DRAIN_TIMEOUT` the instance is gone; this is for a machine that is slow.
const GRACE: Duration = Duration::from_secs(5);

/// How long a port may still be open after its connections were closed: a process that ends closes
/// one after the other.
const LEAVING: Duration = Duration::from_secs(1);

/// Between two looks at that port.
const PAUSE: Duration = Duration::from_millis(20);

/// Asks the instance on this host to drain, and waits. `Err` says what is wrong.
pub fn run(drain: &Drain) -> Result<(), String> {
    if drain.token.is_none() {
        // Where that fails the answer says what to do.
        set_dumpable_behavior(DumpableBehavior::Dumpable).ok();
    }
    let question = Question {
        line: "POST /drain",
        bearer: drain.token.as_ref().map(crate::secret::Secret::expose),
        within: drain.timeout + GRACE,
    };
    match loopback::ask(drain.host, drain.port, question) {
        Ok(answer) if answer.status == 200 => Ok(()),
        Ok(answer) if answer.status == 401 => Err(format!(
            "port {} does not accept the token: set OPENCODE_SHARED_SECRET, or OPENCODE_SHARED_SECRET_FILE, as the sidecar has it",
            drain.port
        )),
        Ok(answer) => Err(format!(
            "/drain on port {} says {}",
            drain.port, answer.body
        )),
        Err(ProbeError::Closed(_)) if left(drain) => Ok(()),
        Err(silence) => Err(silence.to_string()),
    }
}

/// Whether the connection was closed because the process has left. It may also have had too many.
fn left(drain: &Drain) -> bool {
    let deadline = Instant::now() + LEAVING;
    while loopback::listens(drain.host, drain.port) {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(PAUSE);
    }
    true
}
