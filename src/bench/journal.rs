//! A journal and sessions that write to it, for `benches/journal.rs`.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use crate::journal::{
    Appended, Config, Draft, Journal, OrderPiece, OrderQuery, Piece, Row, Watermark, boot_id,
};

/// A journal in a directory.
#[derive(Clone, Debug)]
pub struct Disk(Journal);

/// One session of it.
#[derive(Clone)]
pub struct DiskSession {
    number: u64,
    watermark: Arc<Watermark>,
    /// The last event.
    last: Arc<Mutex<u64>>,
    journal: Journal,
}

// === impl Disk ===

impl Disk {
    /// Opens it, and says how many sessions were running.
    ///
    /// # Errors
    /// When no thread can be started.
    pub async fn open(dir: &Path) -> io::Result<(Self, usize)> {
        let config = Config {
            dir: dir.to_owned(),
            max_bytes: 1 << 40,
            retention: Duration::from_hours(24),
        };
        let journal = Journal::start(config, boot_id())?;
        let opened = journal.opened().await;
        Ok((Self(journal), opened.unfinished.len()))
    }

    #[must_use]
    pub fn session(&self, number: u64) -> DiskSession {
        DiskSession {
            number,
            watermark: Arc::new(Watermark::new(1, 0, false)),
            last: Arc::default(),
            journal: self.0.clone(),
        }
    }

    /// Reads a session from its first event to this one, and says how many bytes that were.
    ///
    /// # Panics
    /// If anything is missing, which makes a figure worthless.
    pub async fn replay(&self, number: u64, upto: u64) -> usize {
        let (mut after, mut all) = (0, 0);
        while after < upto {
            let pieces = self.0.page(number, after, upto, false).await;
            for piece in pieces.unwrap_or_default() {
                let Piece::Frames { bytes, last } = piece else {
                    panic!("{piece:?}");
                };
                all += bytes.len();
                after = last;
            }
        }
        all
    }

    /// Reads the events of all sessions up to this position, and says how many bytes that were.
    ///
    /// # Panics
    /// If anything is missing, which makes a figure worthless.
    pub async fn replay_all(&self, upto: u64) -> usize {
        let (mut after, mut all) = (0, 0);
        while after < upto {
            let query = OrderQuery {
                after,
                upto,
                hidden: false,
                sessions: Arc::default(),
            };
            for piece in self.0.order_page(query).await.unwrap_or_default() {
                let OrderPiece::Frames { entry, bytes, .. } = piece else {
                    panic!("{piece:?}");
                };
                all += bytes.len();
                after = entry.end();
            }
        }
        all
    }

    /// Commits, and the bytes on disk.
    #[must_use]
    pub fn figures(&self) -> (u64, u64) {
        let figures = self.0.figures();
        (figures.commits, figures.bytes)
    }

    pub async fn close(self) {
        self.0.close().await;
    }
}

// === impl DiskSession ===

impl DiskSession {
    /// The first turn begins, or the last one ends.
    pub fn turn(&self, begins: bool) {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let ended = u64::try_from(now.as_millis()).ok().filter(|_| !begins);
        self.change(|number, _, draft| {
            draft.begins = begins;
            draft.row = Some(Row {
                number,
                id: format!("550e8400-e29b-41d4-a716-{number:012}"),
                epoch: "epoch12345".into(),
                remote_id: Some(format!("ses_{number:026}")),
                state: if begins { "running" } else { "completed" }.into(),
                ended,
                key: None,
                reported: 0,
                turn: 1,
                details: r#"{"model":"gpt-4o-mini","created_at":1795166590559}"#.into(),
            });
        });
    }

    /// So many events, each with this data. Gives the number of the last.
    #[must_use]
    pub fn say(&self, count: u64, data: &str) -> u64 {
        self.change(|_, last, draft| {
            for _ in 0..count {
                *last += 1;
                let frame = format!("event: output\nid: epoch12345-{last}\ndata: {data}\n\n");
                draft.add_event(*last, false, frame.as_bytes());
            }
        })
    }

    /// Waits until readers may be shown this event.
    pub async fn written(&self, last: u64) {
        let mut head_rx = self.watermark.subscribe();
        // The sender lives as long as we do.
        head_rx.wait_for(|head| head.seq >= last).await.ok();
    }

    fn change(&self, change: impl FnOnce(u64, &mut u64, &mut Draft)) -> u64 {
        let mut last = self.last.lock();
        let mut draft = Draft::after(*last);
        change(self.number, &mut last, &mut draft);
        let appended = Appended {
            last: *last,
            ends: false,
        };
        self.journal
            .append(self.number, &self.watermark, appended, draft);
        *last
    }
}

impl fmt::Debug for DiskSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DiskSession").field(&self.number).finish()
    }
}
