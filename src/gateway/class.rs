//! Which generic model of the child stands for a real one.
//!
//! The child's configuration cannot change while it runs (that aborts every session), so it knows a few
//! classes by context window and the gateway puts the real name in. The class decides when OpenCode
//! compacts a conversation: a class too small compacts early, one too large meets the provider's
//! "context length exceeded", which OpenCode heals by compacting. Pure.

/// A model class of the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Class {
    /// The model id in the child's configuration.
    pub(crate) id: &'static str,
    /// Tokens the model can take in.
    pub(crate) context: u32,
    /// Tokens OpenCode leaves free for the answer, and asks for when the session sets no limit.
    pub(crate) output: u32,
}

/// Smallest first.
pub(crate) const CLASSES: [Class; 4] = [
    Class {
        id: "auto-32k",
        context: 32_768,
        output: 4_096,
    },
    Class {
        id: "auto-128k",
        context: 128_000,
        output: 16_384,
    },
    Class {
        id: "auto-200k",
        context: 200_000,
        output: 32_000,
    },
    Class {
        id: "auto-1m",
        context: 1_000_000,
        output: 32_000,
    },
];

/// What is known of the windows of models, by a piece of their names; the first match counts.
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

/// What an unknown model is taken for.
const DEFAULT_WINDOW: u32 = 128_000;

/// The largest class that fits `window` or, without one, what the model's name says.
///
/// `small_by_default`: a server on this machine usually runs with a small window whatever the model could do.
pub(super) fn choose(window: Option<u32>, model: &str, small_by_default: bool) -> Class {
    let window = window.unwrap_or_else(|| known_window(model, small_by_default));
    CLASSES
        .into_iter()
        .rev()
        .find(|class| class.context <= window)
        .unwrap_or(CLASSES[0])
}

fn known_window(model: &str, small_by_default: bool) -> u32 {
    if small_by_default {
        return CLASSES[0].context;
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
                choose(Some(window), "gemini-2.5-pro", false).id,
                id,
                "{window}"
            );
        }
        for (window, id) in [
            (199_999, "auto-128k"),
            (200_000, "auto-200k"),
            (2_000_000, "auto-1m"),
        ] {
            assert_eq!(choose(Some(window), "gpt-4", true).id, id, "{window}");
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
            assert_eq!(choose(None, model, false).id, id, "{model}");
        }
        assert_eq!(choose(None, "gpt-oss:20b", true).id, "auto-32k");
    }
}
