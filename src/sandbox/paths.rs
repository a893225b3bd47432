//! Which files a domain needs: the system's folders, the toolchains that PATH names, and the sidecar's own.
//!
//! Landlock only grants: a folder is granted with all below. So where something secret lies below a system
//! folder, its neighbours are granted one by one and the folder itself may only be listed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::config::Config;
use super::rules::Rules;

/// What every program may need. Not `/var`, `/run`, `/home`, `/root`, `/srv` and `/mnt`: data, not programs.
const SYSTEM: &[&str] = &[
    "/bin",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix/store",
    "/opt",
    "/proc",
    "/sbin",
    "/sys",
    "/usr",
    // What package managers and fonts know, read by many tools.
    "/var/cache/fontconfig",
    "/var/lib/apt",
    "/var/lib/dpkg",
    "/var/lib/rpm",
];

/// Files of `/etc` that may lead elsewhere: in a container they are the runtime's.
const LINKS: &[&str] = &[
    "/etc/hosts",
    "/etc/hostname",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/etc/resolv.conf",
];

/// Never readable, wherever the sidecar runs and as whom.
const SECRET: &[&str] = &[
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/ssl/private",
    "/etc/sudoers",
    "/etc/sudoers.d",
    "/run/secrets",
    "/var/run/secrets",
];

const DEVICES: &[&str] = &[
    "/dev/full",
    "/dev/null",
    "/dev/ptmx",
    "/dev/pts",
    "/dev/random",
    "/dev/tty",
    "/dev/urandom",
    "/dev/zero",
];

/// Temporary folders that programs use by name.
const SHARED_TEMPORARY: &[&str] = &["/dev/shm", "/tmp", "/var/tmp"];

/// Where the sidecar and its child have their files.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub(crate) workspace: PathBuf,
    pub(crate) data_dir: PathBuf,
    /// What the child may write of the data folder.
    pub(crate) child_data: PathBuf,
    /// The home and the temporary folder of the commands.
    pub(crate) command_home: PathBuf,
    pub(crate) command_temporary: PathBuf,
    /// The link by which OpenCode starts its shell, the policy and the sockets.
    pub(crate) shell: PathBuf,
    pub(crate) opencode: PathBuf,
    pub(crate) sidecar: PathBuf,
}

/// What the two domains may do.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) child: Rules,
    pub(super) command: Rules,
    pub(super) variables: Vec<(String, PathBuf)>,
    /// Why something secret cannot be kept apart, if so.
    pub(super) overlap: Option<String>,
}

// === impl Plan ===

impl Plan {
    pub(super) fn new(config: &Config, places: &Places) -> Self {
        let toolchains = Toolchains::of(&config.path_dirs);
        let protected = protected(config, places);
        let mut open = Open::default();
        for path in SYSTEM
            .iter()
            .map(Path::new)
            .chain(toolchains.paths.iter().map(PathBuf::as_path))
        {
            open.grant(path, &protected);
        }
        for link in LINKS {
            if let Ok(file) = fs::canonicalize(link) {
                open.grant(&file, &protected);
            }
        }
        // What a person names is granted as it is: they may name a mounted secret on purpose.
        open.read.extend(config.read.iter().flatten().cloned());
        let temporary = SHARED_TEMPORARY
            .iter()
            .map(PathBuf::from)
            .filter(|folder| !protected.iter().any(|path| path.starts_with(folder)));
        let command = Rules {
            read: open.read.iter().cloned().collect(),
            list: open.list.iter().cloned().collect(),
            write: [
                &places.workspace,
                &places.command_home,
                &places.command_temporary,
            ]
            .into_iter()
            .cloned()
            .chain(temporary)
            .collect(),
            devices: DEVICES.iter().map(PathBuf::from).collect(),
        };
        let own = [&places.opencode, &places.sidecar, &places.shell].map(PathBuf::clone);
        let child = Rules {
            read: command.read.iter().cloned().chain(own).collect(),
            write: vec![places.workspace.clone(), places.child_data.clone()],
            ..command.clone()
        };
        Self {
            child,
            command,
            variables: variables(places, toolchains.rustup),
            overlap: overlap(places),
        }
    }
}

