//! What the child says: its address once, everything else as log lines of ours.
//!
//! Bounded three ways: a line is cut at [`MAX_LINE`], a second brings at most [`MAX_LINES`] (the rest
//! is counted), and the last few lines of stderr are kept for the report of a failure.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::sync::watch;

use crate::opencode::config::READY_FOR_SECRETS;
use crate::secret::{Secret, redact};

const MAX_LINE: usize = 4096;
/// More than any secret is long. What may be the first part of one, at a cut, is cut off as well.
const MARGIN: usize = 256;
const MAX_LINES: u32 = 100;
const TAIL_LINES: usize = 20;
/// Those that a sentence ends with.
const LAST_WORDS: usize = 5;
const TAIL_LINE: usize = 300;

/// OpenCode says where it listens in one line of this form.
const LISTENING: &str = "opencode server listening on http://";

/// What the child says of itself on stdout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Announced {
    /// Nobody can look into it any more, and it waits for its secrets.
    pub(super) closed: bool,
    pub(super) address: Option<SocketAddr>,
}

/// The last lines of a child's stderr.
#[derive(Clone, Debug, Default)]
pub(super) struct Tail(Arc<Mutex<VecDeque<String>>>);

// === impl Tail ===

impl Tail {
    fn push(&self, line: &str) {
        let mut lines = self.0.lock();
        if lines.len() == TAIL_LINES {
            lines.pop_front();
        }
        lines.push_back(cut(line, TAIL_LINE).to_owned());
    }

    /// The last of them as one, for the end of a sentence.
    pub(super) fn sentence(&self) -> String {
        let lines = self.lines();
        if lines.is_empty() {
            return String::new();
        }
        let last = &lines[lines.len().saturating_sub(LAST_WORDS)..];
        format!("; its last words: {}", last.join(" | "))
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.0.lock().iter().cloned().collect()
    }
}

/// Reads stdout until it ends; what the child says of itself goes to `announced_tx`, each once.
pub(super) async fn stdout(
    reader: impl AsyncRead + Unpin,
    secrets: Vec<Secret>,
    announced_tx: watch::Sender<Announced>,
) {
    let mut limit = Limit::new(Instant::now());
    lines(reader, |line| {
        // What is said later may come from a tool.
        let said = *announced_tx.borrow();
        if let Some(address) = address(line)
            && said.address.is_none()
        {
            announced_tx.send_modify(|announced| announced.address = Some(address));
        }
        if line == READY_FOR_SECRETS && said == Announced::default() {
            announced_tx.send_modify(|announced| announced.closed = true);
        }
        if limit.admit(Instant::now()) {
            tracing::debug!(target: "opencode", "{}", clean(line, &secrets));
        }
    })
    .await;
}

/// Reads stderr until it ends.
pub(super) async fn stderr(reader: impl AsyncRead + Unpin, secrets: Vec<Secret>, tail: Tail) {
    let mut limit = Limit::new(Instant::now());
    lines(reader, |line| {
        let line = clean(line, &secrets);
        tail.push(&line);
        if limit.admit(Instant::now()) {
            if line.contains("ERROR") {
                tracing::warn!(target: "opencode", "{line}");
            } else {
                tracing::info!(target: "opencode", "{line}");
            }
        }
    })
    .await;
}

fn address(line: &str) -> Option<SocketAddr> {
    let address: SocketAddr = line.trim().strip_prefix(LISTENING)?.parse().ok()?;
    // The password goes there: never off this host.
    address.ip().is_loopback().then_some(address)
}

/// `line` without secrets, and then without what is too much of it.
fn clean(line: &str, secrets: &[Secret]) -> String {
    let secrets: Vec<&str> = secrets.iter().map(Secret::expose).collect();
    let clean = redact(line, &secrets);
    if line.len() <= MAX_LINE {
        return clean;
    }
    // The end may be the first part of a secret, which no redaction finds.
    let sure = cut(&clean, clean.len().saturating_sub(MARGIN));
    cut(sure, MAX_LINE).to_owned()
}

/// Calls `each` with every line, made printable, and cut at `MAX_LINE + MARGIN` bytes. Never holds
/// more than one line.
async fn lines(reader: impl AsyncRead + Unpin, mut each: impl FnMut(&str)) {
    let mut reader = BufReader::with_capacity(MAX_LINE, reader);
    let mut line = Vec::new();
    loop {
        let used = match reader.fill_buf().await {
            Ok([]) | Err(_) => break,
            Ok(bytes) => {
                let end = bytes.iter().position(|&byte| byte == b'\n');
                let taken = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
                let room = (MAX_LINE + MARGIN).saturating_sub(line.len());
                line.extend_from_slice(taken.get(..room.min(taken.len())).unwrap_or_default());
                if end.is_some() {
                    emit(&mut line, &mut each);
                }
                taken.len() + usize::from(end.is_some())
            }
        };
        reader.consume(used);
    }
    emit(&mut line, &mut each);
}

