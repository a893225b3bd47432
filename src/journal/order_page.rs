//! One page of the events of all sessions, in their order.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _, Transaction};

use super::order_entry::{self, Entry};
use super::page::Piece;
use super::{order_rows, queries};

/// What a reader of all events wants to have read.
#[derive(Clone, Debug)]
pub(crate) struct OrderQuery {
    /// Positions `after + 1 ..= upto`, which must be on disk.
    pub(crate) after: u64,
    pub(crate) upto: u64,
    /// Also events that only readers of reasoning are shown.
    pub(crate) hidden: bool,
    /// The ids of the sessions that are wanted; all, if there are none.
    pub(crate) sessions: Arc<BTreeSet<String>>,
}

/// What such a reader gets next. As with [`Piece`], each continues where the one before ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OrderPiece {
    /// Whole frames of one session, back to back: all that is shown of `entry`, and nothing else.
    Frames {
        session_id: Arc<str>,
        entry: Entry,
        bytes: Bytes,
    },
    /// Nothing that is wanted up to this position.
    Skipped { last: u64 },
    /// The events up to this position are lost. Whether they were wanted is known only if they are all of one session
    /// that is here.
    Lost { last: u64, is_wanted: bool },
    /// Retention removed what is before this position.
    Removed { oldest: u64 },
}

/// A page that is being put together.
struct Page<'a> {
    tx: &'a Transaction<'a>,
    query: &'a OrderQuery,
    /// The next position it needs.
    next: u64,
    pieces: Vec<OrderPiece>,
    bytes: usize,
    /// Entries that were looked at.
    seen: usize,
    /// The sessions met so far; nothing for one that is gone.
    ids: HashMap<u64, Option<Arc<str>>>,
}

/// As the page of one session.
const PAGE_BYTES: usize = 256 << 10;

/// Entries that are not wanted add no bytes.
const PAGE_ENTRIES: usize = 4096;

/// The next positions, until the page is full.
pub(super) fn order_page(
    conn: &Connection,
    query: &OrderQuery,
) -> rusqlite::Result<Vec<OrderPiece>> {
    // In one transaction, so that the order and the events belong together.
    let tx = conn.unchecked_transaction()?;
    let mut page = Page {
        tx: &tx,
        query,
        next: query.after + 1,
        pieces: Vec::new(),
        bytes: 0,
        seen: 0,
        ids: HashMap::new(),
    };
    page.begin_at(order_rows::oldest(&tx)?);
    let mut statement = tx.prepare_cached(
        "SELECT position, entries FROM event_order
         WHERE position >= coalesce((SELECT max(position) FROM event_order WHERE position <= ?1), ?1)
             AND position <= ?2
         ORDER BY position",
    )?;
    let mut rows = statement.query([page.next, query.upto])?;
    while let Some(row) = rows.next()? {
        let position = row.get(0)?;
        for entry in order_entry::unpack(position, row.get_ref(1)?.as_blob()?) {
            page.add(entry)?;
            if page.is_full() {
                return Ok(page.pieces);
            }
        }
    }
    // The rest is nowhere.
    page.lose(query.upto, false);
    Ok(page.pieces)
}

// === impl Page ===

impl Page<'_> {
    fn is_full(&self) -> bool {
        self.next > self.query.upto || self.bytes >= PAGE_BYTES || self.seen >= PAGE_ENTRIES
    }

    fn begin_at(&mut self, oldest: u64) {
        let oldest = oldest.min(self.query.upto + 1);
        if oldest > self.next {
            self.pieces.push(OrderPiece::Removed { oldest });
            self.next = oldest;
        }
    }

    fn add(&mut self, entry: Entry) -> rusqlite::Result<()> {
        let Some(entry) = entry.within(self.next, self.query.upto) else {
            return Ok(());
        };
        self.seen += 1;
        self.lose(entry.position - 1, false);
        let Some(id) = self.session_id(entry.number)? else {
            self.lose(entry.end(), false);
            return Ok(());
        };
        let wanted = &self.query.sessions;
        if wanted.is_empty() || wanted.contains(&*id) {
            self.read(&id, entry)
        } else {
            self.skip(entry.end());
            Ok(())
        }
    }

    fn read(&mut self, id: &Arc<str>, entry: Entry) -> rusqlite::Result<()> {
        let mut seq = entry.first - 1;
        while seq < entry.last && !self.is_full() {
            let span = (seq, entry.last);
            let pieces = queries::page_within(self.tx, entry.number, span, self.query.hidden)?;
            if pieces.is_empty() {
                self.lose(entry.end(), true);
                return Ok(());
            }
            for piece in pieces {
                let first = seq + 1;
                let last = match piece {
                    Piece::Frames { last, .. } | Piece::Skipped { last } | Piece::Lost { last } => {
                        last
                    }
                    Piece::Removed { oldest } => (oldest - 1).min(entry.last),
                };
                let part = Entry {
                    position: entry.position_of(first),
                    first,
                    last,
                    ..entry
                };
                match piece {
                    Piece::Frames { bytes, .. } => self.show(id, part, bytes),
                    Piece::Skipped { .. } => self.skip(part.end()),
                    Piece::Lost { .. } | Piece::Removed { .. } => self.lose(part.end(), true),
                }
                seq = last;
            }
        }
        Ok(())
    }

    fn show(&mut self, id: &Arc<str>, entry: Entry, bytes: Bytes) {
        self.bytes += bytes.len();
        self.next = entry.end() + 1;
        self.pieces.push(OrderPiece::Frames {
            session_id: Arc::clone(id),
            entry,
            bytes,
        });
    }

    fn skip(&mut self, upto: u64) {
        match self.pieces.last_mut() {
            Some(OrderPiece::Skipped { last }) => *last = upto,
            _ => self.pieces.push(OrderPiece::Skipped { last: upto }),
        }
        self.next = upto + 1;
    }

    fn lose(&mut self, upto: u64, wanted: bool) {
        if upto < self.next {
            return;
        }
        match self.pieces.last_mut() {
            Some(OrderPiece::Lost { last, is_wanted }) if *is_wanted == wanted => *last = upto,
            _ => self.pieces.push(OrderPiece::Lost {
                last: upto,
                is_wanted: wanted,
            }),
        }
        self.next = upto + 1;
    }

    fn session_id(&mut self, number: u64) -> rusqlite::Result<Option<Arc<str>>> {
        if let Some(known) = self.ids.get(&number) {
            return Ok(known.clone());
        }
        let id: Option<String> = self
            .tx
            .prepare_cached("SELECT id FROM sessions WHERE number = ?1")?
            .query_row([number], |row| row.get(0))
            .optional()?;
        let id = id.filter(|id| crate::id::is_id(id)).map(Arc::from);
        self.ids.insert(number, id.clone());
        Ok(id)
    }
}