/// A place that lies below what may be written cannot be kept from the commands.
fn overlap(places: &Places) -> Option<String> {
    places.data_dir.starts_with(&places.workspace).then(|| {
        format!(
            "DATA_DIR={} lies in the workspace, where commands may write: give it a place outside",
            places.data_dir.display()
        )
    })
}

/// What no rule may cover.
fn protected(config: &Config, places: &Places) -> Vec<PathBuf> {
    let fixed = SECRET.iter().map(PathBuf::from);
    let files = config.secret_files.iter().flat_map(|file| {
        let real = fs::canonicalize(file).ok();
        [Some(file.clone()), real].into_iter().flatten()
    });
    let all: BTreeSet<PathBuf> = fixed
        .chain(files)
        .chain([places.data_dir.clone()])
        .chain(projected_volumes())
        .flat_map(|path| [fs::canonicalize(&path).ok(), Some(path)])
        .flatten()
        .collect();
    all.into_iter().collect()
}

/// Where Kubernetes has mounted Secrets, service account tokens and the like. Their content is behind a link
/// of this name, which is how the kubelet exchanges all files of such a volume at once.
fn projected_volumes() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    memory_mounts(&mounts)
        .map(PathBuf::from)
        .filter(|point| fs::symlink_metadata(point.join("..data")).is_ok())
        .collect()
}

/// The mount points of `mountinfo` that are in memory, as the kubelet keeps all secrets. No other is looked
/// at: one whose server or disk hangs would hold up the start.
fn memory_mounts(mountinfo: &str) -> impl Iterator<Item = &str> {
    mountinfo.lines().filter_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let point = mount.split(' ').nth(4)?;
        filesystem.starts_with("tmpfs ").then_some(point)
    })
}

/// What is granted so far.
#[derive(Debug, Default)]
struct Open {
    read: BTreeSet<PathBuf>,
    list: BTreeSet<PathBuf>,
}

// === impl Open ===

impl Open {
    /// `path` with all below, but for what is protected.
    fn grant(&mut self, path: &Path, protected: &[PathBuf]) {
        if protected.iter().any(|secret| path.starts_with(secret)) {
            return;
        }
        if !protected.iter().any(|secret| secret.starts_with(path)) {
            self.read.insert(path.to_owned());
            return;
        }
        self.list.insert(path.to_owned());
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            self.grant(&entry.path(), protected);
        }
    }
}

/// Programs outside of the system's folders.
#[derive(Debug, Default)]
struct Toolchains {
    paths: Vec<PathBuf>,
    /// What the `cargo` of PATH asks which toolchain it is.
    rustup: Option<PathBuf>,
}

// === impl Toolchains ===

impl Toolchains {
    /// The trees of the programs that PATH names: of a folder called `bin`, `sbin` or `shims` what is beside it,
    /// because a program brings its libraries; but never a whole home.
    fn of(path_dirs: &[PathBuf]) -> Self {
        let mut found = Self::default();
        let is_system = |path: &Path| SYSTEM.iter().any(|system| path.starts_with(system));
        let outside = path_dirs
            .iter()
            .filter(|dir| dir.is_absolute() && !is_system(dir));
        for dir in outside {
            found.paths.push(tree(dir));
            let parent = dir.parent().and_then(Path::parent);
            let rustup = parent.map(|home| home.join(".rustup"));
            if let Some(rustup) =
                rustup.filter(|rustup| dir.ends_with(".cargo/bin") && rustup.is_dir())
            {
                found.paths.push(rustup.clone());
                found.rustup = Some(rustup);
            }
        }
        found
    }
}

fn tree(dir: &Path) -> PathBuf {
    let named = |path: &Path, names: &[&str]| names.iter().any(|name| path.ends_with(name));
    if let (Some(parent), true) = (dir.parent(), named(dir, &["bin", "sbin", "shims"])) {
        let depth = parent.components().count();
        let is_home = parent == Path::new("/root")
            || parent.parent() == Some(Path::new("/home"))
            || named(parent, &[".local", ".cargo"]);
        if depth > 1 && !is_home {
            return parent.to_owned();
        }
    }
    dir.to_owned()
}