fn emit(line: &mut Vec<u8>, each: &mut impl FnMut(&str)) {
    if !line.is_empty() {
        let text = String::from_utf8_lossy(line);
        each(
            text.replace(|c: char| c.is_control() && c != '\t', "")
                .trim_end(),
        );
        line.clear();
    }
}

fn cut(line: &str, most: usize) -> &str {
    line.get(..line.floor_char_boundary(most)).unwrap_or(line)
}

/// So many lines a second; the others are counted and the count is said.
struct Limit {
    since: Instant,
    seen: u32,
}

// === impl Limit ===

impl Limit {
    fn new(now: Instant) -> Self {
        Self {
            since: now,
            seen: 0,
        }
    }

    fn admit(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= Duration::from_secs(1) {
            let dropped = self.seen.saturating_sub(MAX_LINES);
            if dropped > 0 {
                tracing::warn!(
                    lines = dropped,
                    "the engine said more than we log in a second"
                );
            }
            *self = Self::new(now);
        }
        self.seen = self.seen.saturating_add(1);
        self.seen <= MAX_LINES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn collect(bytes: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        lines(bytes, |line| found.push(line.to_owned())).await;
        found
    }

    #[test]
    fn the_address_is_read_from_its_line_only() {
        let listening = "opencode server listening on http://127.0.0.1:42187";
        assert_eq!(address(listening), Some(([127, 0, 0, 1], 42187).into()));
        for other in [
            "",
            "listening on http://127.0.0.1:1",
            "opencode server listening on http://x:y",
            "opencode server listening on http://10.0.0.7:80",
        ] {
            assert_eq!(address(other), None);
        }
    }

    #[tokio::test]
    async fn garbage_and_endless_lines_are_cut_and_the_next_line_is_whole() {
        let mut bytes = vec![b'x'; 3 * MAX_LINE];
        bytes.extend_from_slice(b"\n\xff\xfe\x1b[31mred\nlast without end");
        let found = collect(&bytes).await;
        assert_eq!(found.len(), 3);
        assert_eq!(found[0].len(), MAX_LINE + MARGIN);
        assert_eq!(clean(&found[0], &[]).len(), MAX_LINE);
        assert_eq!(found[1..], ["\u{fffd}\u{fffd}[31mred", "last without end"]);
    }

    #[tokio::test]
    async fn a_secret_that_lies_across_the_cut_is_not_shown_in_part() {
        let secret = Secret::random();
        for before in MAX_LINE - 64..MAX_LINE + MARGIN {
            let line = format!("{}{}", "x ".repeat(before / 2), secret.expose());
            let found = collect(format!("{line}{line}\n").as_bytes()).await;
            let shown = clean(&found[0], std::slice::from_ref(&secret));
            let first = secret.expose().get(..8).unwrap();
            assert!(!shown.contains(first), "{before}");
        }
    }

    async fn announced(said: String) -> Announced {
        let (announced_tx, announced_rx) = watch::channel(Announced::default());
        stdout(said.as_bytes(), Vec::new(), announced_tx).await;
        *announced_rx.borrow()
    }

    #[tokio::test]
    async fn the_first_address_counts() {
        let said = format!("{LISTENING}127.0.0.1:1\n{LISTENING}127.0.0.1:2\n");
        let address = announced(said).await.address;
        assert_eq!(address, Some(([127, 0, 0, 1], 1).into()));
    }

    #[tokio::test]
    async fn who_listens_already_gets_no_secrets() {
        let said = |lines: &[&str]| announced(lines.join("\n"));
        let listening = format!("{LISTENING}127.0.0.1:1");
        assert!(said(&[READY_FOR_SECRETS, &listening]).await.closed);
        assert!(!said(&[&listening, READY_FOR_SECRETS]).await.closed);
    }

    #[test]
    fn a_flood_is_limited_per_second() {
        let start = Instant::now();
        let mut limit = Limit::new(start);
        let admitted = (0..1000).filter(|_| limit.admit(start)).count();
        assert_eq!(admitted, MAX_LINES as usize);
        assert!(
            limit.admit(start + Duration::from_secs(1)),
            "the next second starts anew"
        );
    }

    #[test]
    fn the_tail_keeps_the_last_words_cut_at_a_character() {
        let tail = Tail::default();
        for n in 0..9 {
            tail.push(&format!("{n}{}", "ü".repeat(400)));
        }
        assert_eq!(tail.lines().len(), 9);
        let sentence = tail.sentence();
        assert!(
            sentence.starts_with("; its last words: 4ü") && sentence.contains(" | 8ü"),
            "{sentence}"
        );
    }
}
