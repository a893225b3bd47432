//! A file that is renamed when it is full, and a number of older ones beside it: `audit.log`, `audit.log.1`, …
//!
//! Own code, because what the crates offer rotates by time, or brings a calendar and a compressor along.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Only its owner may read what was done.
const MODE: u32 = 0o600;

#[derive(Debug)]
pub(super) struct RotatingFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    max_bytes: u64,
    /// How many there are at most, the present one included.
    max_files: u32,
    /// The last line could not be written, which was said.
    is_broken: bool,
}

// === impl RotatingFile ===

impl RotatingFile {
    /// Goes on with what is there.
    pub(super) fn open(path: PathBuf, max_bytes: u64, max_files: u32) -> io::Result<Self> {
        let file = append_to(&path)?;
        Ok(Self {
            bytes: file.metadata()?.len(),
            file,
            path,
            max_bytes,
            max_files,
            is_broken: false,
        })
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let length = line.len() as u64;
        if self.bytes > 0 && self.bytes + length > self.max_bytes {
            self.rotate()?;
        }
        self.file.write_all(line)?;
        self.bytes += length;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        for number in (1..self.max_files).rev() {
            let newer = match number {
                1 => self.path.clone(),
                _ => numbered(&self.path, number - 1),
            };
            match fs::rename(newer, numbered(&self.path, number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        if self.max_files == 1 {
            fs::remove_file(&self.path)?;
        }
        self.file = append_to(&self.path)?;
        self.bytes = 0;
        Ok(())
    }
}

impl io::Write for RotatingFile {
    /// Whole lines come in, so none is split between two files.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let written = self.append(line);
        if let Err(error) = &written
            && !self.is_broken
        {
            let path = self.path.display();
            tracing::error!(%error, %path, "audit lines are lost: the file cannot be written");
        }
        self.is_broken = written.is_err();
        written.map(|()| line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    File::options()
        .create(true)
        .append(true)
        .mode(MODE)
        .open(path)
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{number}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_full_file_becomes_the_first_of_the_older_ones_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let mut file = RotatingFile::open(path.clone(), 10, 3).unwrap();
        for line in ["one\n", "two\n", "three\n", "a line of more\n", "five\n"] {
            file.write_all(line.as_bytes()).unwrap();
        }
        let read = |path: &Path| fs::read_to_string(path).unwrap();
        assert_eq!(read(&path), "five\n");
        assert_eq!(read(&numbered(&path, 1)), "a line of more\n");
        assert_eq!(read(&numbered(&path, 2)), "three\n");
        assert!(!numbered(&path, 3).exists());
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, MODE);

        // Another process goes on with it.
        let mut file = RotatingFile::open(path.clone(), 10, 1).unwrap();
        file.write_all(b"six\n").unwrap();
        assert_eq!(read(&path), "five\nsix\n");
        file.write_all(b"seven\n").unwrap();
        assert_eq!(read(&path), "seven\n");
    }
}
