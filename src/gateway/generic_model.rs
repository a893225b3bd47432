//! Which generic model of the child stands for a real one.
//!
//! The child's configuration cannot change while it runs (that aborts every session), so it knows a few
//! generic models by context window, and the gateway puts the real name into each call. The window decides
//! when OpenCode compacts a conversation: one too small compacts early, one too large meets the provider's
//! "context length exceeded", after which OpenCode compacts too. Pure.

/// A model in the child's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GenericModel {
    pub(crate) id: &'static str,
    /// Tokens the model can take in.
    pub(crate) context: u32,
    /// Tokens OpenCode leaves free for the answer, and asks for when the session sets no limit.
    pub(crate) output: u32,
}

/// Smallest first.
pub(crate) const GENERIC_MODELS: [GenericModel; 4] = [
    GenericModel {
        id: "auto-32k",
        context: 32_768,
        output: 4_096,
    },
    GenericModel {
        id: "auto-128k",
        context: 128_000,
        output: 16_384,
    },
    GenericModel {
        id: "auto-200k",
        context: 200_000,
        output: 32_000,
    },
    GenericModel {
        id: "auto-1m",
        context: 1_000_000,
        output: 32_000,
    },
];

/// The context windows of known models, by a part of their names; the first match counts.
const WINDOWS: &[(&str, u32)] = &[
    ("gpt-4.1", 1_000_000),
    ("gpt-4o", 128_000),
    ("gpt-4-turbo", 128_000),
    ("gpt-4", 32_768),
    ("gpt-3.5", 32_768),
    ("gpt-5", 200_000),
    ("gpt-oss", 128_000),
    ("claude", 200_000),
    ("gemini", 1_000_000),
    ("gemma", 128_000),
    ("grok-4-fast", 1_000_000),
    ("grok-4", 200_000),
    ("kimi-k2", 200_000),
    ("qwen3-coder", 200_000),
    ("glm-4", 128_000),
];

/// Of a model that is not known.
const DEFAULT_WINDOW: u32 = 128_000;

// === impl GenericModel ===

impl GenericModel {
    /// The largest one that fits `window` or, without one, what the name of `model` says.
    ///
    /// A model that is `local` usually runs with a small window, whatever it could do.
    pub(super) fn standing_for(model: &str, window: Option<u32>, local: bool) -> Self {
        let window = window.unwrap_or_else(|| known_window(model, local));
        GENERIC_MODELS
            .into_iter()
            .rev()
            .find(|generic| generic.context <= window)
            .unwrap_or(GENERIC_MODELS[0])
    }
}

fn known_window(model: &str, local: bool) -> u32 {
    if local {
        return GENERIC_MODELS[0].context;
    }
    let name = model.to_ascii_lowercase();
    if crate::provider::is_reasoning_model(&name) {
        return 200_000;
    }
    WINDOWS
        .iter()
        .find(|(piece, _)| name.contains(piece))
        .map_or(DEFAULT_WINDOW, |&(_, window)| window)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_window_wins_and_is_never_exceeded() {
        for (window, id) in [
            (1, "auto-32k"),
            (32_768, "auto-32k"),
            (64_000, "auto-32k"),
            (128_000, "auto-128k"),
        ] {
            assert_eq!(
                GenericModel::standing_for("gemini-2.5-pro", Some(window), false).id,
                id,
                "{window}"
            );
        }
        for (window, id) in [
            (199_999, "auto-128k"),
            (200_000, "auto-200k"),
            (2_000_000, "auto-1m"),
        ] {
            assert_eq!(
                GenericModel::standing_for("gpt-4", Some(window), true).id,
                id,
                "{window}"
            );
        }
    }

    #[test]
    fn the_name_decides_otherwise() {
        for (model, id) in [
            ("gpt-4o-mini", "auto-128k"),
            ("gpt-4.1-nano", "auto-1m"),
            ("gpt-4-0613", "auto-32k"),
            ("o3-mini", "auto-200k"),
            ("gpt-5.1", "auto-200k"),
            ("anthropic/claude-sonnet-4", "auto-200k"),
            ("Gemini-2.5-Flash", "auto-1m"),
            ("whatever-7b", "auto-128k"),
        ] {
            assert_eq!(
                GenericModel::standing_for(model, None, false).id,
                id,
                "{model}"
            );
        }
        assert_eq!(
            GenericModel::standing_for("gpt-oss:20b", None, true).id,
            "auto-32k"
        );
    }
}
