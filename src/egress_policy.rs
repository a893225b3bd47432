//! Which hosts the agent's tools may reach: lists of hosts, kinds of addresses, and what a session says of them. Pure.

mod address;
mod allow_list;
mod entry;
mod host;

use serde::{Deserialize, Serialize};

pub(crate) use self::address::{effective, is_public};
pub(crate) use self::allow_list::AllowList;
pub(crate) use self::host::Host;

/// `EGRESS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = EgressMode)]
pub(crate) enum Mode {
    /// The network is as the pod has it, and there is no proxy.
    #[default]
    Open,
    /// What stands in the list.
    List,
    /// Nothing.
    None,
}

/// What the instance allows to all of its sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct InstanceEgress {
    pub(crate) mode: Mode,
    pub(crate) list: AllowList,
}

/// What a session may reach of what the instance allows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SessionEgress {
    /// All of it.
    #[default]
    AsInstance,
    List(AllowList),
    None,
}

/// `model_config.egress` as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = EgressWord)]
pub(crate) enum Word {
    Open,
    List,
    None,
}

/// Why a session cannot have what it asks for. The field is the one to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct Wider {
    pub(crate) field: &'static str,
    pub(crate) reason: String,
}

// === impl InstanceEgress ===

impl InstanceEgress {
    /// What a session gets that asks for this; `None` of both changes nothing. Only what is narrower is accepted.
    pub(crate) fn narrow(
        &self,
        word: Option<Word>,
        allow: Option<&[String]>,
    ) -> Result<Option<SessionEgress>, Wider> {
        let refuse = |field, reason: &str| {
            Err(Wider {
                field,
                reason: reason.to_owned(),
            })
        };
        match (self.mode, word, allow) {
            (_, None, None) => Ok(None),
            (_, Some(Word::Open | Word::None), Some(_)) => refuse(
                "egress_allow",
                "goes with egress \"list\" only; leave one of them out",
            ),
            (Mode::Open, Some(Word::Open), None) | (Mode::List, Some(Word::List), None) => {
                Ok(Some(SessionEgress::AsInstance))
            }
            (_, Some(Word::Open), None) => refuse(
                "egress",
                "\"open\" is wider than EGRESS of this sidecar; a session can only be narrower",
            ),
            (Mode::Open, ..) => refuse(
                "egress",
                "needs the proxy, which a sidecar with EGRESS=open does not run; start it with EGRESS=list (and EGRESS_ALLOW=* for every public host)",
            ),
            (_, Some(Word::None), None) => Ok(Some(SessionEgress::None)),
            (Mode::None, ..) => refuse(
                "egress",
                "\"list\" is wider than EGRESS=none of this sidecar; a session can only be narrower",
            ),
            (Mode::List, _, Some(entries)) => self.sublist(entries).map(Some),
        }
    }

    fn sublist(&self, entries: &[String]) -> Result<SessionEgress, Wider> {
        let wider = |reason: String| Wider {
            field: "egress_allow",
            reason,
        };
        let list = AllowList::parse(entries.iter().map(String::as_str)).map_err(wider)?;
        match list.first_beyond(&self.list) {
            None => Ok(SessionEgress::List(list)),
            Some(entry) => Err(wider(format!(
                "{entry:?} is not within EGRESS_ALLOW of this sidecar; a session can only be narrower"
            ))),
        }
    }

    /// Whether `session` may ask for this host at all. Decided before a name is looked up: a name that is not listed
    /// is not told to any name server.
    pub(crate) fn permits(&self, session: &SessionEgress, host: &Host, port: u16) -> bool {
        self.mode == Mode::List
            && self.list.permits(host, port)
            && session
                .list(&self.list)
                .is_some_and(|list| list.permits(host, port))
    }
}

// === impl SessionEgress ===

impl SessionEgress {
    /// The list of the session, if the instance has this one; none if it may reach nothing.
    pub(crate) fn list<'a>(&'a self, instance: &'a AllowList) -> Option<&'a AllowList> {
        match self {
            Self::AsInstance => Some(instance),
            Self::List(list) => Some(list),
            Self::None => None,
        }
    }
}

#[cfg(test)]
mod tests;
