//! A disk that can be full.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

/// A file system of its own for the journal, which is full.
pub(crate) struct FullDisk(tempfile::TempDir);

impl FullDisk {
    /// Nothing where file systems cannot be mounted.
    pub(crate) fn mount(journal: &Path) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=8m", "test"])
            .arg(dir.path())
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then(|| {
            std::os::unix::fs::symlink(dir.path(), journal).unwrap();
            Self(dir)
        })
    }

    pub(crate) fn fill(&self) {
        let mut file = std::fs::File::create(self.0.path().join("filler")).unwrap();
        for size in [1 << 16, 1 << 12, 1] {
            while file.write_all(&vec![b'x'; size]).is_ok() {}
        }
    }
}

impl Drop for FullDisk {
    fn drop(&mut self) {
        Command::new("umount")
            .arg("-l")
            .arg(self.0.path())
            .output()
            .ok();
    }
}
