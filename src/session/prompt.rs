//! What the agent is told: texts and files.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The parts of a prompt, in their order. None: the agent is to go on where it was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Prompt {
    pub(crate) parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Part {
    Text {
        text: String,
    },
    /// A file of the workspace. The path is absolute and was inside when the prompt was taken.
    WorkspaceFile {
        path: PathBuf,
        mime: String,
    },
    /// A file that came with the prompt, as a `data:` address.
    InlineFile {
        url: String,
        mime: String,
        filename: Option<String>,
    },
}

/// As much of a prompt's text as events and lists show, in characters.
const SHOWN: usize = 1000;

// === impl Prompt ===

impl Prompt {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self {
            parts: vec![Part::Text { text: text.into() }],
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Its texts, without its files.
    pub(crate) fn words(&self) -> String {
        let texts = self.parts.iter().filter_map(|part| match part {
            Part::Text { text } => Some(&**text),
            Part::WorkspaceFile { .. } | Part::InlineFile { .. } => None,
        });
        texts.collect::<Vec<_>>().join("\n\n")
    }

    /// The beginning of its texts.
    pub(crate) fn shown(&self) -> String {
        let words = self.words();
        let mut characters = words.chars();
        let mut shown: String = characters.by_ref().take(SHOWN).collect();
        if characters.next().is_some() {
            shown.push('…');
        }
        shown
    }
}

impl From<&str> for Prompt {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}
