//! `openapi`: the description of the API of this version, without a server.

use crate::api::openapi_text;
use crate::cli::exit::{Exit, Outcome};
use crate::cli::output::write;

const EXAMPLES: &str = "Examples:
  opencode-sidecar openapi > openapi.json
  opencode-sidecar openapi | jq '.paths | keys'";

/// Print the OpenAPI description of the API
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct OpenapiArgs {}

pub(in crate::cli) fn run() -> Outcome {
    write(&format!("{}\n", openapi_text()))?;
    Ok(Exit::Done)
}
