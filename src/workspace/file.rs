//! Files of the workspace that are read here: those that a prompt names, and those of the project's plan.
//!
//! What is opened must lie in the workspace when it is opened: a link in a cloned repository, or one that an agent has put
//! in the place of a file, may point at anything this process can read, and what is read goes to the model or to a client.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::{Component, Path};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

/// A disk that hangs must not hold up a turn, however many files go along.
const READ_TIMEOUT: Duration = Duration::from_secs(4);

/// A pipe without a writer must not hold it up either.
const FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);

/// The beginning of a file.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) bytes: Vec<u8>,
    /// Of the whole file.
    pub(crate) size: u64,
}

/// Until when the files of one turn must have been read.
pub(crate) fn deadline() -> Instant {
    Instant::now() + READ_TIMEOUT
}

/// At most `most` bytes of the file at `path`, which is relative to `workspace` or absolute.
pub(crate) async fn read(
    workspace: &Path,
    path: &Path,
    most: u64,
    deadline: Instant,
) -> io::Result<Content> {
    let late = || io::Error::other("the workspace did not answer in time");
    if Instant::now() >= deadline {
        return Err(late());
    }
    let (workspace, path) = (workspace.to_owned(), path.to_owned());
    let reading = tokio::task::spawn_blocking(move || {
        let file = open(&workspace, &path)?;
        let size = file.metadata()?.len();
        let mut bytes = Vec::new();
        file.take(most).read_to_end(&mut bytes)?;
        Ok(Content { bytes, size })
    });
    match tokio::time::timeout_at(deadline.into(), reading).await {
        Ok(Ok(content)) => content,
        Ok(Err(_)) | Err(_) => Err(late()),
    }
}

fn open(workspace: &Path, path: &Path) -> io::Result<File> {
    // The name of the workspace may be a link itself.
    let root = workspace.canonicalize()?;
    let outside = || io::Error::other("it is outside the workspace");
    let path = if path.is_absolute() {
        path.strip_prefix(&root).map_err(|_| outside())?
    } else {
        path
    };
    let directory = rustix::fs::open(
        &root,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let file = match openat2(&directory, path, FLAGS, Mode::empty(), inside) {
        Err(Errno::NOSYS) => open_without_links(directory, path),
        opened => opened,
    };
    let file = File::from(file.map_err(|error| match error {
        Errno::XDEV | Errno::LOOP => outside(),
        Errno::NOENT | Errno::NOTDIR => io::Error::new(io::ErrorKind::NotFound, "it is not there"),
        error => error.into(),
    })?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    Ok(file)
}

/// For a kernel without `openat2`, as gVisor is one: no component of `path` may be a link.
fn open_without_links(mut directory: OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    let mut components = path.components().peekable();
    while let Some(component) = components.next() {
        let Component::Normal(name) = component else {
            return Err(Errno::XDEV);
        };
        let kind = match components.peek() {
            Some(_) => OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            None => FLAGS,
        };
        directory = openat(&directory, name, kind | OFlags::NOFOLLOW, Mode::empty())?;
    }
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    async fn said(workspace: &Path, path: &str) -> String {
        match read(workspace, Path::new(path), 100, deadline()).await {
            Ok(content) => String::from_utf8(content.bytes).unwrap(),
            Err(error) => format!("! {error}"),
        }
    }

    #[tokio::test]
    async fn only_a_regular_file_in_the_workspace_is_read_and_a_pipe_holds_nothing_up() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at = |name: &str| dir.path().join(name);
        std::fs::write(other.path().join("secret"), "Secret.").unwrap();
        std::fs::create_dir(at("in")).unwrap();
        std::fs::write(at("in/real"), "Inside.").unwrap();
        symlink("in/real", at("link")).unwrap();
        symlink(other.path().join("secret"), at("out")).unwrap();
        symlink(other.path(), at("dir")).unwrap();
        let pipe = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), pipe, Mode::RUSR, 0).unwrap();
        for (path, expected) in [
            ("in/real", "Inside."),
            ("link", "Inside."),
            ("out", "! it is outside the workspace"),
            ("dir/secret", "! it is outside the workspace"),
            ("../secret", "! it is outside the workspace"),
            ("/etc/passwd", "! it is outside the workspace"),
            ("gone", "! it is not there"),
            ("in", "! it is not a regular file"),
            ("pipe", "! it is not a regular file"),
        ] {
            assert_eq!(said(dir.path(), path).await, expected, "{path}");
        }
        let absolute = at("in/real").canonicalize().unwrap();
        assert_eq!(
            said(dir.path(), absolute.to_str().unwrap()).await,
            "Inside."
        );
    }

    #[test]
    fn without_openat2_a_file_in_a_folder_is_opened_and_no_link_is_followed() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("a/b")).unwrap();
        std::fs::write(at("a/b/real"), "Inside.").unwrap();
        std::fs::write(other.path().join("secret"), "Secret.").unwrap();
        symlink(other.path(), at("a/out")).unwrap();
        symlink("real", at("a/b/link")).unwrap();
        let opened = |path: &str| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let root = rustix::fs::open(dir.path(), flags, Mode::empty()).unwrap();
            let file = File::from(open_without_links(root, Path::new(path))?);
            Ok::<_, Errno>(io::read_to_string(file).unwrap())
        };
        assert_eq!(opened("a/b/real").unwrap(), "Inside.");
        for (path, expected) in [
            ("a/out/secret", Errno::NOTDIR),
            ("a/b/link", Errno::LOOP),
            ("a/../a/b/real", Errno::XDEV),
            ("a/gone", Errno::NOENT),
        ] {
            assert_eq!(opened(path).unwrap_err(), expected, "{path}");
        }
    }

    #[tokio::test]
    async fn so_much_is_read_and_the_size_is_that_of_the_whole() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), [b'a'; 200]).unwrap();
        let path = Path::new("a");
        let content = read(dir.path(), path, 150, deadline()).await.unwrap();
        assert_eq!((content.bytes.len(), content.size), (150, 200));
        let late = read(dir.path(), path, 150, Instant::now()).await;
        assert!(late.is_err(), "the time of all files was over before");
    }
}
