//! Whether a provider can be reached: one call to its address, without a key, the way that calls with a key go.

use std::time::{Duration, Instant};

use reqwest::header::DATE;
use reqwest::{Method, Request, Url};

use super::config::Config;
use super::upstream::Providers;
use crate::socket_owner::Finder;

/// A provider that takes longer would let turns fail.
const DEADLINE: Duration = Duration::from_secs(15);

/// What answered.
#[derive(Debug)]
pub(crate) struct Reached {
    pub(crate) status: u16,
    pub(crate) took: Duration,
    /// The time of day there, as the answer says it.
    pub(crate) date: Option<String>,
}

/// Asks at `base`. An answer of any kind will do: without a key it is a refusal. The error says, without
/// addresses that may hold a password, what is in the way.
pub(crate) async fn reach(config: &Config, base: &Url) -> Result<Reached, String> {
    let providers = Providers::new(config.extra_ca_file.as_ref(), &config.proxy, Finder::new())
        .map_err(|error| error.to_string())?;
    let mut url = base.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().push("models");
    }
    let began = Instant::now();
    let call = providers.execute(Request::new(Method::GET, url));
    let answer = tokio::time::timeout(DEADLINE, call)
        .await
        .map_err(|_| format!("no answer within {} s", DEADLINE.as_secs()))?
        .map_err(|error| error.to_string())?;
    let date = answer
        .headers()
        .get(DATE)
        .and_then(|date| date.to_str().ok());
    Ok(Reached {
        status: answer.status().as_u16(),
        took: began.elapsed(),
        date: date.map(str::to_owned),
    })
}
