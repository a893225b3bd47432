//! The settings of egress.

use crate::egress_policy::{AllowList, InstanceEgress, Mode};
use crate::setting;

/// The comments are the words of `--help`.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Egress (what the agent's tools may reach)")]
#[group(skip)]
pub(crate) struct Config {
    /// What the agent's tools may reach of the network: open (as the pod has it), list (`EGRESS_ALLOW`, through a proxy
    /// of the sidecar) or none
    #[arg(id = "egress", long = "egress", default_value = "open", value_parser = setting::word(
        [("open", Mode::Open), ("list", Mode::List), ("none", Mode::None)], "open, list or none"))]
    pub(crate) mode: Mode,
    /// Hosts that the agent's tools may reach with `EGRESS=list`, such as npm, pypi.org:443, *.example.com,
    /// 10.0.0.0/8:8080 or *; presets: crates, debian, github, npm, pypi; none: no host
    #[arg(long = "egress-allow", value_parser = AllowList::parse_setting)]
    pub(crate) egress_allow: Option<AllowList>,
}

// === impl Config ===

impl Config {
    pub(crate) fn policy(self) -> InstanceEgress {
        InstanceEgress {
            mode: self.mode,
            list: self.egress_allow.unwrap_or_default(),
        }
    }
}
