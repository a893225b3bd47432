//! `opencode-sidecar healthcheck`: a container's HEALTHCHECK without curl.

use std::time::Duration;

use crate::config::Healthcheck;
use crate::loopback::{self, Question};

const DEADLINE: Duration = Duration::from_secs(2);

/// Asks the instance on this host. `Err` says what is wrong.
pub fn run(check: &Healthcheck) -> Result<(), String> {
    let path = if check.ready { "/ready" } else { "/healthz" };
    let question = Question {
        line: &format!("GET {path}"),
        bearer: None,
        within: DEADLINE,
    };
    let answer =
        loopback::ask(check.host, check.port, question).map_err(|silence| silence.to_string())?;
    if answer.status == 200 {
        return Ok(());
    }
    Err(format!(
        "{path} on port {} says {}",
        check.port, answer.body
    ))
}