fn variables(places: &Places, rustup: Option<PathBuf>) -> Vec<(String, PathBuf)> {
    let rustup = rustup.map(|path| ("RUSTUP_HOME".to_owned(), path));
    [
        ("HOME".to_owned(), places.command_home.clone()),
        ("TMPDIR".to_owned(), places.command_temporary.clone()),
    ]
    .into_iter()
    .chain(rustup)
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(dir: &Path) -> Places {
        let at = |name: &str| dir.join(name);
        Places {
            workspace: at("workspace"),
            data_dir: at("data"),
            child_data: at("data/engine"),
            command_home: at("data/engine/commands/home"),
            command_temporary: at("data/engine/commands/tmp"),
            shell: at("data/shell"),
            opencode: at("opencode"),
            sidecar: at("sidecar"),
        }
    }

    #[test]
    fn only_mounts_in_memory_are_looked_at() {
        let mountinfo = "\
            21 1 8:1 / / rw - ext4 /dev/vda rw\n\
            99 21 0:50 / /var/run/secrets/kubernetes.io rw shared:1 - tmpfs tmpfs rw,size=64k\n\
            98 21 0:51 / /data/engine/tmp rw - autofs trap rw,fd=7\n\
            97 21 0:52 / /mnt/far rw - nfs4 server:/far rw\n";
        let found: Vec<&str> = memory_mounts(mountinfo).collect();
        assert_eq!(found, ["/var/run/secrets/kubernetes.io"]);
    }

    #[test]
    fn a_toolchain_is_granted_and_the_home_around_it_is_not() {
        let cases = [
            ("/root/.pyenv/shims", "/root/.pyenv"),
            (
                "/home/me/.nvm/versions/node/v22/bin",
                "/home/me/.nvm/versions/node/v22",
            ),
            ("/root/.cargo/bin", "/root/.cargo/bin"),
            ("/home/me/.local/bin", "/home/me/.local/bin"),
            ("/home/me/bin", "/home/me/bin"),
            ("/root/bin", "/root/bin"),
            ("/srv/tools", "/srv/tools"),
            ("/app/node/bin", "/app/node"),
            ("/bin", "/bin"),
        ];
        for (dir, granted) in cases {
            assert_eq!(tree(Path::new(dir)), Path::new(granted), "{dir}");
        }
        let found = Toolchains::of(&["/usr/local/bin".into(), "relative/bin".into()]);
        assert_eq!(found.paths, Vec::<PathBuf>::new());
    }

    #[test]
    fn what_is_protected_is_left_out_and_its_neighbours_are_not() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["a/open", "a/b/open", "a/b/secret"] {
            let file = dir.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
        let at = |name: &str| dir.path().join(name);
        let mut open = Open::default();
        open.grant(&at("a"), &[at("a/b/secret"), at("elsewhere")]);
        assert_eq!(open.read, BTreeSet::from([at("a/open"), at("a/b/open")]));
        assert_eq!(open.list, BTreeSet::from([at("a"), at("a/b")]));
        let mut none = Open::default();
        none.grant(&at("a/b/secret"), &[at("a")]);
        assert!(none.read.is_empty() && none.list.is_empty());
    }

    #[test]
    fn neither_domain_reaches_the_rest_of_the_data_folder() {
        let dir = tempfile::tempdir().unwrap();
        let secret = dir.path().join("secret");
        fs::write(&secret, "x").unwrap();
        let config = Config {
            secret_files: vec![secret.clone()],
            ..Config::off()
        };
        let plan = Plan::new(&config, &places(dir.path()));
        let data = dir.path().join("data");
        for rules in [&plan.child, &plan.command] {
            for granted in rules.read.iter().chain(&rules.write) {
                assert!(!data.starts_with(granted), "{}", granted.display());
                assert!(!data.join("journal").starts_with(granted));
                assert!(!secret.starts_with(granted), "{}", granted.display());
            }
        }
        let shell = dir.path().join("data/shell");
        assert!(plan.child.read.contains(&shell) && !plan.command.read.contains(&shell));
        let engine = dir.path().join("data/engine");
        assert!(plan.child.write.contains(&engine) && !plan.command.write.contains(&engine));
    }

    #[test]
    fn a_data_folder_in_the_workspace_is_told() {
        let mut places = places(Path::new("/srv"));
        assert_eq!(overlap(&places), None);
        places.data_dir = "/srv/workspace/data".into();
        assert!(overlap(&places).unwrap().contains("outside"));
    }
}
