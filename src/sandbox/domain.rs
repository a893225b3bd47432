//! Entering a Landlock domain. It cannot be left, and holds for all that is started from then on.

use std::io;
use std::path::Path;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, NetPort,
    RestrictionStatus, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError,
    RulesetStatus, Scope, path_beneath_rules,
};

use super::kernel::{KNOWS_TCP, abi};
use super::policy::Policy;
use super::privileges;
use super::rules::Rules;

/// For the child, between its shim and `exec`: gives up what is not needed, and enters its domain.
pub(crate) fn enter_child_domain(policy: &Path) -> io::Result<()> {
    let policy = Policy::read(policy)?;
    privileges::drop_capabilities()?;
    enter(policy.landlock, &policy.child, None)
}

/// Enters a domain with these rules. Version 0 is none. `port` is the only one that may be connected to, where the
/// version knows of that.
///
/// Every right that the version knows is handled, and everything that is asked for has to be granted: the
/// kernel was asked before, so whatever is missing now is an error.
pub(super) fn enter(version: u32, rules: &Rules, port: Option<u16>) -> io::Result<()> {
    if version == 0 {
        return Ok(());
    }
    let status = restrict(abi(version), rules, port.filter(|_| version >= KNOWS_TCP))
        .map_err(io::Error::other)?;
    if status.ruleset == RulesetStatus::FullyEnforced {
        Ok(())
    } else {
        Err(io::Error::other("the kernel did not take the whole domain"))
    }
}

fn restrict(abi: ABI, rules: &Rules, port: Option<u16>) -> Result<RestrictionStatus, RulesetError> {
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(abi))?;
    let scopes = Scope::from_all(abi);
    if !scopes.is_empty() {
        ruleset = ruleset.scope(scopes)?;
    }
    if port.is_some() {
        ruleset = ruleset.handle_access(AccessNet::ConnectTcp)?;
    }
    let ports = port
        .into_iter()
        .map(|port| Ok::<_, RulesetError>(NetPort::new(port, AccessNet::ConnectTcp)));
    // Paths that do not exist are left out: there is nothing to grant.
    ruleset
        .create()?
        .add_rules(path_beneath_rules(&rules.read, AccessFs::from_read(abi)))?
        .add_rules(path_beneath_rules(&rules.list, AccessFs::ReadDir))?
        .add_rules(path_beneath_rules(&rules.write, AccessFs::from_all(abi)))?
        .add_rules(path_beneath_rules(&rules.devices, device_rights(abi)))?
        .add_rules(ports)?
        .restrict_self()
}

/// A terminal needs `ioctl`, where the version knows it.
fn device_rights(abi: ABI) -> BitFlags<AccessFs> {
    let known = AccessFs::from_all(abi);
    (AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::ReadDir | AccessFs::IoctlDev) & known
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;
    use std::process::Command;

    use rustix::process::{Pid, Signal, kill_process};

    use super::super::Kernel;
    use super::*;

    /// In a thread of its own, whose end is the domain's.
    fn within<T: Send>(version: u32, rules: &Rules, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                enter(version, rules, None).unwrap();
                work()
            });
            thread.join().unwrap()
        })
    }

    /// One folder that is granted and one that is not, each with a file.
    struct Folders(tempfile::TempDir);

    impl Folders {
        fn open(&self) -> PathBuf {
            self.0.path().join("open")
        }

        fn closed(&self) -> PathBuf {
            self.0.path().join("closed")
        }
    }

    fn folders() -> Folders {
        let folders = Folders(tempfile::tempdir().unwrap());
        for folder in [folders.open(), folders.closed()] {
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("file"), "text").unwrap();
        }
        folders
    }

    fn system(open: &Path) -> Rules {
        Rules {
            read: ["/usr", "/bin", "/lib", "/lib64", "/etc", "/proc"]
                .map(PathBuf::from)
                .into(),
            write: vec![open.to_owned()],
            devices: vec!["/dev/null".into()],
            ..Rules::default()
        }
    }

    /// The versions that this kernel has.
    fn versions() -> impl Iterator<Item = u32> {
        let newest = Kernel::ask().landlock;
        assert!(
            newest >= 2,
            "this kernel has no Landlock: {:?}",
            Kernel::ask()
        );
        2..=newest
    }

    #[test]
    fn with_every_version_only_what_is_granted_can_be_reached() {
        for version in versions() {
            let at = folders();
            let (read, written, renamed) = within(version, &system(&at.open()), || {
                let new = at.open().join("new");
                fs::create_dir(at.open().join("below")).unwrap();
                fs::write(&new, "text").unwrap();
                (
                    fs::read(at.closed().join("file")),
                    fs::write(at.closed().join("new"), "text"),
                    fs::rename(&new, at.open().join("below/new")),
                )
            });
            assert_eq!(read.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
            assert_eq!(written.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
            renamed.unwrap_or_else(|error| panic!("version {version}: {error}"));
        }
    }

    #[test]
    fn truncation_is_covered_from_version_3() {
        for version in versions() {
            let at = folders();
            let file = at.closed().join("file");
            within(version, &system(&at.open()), || {
                Command::new("/usr/bin/perl")
                    .args(["-e", "truncate($ARGV[0], 0)"])
                    .arg(&file)
                    .output()
                    .unwrap();
            });
            let whole = fs::read_to_string(&file).unwrap() == "text";
            assert_eq!(whole, version >= 3, "version {version}");
        }
    }

    #[test]
    fn signals_stay_inside_from_version_6() {
        for version in versions() {
            let at = folders();
            let mut outside = Command::new("sleep").arg("600").spawn().unwrap();
            let pid = Pid::from_child(&outside);
            let sent = within(version, &system(&at.open()), || {
                kill_process(pid, Signal::TERM)
            });
            outside.kill().unwrap();
            outside.wait().unwrap();
            assert_eq!(sent.is_err(), version >= 6, "version {version}: {sent:?}");
        }
    }

    #[test]
    fn from_version_4_only_one_port_is_reached() {
        let listeners = [0, 1].map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let [open, closed] = listeners.each_ref().map(|one| one.local_addr().unwrap());
        for version in versions() {
            let at = folders();
            let reached = std::thread::scope(|scope| {
                let thread = scope.spawn(|| {
                    enter(version, &system(&at.open()), Some(open.port())).unwrap();
                    [open, closed].map(|address| std::net::TcpStream::connect(address).is_ok())
                });
                thread.join().unwrap()
            });
            assert_eq!(reached, [true, version < KNOWS_TCP], "version {version}");
        }
    }

    #[test]
    fn a_folder_that_may_be_listed_shows_names_and_no_contents() {
        let at = folders();
        let rules = Rules {
            list: vec![at.closed().clone()],
            ..system(&at.open())
        };
        let newest = versions().last().unwrap();
        let (names, content) = within(newest, &rules, || {
            (
                fs::read_dir(at.closed()).map(Iterator::count),
                fs::read(at.closed().join("file")),
            )
        });
        assert_eq!(names.unwrap(), 1);
        assert!(content.is_err());
    }
}
