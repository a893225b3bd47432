//! What this kernel can do, asked by doing it: in a thread that is thrown away, because a domain and a
//! filter are of one thread and cannot be taken off.

use landlock::{
    ABI, Access as _, AccessFs, LandlockStatus, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _,
    path_beneath_rules,
};

use super::seccomp;

/// The newest version whose rights are used here. A newer kernel is asked for no more, because what
/// was never tried may break what people do.
const NEWEST: u32 = 7;

/// The oldest version that is used. The first one forbids every rename from one folder to another, which
/// git and npm cannot work without.
const OLDEST: u32 = 2;

/// The first version that knows of TCP.
pub(super) const KNOWS_TCP: u32 = 4;

/// What the kernel offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kernel {
    /// The version of Landlock that is used here; 0 for none.
    pub(super) landlock: u32,
    /// The version that the kernel has; 0 for none.
    pub(super) landlock_has: u32,
    pub(super) seccomp: bool,
    /// Why something is missing.
    pub(super) reason: Option<String>,
}

// === impl Kernel ===

impl Kernel {
    /// Asks. Takes a millisecond.
    pub(crate) fn ask() -> Self {
        let (landlock, seccomp) = std::thread::scope(|scope| {
            let landlock = scope.spawn(try_landlock);
            let seccomp = scope.spawn(|| seccomp::apply().map_err(|error| error.to_string()));
            let broken = "the thread that asked did not come back";
            (
                landlock.join().unwrap_or_else(|_| Err(broken.to_owned())),
                seccomp.join().unwrap_or_else(|_| Err(broken.to_owned())),
            )
        });
        Self::from_answers(landlock, seccomp.err())
    }

    fn from_answers(landlock: Result<u32, String>, no_seccomp: Option<String>) -> Self {
        let (has, landlock_reason) = match landlock {
            Ok(version) if version < OLDEST => (
                version,
                Some(format!(
                    "Landlock ABI {version} forbids renames between folders, which tools need"
                )),
            ),
            Ok(version) => (version, None),
            Err(reason) => (0, Some(reason)),
        };
        let landlock = if has < OLDEST { 0 } else { has.min(NEWEST) };
        let missing = missing(landlock).map(str::to_owned);
        let seccomp = no_seccomp.is_none();
        let seccomp_reason = no_seccomp.map(|error| format!("no seccomp filter ({error})"));
        let reasons: Vec<String> = [landlock_reason.or(missing), seccomp_reason]
            .into_iter()
            .flatten()
            .collect();
        Self {
            landlock,
            landlock_has: has,
            seccomp,
            reason: (!reasons.is_empty()).then(|| reasons.join("; ")),
        }
    }
}

/// What the version of the kernel's Landlock leaves open, for the versions that are used.
fn missing(version: u32) -> Option<&'static str> {
    match version {
        2 => Some(
            "Landlock ABI 2 does not cover truncation, devices, signals and abstract unix sockets",
        ),
        3 | 4 => {
            Some("this Landlock does not cover devices, signals and abstract unix sockets (ABI 6)")
        }
        5 => Some("this Landlock does not cover signals and abstract unix sockets (ABI 6)"),
        _ => None,
    }
}

/// The version by number. Unknown ones are the newest that is used.
pub(super) const fn abi(version: u32) -> ABI {
    match version {
        0 => ABI::Unsupported,
        1 => ABI::V1,
        2 => ABI::V2,
        3 => ABI::V3,
        4 => ABI::V4,
        5 => ABI::V5,
        6 => ABI::V6,
        _ => ABI::V7,
    }
}

fn try_landlock() -> Result<u32, String> {
    let tried = Ruleset::default()
        .handle_access(AccessFs::from_all(ABI::V1))
        .and_then(Ruleset::create)
        .and_then(|ruleset| {
            ruleset.add_rules(path_beneath_rules(["/"], AccessFs::from_all(ABI::V1)))
        })
        .and_then(landlock::RulesetCreated::restrict_self)
        .map_err(|error| format!("Landlock is refused ({error})"))?;
    match tried.landlock {
        LandlockStatus::NotImplemented => Err("this kernel has no Landlock".into()),
        LandlockStatus::NotEnabled => {
            Err("Landlock is not enabled in this kernel (boot with lsm=landlock,…)".into())
        }
        LandlockStatus::Available {
            effective_abi,
            kernel_abi,
        } => {
            let effective = effective_abi as i32;
            Ok(u32::try_from(kernel_abi.unwrap_or(effective)).unwrap_or(0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(landlock: Result<u32, &str>, seccomp: Result<(), &str>) -> Kernel {
        Kernel::from_answers(
            landlock.map_err(str::to_owned),
            seccomp.err().map(str::to_owned),
        )
    }

    #[test]
    fn old_versions_are_used_as_far_as_they_go_and_say_what_is_missing() {
        for (has, used, says) in [
            (1, 0, Some("renames")),
            (2, 2, Some("truncation")),
            (3, 3, Some("signals")),
            (5, 5, Some("signals")),
            (6, 6, None),
            (7, 7, None),
            (12, 7, None),
        ] {
            let kernel = answers(Ok(has), Ok(()));
            assert_eq!((kernel.landlock, kernel.landlock_has), (used, has));
            match says {
                Some(word) => assert!(kernel.reason.unwrap().contains(word), "{has}"),
                None => assert_eq!(kernel.reason, None, "{has}"),
            }
        }
        let none = answers(Err("this kernel has no Landlock"), Err("EINVAL"));
        assert_eq!((none.landlock, none.seccomp), (0, false));
        let reason = none.reason.unwrap();
        assert!(
            reason.contains("no Landlock") && reason.contains("EINVAL"),
            "{reason}"
        );
    }

    #[test]
    fn asking_leaves_this_thread_as_it_was() {
        let kernel = Kernel::ask();
        assert!(kernel.seccomp, "{kernel:?}");
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "x").unwrap();
        assert!(!rustix::thread::no_new_privs().unwrap());
    }
}
