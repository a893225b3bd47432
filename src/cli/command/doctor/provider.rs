//! The way to the providers: a real call to each address, without a key, through proxies and certificates as
//! the sidecar's own calls go.

use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use reqwest::Url;

use super::report::{Check, Report};
use crate::cli::exit::Problem;
use crate::cli::layout::duration;
use crate::gateway::{self, Reached};
use crate::provider::{PROVIDERS, authority};

/// Called where none is named.
const USUAL: [&str; 2] = ["openai", "anthropic"];

/// Past this, certificates and tokens are taken for outdated.
const MAX_SKEW: Duration = Duration::from_mins(1);

/// Which addresses are called, and whether each of them has to answer.
#[derive(Debug)]
pub(super) struct Addresses {
    bases: Vec<Url>,
    each: bool,
}

/// Those of the named providers and these; without any, of those that most people use.
pub(super) fn addresses(named: &[String], endpoints: &[Url]) -> Result<Addresses, Problem> {
    let each = !named.is_empty() || !endpoints.is_empty();
    let mut bases = endpoints.to_vec();
    let named: Vec<&str> = named.iter().map(String::as_str).collect();
    for name in if each { named } else { USUAL.to_vec() } {
        bases.push(base(name)?);
    }
    Ok(Addresses { bases, each })
}

fn base(name: &str) -> Result<Url, Problem> {
    let Some(provider) = PROVIDERS.iter().find(|provider| provider.name == name) else {
        let names: Vec<&str> = PROVIDERS.iter().map(|provider| provider.name).collect();
        let names = names.join(", ");
        return Err(Problem::usage(format!(
            "there is no provider {name}; there are {names}"
        )));
    };
    let base = provider.default_base.and_then(|base| Url::parse(base).ok());
    base.ok_or_else(|| {
        Problem::usage(format!(
            "the provider {name} has no address of its own; give --endpoint"
        ))
    })
}

pub(super) async fn check(config: &gateway::Config, addresses: &Addresses, report: &mut Report) {
    let calls = addresses
        .bases
        .iter()
        .map(|base| gateway::reach(config, base));
    let answers = join_all(calls).await;
    let reached: Vec<&Reached> = answers
        .iter()
        .filter_map(|answer| answer.as_ref().ok())
        .collect();
    // Who works with one provider need not reach the other.
    let enough = !addresses.each && !reached.is_empty();
    for (base, answer) in addresses.bases.iter().zip(&answers) {
        report.push(one(&authority(base), answer, enough));
    }
    report.extend(reached.iter().find_map(|reached| skew(reached)));
}

fn one(authority: &str, answer: &Result<Reached, String>, enough: bool) -> Check {
    match answer {
        Ok(Reached { status: 407, .. }) => Check::bad(
            "provider",
            format!("the proxy on the way to {authority} wants a password"),
            "put it into HTTPS_PROXY",
        ),
        Ok(Reached { status, took, .. }) if *status < 500 => Check::good(
            "provider",
            format!(
                "{authority} answers {status} to a call without a key, in {}",
                duration(*took)
            ),
        ),
        Ok(Reached { status, .. }) => Check::warning(
            "provider",
            format!("{authority} answers {status}"),
            "it is down, or a proxy answers in its place; try again later",
        ),
        Err(reason) if enough => {
            Check::warning("provider", reason, "no matter, unless you work with it")
        }
        Err(reason) => Check::bad(
            "provider",
            reason,
            "let this host call it (DNS, firewall, network policy), or set HTTPS_PROXY and EXTRA_CA_FILE",
        ),
    }
}

/// The clock, compared with that of whoever answered.
fn skew(reached: &Reached) -> Option<Check> {
    let theirs = httpdate::parse_http_date(reached.date.as_deref()?).ok()?;
    let ours = SystemTime::now();
    let apart = ours
        .duration_since(theirs)
        .or_else(|_| theirs.duration_since(ours))
        .unwrap_or_default();
    Some(if apart > MAX_SKEW {
        Check::bad(
            "clock",
            format!("it differs from the provider's by {}", duration(apart)),
            "set it: with a wrong one certificates are not accepted",
        )
    } else {
        Check::good("clock", "agrees with the provider's")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_an_hour_off_is_found() {
        let at = |date: SystemTime| Reached {
            status: 401,
            took: Duration::ZERO,
            date: Some(httpdate::fmt_http_date(date)),
        };
        let hour = Duration::from_hours(1);
        let text = |date| skew(&at(date)).unwrap().text;
        assert_eq!(text(SystemTime::now()), "agrees with the provider's");
        assert!(
            text(SystemTime::now() - hour).starts_with("it differs from the provider's by 1 h")
        );
        assert!(
            text(SystemTime::now() + 2 * hour)
                .starts_with("it differs from the provider's by 1 h 59")
        );
    }
}
