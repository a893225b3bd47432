//! What a setting is about.

/// The heading a setting stands under in `--help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    Server,
    Sessions,
    Models,
    Engine,
    Sandbox,
    Logs,
}

// === impl Group ===

impl Group {
    pub(crate) const fn heading(self) -> &'static str {
        match self {
            Self::Server => "Server",
            Self::Sessions => "Sessions",
            Self::Models => "Models",
            Self::Engine => "Engine (the OpenCode child)",
            Self::Sandbox => "Sandbox (what the agent may reach)",
            Self::Logs => "Logs",
        }
    }
}
