//! What was reached, in words and in figures. Pure.

use super::config::{Config, Mode};
use super::kernel::{KNOWS_TCP, Kernel};

/// How much of the sandbox holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// Everything docs/SECURITY.md claims for it.
    Full,
    /// Some of it; the reason says what is missing.
    Partial,
    /// No domain and no filter.
    Off,
}

/// The sandbox as `/engine/status`, the metrics and the log show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) mode: Mode,
    pub(crate) level: Level,
    /// The version of Landlock in use; `None` without it.
    pub(crate) landlock_abi: Option<u32>,
    pub(crate) seccomp: bool,
    /// Why the level is not full.
    pub(crate) reason: Option<String>,
}

// === impl Level ===

impl Level {
    pub(crate) const ALL: [Self; 3] = [Self::Full, Self::Partial, Self::Off];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Partial => "partial",
            Self::Off => "off",
        }
    }
}

// === impl Report ===

impl Report {
    /// `overlap`: why the places cannot be kept apart, if so.
    pub(super) fn new(config: &Config, kernel: &Kernel, overlap: Option<String>) -> Self {
        if config.mode == Mode::Off {
            return Self {
                mode: config.mode,
                level: Level::Off,
                landlock_abi: None,
                seccomp: false,
                reason: Some("SANDBOX=off".into()),
            };
        }
        let uncovered = config.proxy_port.filter(|_| kernel.landlock < KNOWS_TCP);
        let uncovered = uncovered.map(|_| {
            "this Landlock does not cover connections (ABI 4), so commands can go past EGRESS"
                .into()
        });
        let reasons: Vec<String> = [kernel.reason.clone(), overlap, uncovered]
            .into_iter()
            .flatten()
            .collect();
        let level = if kernel.landlock == 0 && !kernel.seccomp {
            Level::Off
        } else if reasons.is_empty() {
            Level::Full
        } else {
            Level::Partial
        };
        Self {
            mode: config.mode,
            level,
            landlock_abi: (kernel.landlock > 0).then_some(kernel.landlock_has),
            seccomp: kernel.seccomp,
            reason: (!reasons.is_empty()).then(|| reasons.join("; ")),
        }
    }

    /// What this kernel can do for these settings, wherever the files lie.
    pub(crate) fn of_kernel(config: &Config) -> Self {
        Self::new(config, &Kernel::ask(), None)
    }

    /// Why no turn may run, if so.
    pub(crate) fn refusal(&self) -> Option<String> {
        let refused = self.mode == Mode::Required && self.level != Level::Full;
        refused.then(|| {
            let reason = self.reason.as_deref().unwrap_or("the kernel cannot do it");
            format!("SANDBOX=required cannot be met here: {reason}")
        })
    }

    /// `full (Landlock ABI 7, seccomp)`.
    pub(crate) fn words(&self) -> String {
        let parts: Vec<String> = [
            self.landlock_abi.map(|abi| format!("Landlock ABI {abi}")),
            self.seccomp.then(|| "seccomp".to_owned()),
        ]
        .into_iter()
        .flatten()
        .collect();
        let level = self.level.as_str();
        if parts.is_empty() {
            level.to_owned()
        } else {
            format!("{level} ({})", parts.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(mode: Mode, landlock: u32, seccomp: bool, reason: Option<&str>) -> Report {
        let kernel = Kernel {
            landlock,
            landlock_has: landlock,
            seccomp,
            reason: reason.map(str::to_owned),
        };
        let config = Config {
            mode,
            ..Config::off()
        };
        Report::new(&config, &kernel, None)
    }

    #[test]
    fn the_level_says_what_was_reached() {
        let full = report(Mode::Required, 7, true, None);
        assert_eq!(full.words(), "full (Landlock ABI 7, seccomp)");
        assert_eq!(full.refusal(), None);
        let partial = report(Mode::BestEffort, 5, true, Some("no signals"));
        assert_eq!(partial.words(), "partial (Landlock ABI 5, seccomp)");
        assert_eq!(partial.refusal(), None);
        let none = report(Mode::BestEffort, 0, false, Some("no Landlock"));
        assert_eq!(none.words(), "off");
        let off = report(Mode::Off, 7, true, None);
        assert_eq!((off.words().as_str(), off.landlock_abi), ("off", None));
    }

    #[test]
    fn a_kernel_that_does_not_cover_connections_is_told_of_where_that_matters() {
        let kernel = Kernel {
            landlock: 3,
            landlock_has: 3,
            seccomp: true,
            reason: None,
        };
        let config = |proxy_port| Config {
            mode: Mode::Required,
            proxy_port,
            ..Config::off()
        };
        let open = Report::new(&config(None), &kernel, None);
        assert_eq!(open.level, Level::Full);
        let decided = Report::new(&config(Some(1)), &kernel, None);
        assert!(decided.refusal().unwrap().contains("EGRESS"));
    }

    #[test]
    fn required_is_refused_with_the_reason_below_full() {
        let refused = report(Mode::Required, 0, true, Some("this kernel has no Landlock"));
        assert_eq!(
            refused.refusal().unwrap(),
            "SANDBOX=required cannot be met here: this kernel has no Landlock"
        );
    }
}
