//! A terminal: tmux, which shows what a person would see.

#![expect(
    clippy::disallowed_methods,
    reason = "a test's PATH is that of whoever runs it"
)]

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::program::url;
use crate::support::{SIDECAR, Sidecar, TEST_TIMEOUT};

/// A shell in a terminal. Dropping it ends it and all that runs in it.
pub(crate) struct Tmux {
    socket: String,
    dir: tempfile::TempDir,
}

impl Tmux {
    /// A terminal with so many columns and rows, in which `opencode-sidecar` is the program, with this sidecar's address.
    pub(crate) fn start(sidecar: &Sidecar, columns: usize, rows: usize) -> Self {
        Self::with_url(&url(sidecar), columns, rows)
    }

    /// The same, with an address at which nobody answers.
    pub(crate) fn without_sidecar(columns: usize, rows: usize) -> Self {
        Self::with_url("http://127.0.0.1:1", columns, rows)
    }

    fn with_url(url: &str, columns: usize, rows: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("tmux").to_string_lossy().into_owned();
        std::fs::create_dir(dir.path().join("bin")).unwrap();
        std::os::unix::fs::symlink(SIDECAR, dir.path().join("bin/opencode-sidecar")).unwrap();
        let tmux = Self { socket, dir };
        let path = format!(
            "{}:{}",
            tmux.dir.path().join("bin").display(),
            std::env::var("PATH").unwrap()
        );
        let (columns, rows) = (columns.to_string(), rows.to_string());
        let shell = format!(
            "env -i PATH='{path}' TERM=screen-256color HOME=/nonexistent PS1='$ ' SIDECAR_URL={url} LC_ALL=C.UTF-8 bash --norc --noprofile"
        );
        let started = tmux.tmux(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            &columns,
            "-y",
            &rows,
            &shell,
        ]);
        assert!(started.status.success(), "{started:?}");
        tmux.until("a prompt", |screen| screen.contains('$'));
        tmux
    }

    fn tmux(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(&self.socket).args(arguments);
        command.env_remove("TMUX").env("LC_ALL", "C.UTF-8");
        command.output().unwrap()
    }

    /// Types a line and Enter.
    pub(crate) fn line(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
        self.key("Enter");
    }

    /// A key by its name: `C-c`, `q`.
    pub(crate) fn key(&self, name: &str) {
        self.tmux(&["send-keys", name]);
    }

    /// Pastes, as from another window.
    pub(crate) fn paste(&self, text: &str) {
        self.tmux(&["set-buffer", text]);
        self.tmux(&["paste-buffer", "-p"]);
    }

    /// A prompt of several lines, as a file that the shell reads.
    pub(crate) fn file(&self, text: &str) -> String {
        let path = self.dir.path().join("prompt");
        std::fs::write(&path, text).unwrap();
        path.to_string_lossy().into_owned()
    }

    /// What is seen, without colours.
    pub(crate) fn screen(&self) -> String {
        String::from_utf8(self.tmux(&["capture-pane", "-p"]).stdout).unwrap()
    }

    /// The same with its colours.
    pub(crate) fn coloured(&self) -> String {
        String::from_utf8(self.tmux(&["capture-pane", "-p", "-e"]).stdout).unwrap()
    }

    pub(crate) fn title(&self) -> String {
        String::from_utf8(
            self.tmux(&["display-message", "-p", "#{pane_title}"])
                .stdout,
        )
        .unwrap()
    }

    pub(crate) fn resize(&self, columns: usize) {
        self.tmux(&["resize-window", "-x", &columns.to_string()]);
    }

    pub(crate) fn until(&self, what: &str, mut holds: impl FnMut(&str) -> bool) -> String {
        let deadline = Instant::now() + TEST_TIMEOUT;
        loop {
            let screen = self.screen();
            if holds(&screen) {
                return screen;
            }
            assert!(
                Instant::now() < deadline,
                "not {what} in time; the screen:\n{screen}"
            );
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// Waits for a shell's prompt as the last thing on the screen.
    pub(crate) fn prompt(&self) -> String {
        self.until("a prompt", |screen| screen.trim_end().ends_with("\n$"))
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}
