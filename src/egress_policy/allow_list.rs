//! A list of hosts that may be reached.

use std::net::IpAddr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::entry::Entry;
use super::host::Host;

/// A list that is longer is no list that a person keeps.
const MOST_ENTRIES: usize = 500;

/// What stands in `EGRESS_ALLOW`, or in a session's `egress_allow`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AllowList(Vec<Entry>);

/// Words for the hosts that one tool needs.
const PRESETS: &[(&str, &[&str])] = &[
    (
        "crates",
        &[
            "crates.io:443",
            "index.crates.io:443",
            "static.crates.io:443",
        ],
    ),
    (
        "debian",
        &[
            "deb.debian.org",
            "security.debian.org",
            "snapshot.debian.org",
        ],
    ),
    (
        "github",
        &[
            "github.com:443",
            "api.github.com:443",
            "codeload.github.com:443",
            "*.githubusercontent.com:443",
        ],
    ),
    ("npm", &["registry.npmjs.org:443"]),
    ("pypi", &["pypi.org:443", "files.pythonhosted.org:443"]),
];

// === impl AllowList ===

impl AllowList {
    /// The error is a sentence about the first entry that is none.
    pub(crate) fn parse<'a>(entries: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let mut list = Vec::new();
        for text in entries {
            if let Some((_, preset)) = PRESETS.iter().find(|(name, _)| *name == text) {
                list.extend(preset.iter().filter_map(|text| Entry::parse(text)));
            } else {
                list.push(
                    Entry::parse(text)
                        .ok_or_else(|| format!("{text:?} is no entry; {}", Self::ACCEPTS))?,
                );
            }
        }
        if list.len() > MOST_ENTRIES {
            return Err(format!("has more than {MOST_ENTRIES} entries"));
        }
        Ok(Self(list))
    }

    /// What an entry may be.
    pub(crate) const ACCEPTS: &str = "an entry is a host such as pypi.org, *.npmjs.org or pypi.org:443 (without a port: 80 and 443), an address or network such as 10.0.0.0/8:8080, * for every public host, or one of crates, debian, github, npm, pypi";

    /// The text of a setting.
    pub(crate) fn parse_setting(text: &str) -> Result<Self, &'static str> {
        let words = text
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty());
        Self::parse(words).map_err(|_| {
            "hosts separated by commas, such as npm, pypi.org:443, *.example.com, 10.0.0.0/8:8080 or * (presets: crates, debian, github, npm, pypi)"
        })
    }

    /// Whether a host may be asked for by this name or address.
    pub(crate) fn permits(&self, host: &Host, port: u16) -> bool {
        self.0.iter().any(|entry| entry.permits(host, port))
    }

    /// Whether this address, which is not public, may be connected to.
    pub(crate) fn names_address(&self, ip: IpAddr, port: u16) -> bool {
        self.0.iter().any(|entry| entry.names_address(ip, port))
    }

    /// Whether an entry is this address and this port and nothing else.
    pub(crate) fn has_exactly(&self, ip: IpAddr, port: u16) -> bool {
        self.0.iter().any(|entry| entry.is_exactly(ip, port))
    }

    /// The first entry that no entry of `other` covers.
    pub(super) fn first_beyond(&self, other: &Self) -> Option<String> {
        let covered = |entry: &&Entry| other.0.iter().any(|wider| wider.covers(entry));
        let beyond = self.0.iter().find(|entry| !covered(entry));
        beyond.map(ToString::to_string)
    }

    pub(crate) fn entries(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }
}

impl Serialize for AllowList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.entries().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for AllowList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entries = Vec::<String>::deserialize(deserializer)?;
        Self::parse(entries.iter().map(String::as_str)).map_err(D::Error::custom)
    }
}
