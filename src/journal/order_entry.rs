//! A piece of the order of all events, and the form in which it lies on disk. Pure.

use super::schema::is_in_range;

/// Consecutive events of one session at consecutive positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Of the first event.
    pub(crate) position: u64,
    /// Which session.
    pub(crate) number: u64,
    pub(crate) first: u64,
    pub(crate) last: u64,
}

/// Entries one after the other, as one row of the database has them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OrderRow {
    /// Of the first event.
    pub(super) position: u64,
    /// Of the last event.
    pub(super) end: u64,
    pub(super) entries: Vec<u8>,
}

/// So many entries are in a row at most, so that a reader that wants the last of them need not read much else.
const ROW_ENTRIES: usize = 512;

/// Positions end here: far more than there can be, and few enough to be added to.
pub(super) const MAX_POSITION: u64 = 1 << 62;

// === impl Entry ===

impl Entry {
    /// The position of the last event.
    pub(crate) const fn end(&self) -> u64 {
        self.position + (self.last - self.first)
    }

    /// The position of event `seq`, which must be one of these.
    pub(crate) const fn position_of(&self, seq: u64) -> u64 {
        self.position + seq.saturating_sub(self.first)
    }

    /// The part of it at positions `from..=upto`; nothing if there is none.
    pub(crate) fn within(&self, from: u64, upto: u64) -> Option<Self> {
        let (start, end) = (self.position.max(from), self.end().min(upto));
        (start <= end).then(|| Self {
            position: start,
            first: self.first + (start - self.position),
            last: self.last - (self.end() - end),
            ..*self
        })
    }

    /// Whether the two are one.
    pub(super) const fn continues(&self, before: &Self) -> bool {
        self.number == before.number
            && self.first == before.last + 1
            && self.position == before.end() + 1
    }
}

/// The rows for these entries, which are in the order of their positions.
pub(super) fn rows(entries: &[Entry]) -> impl Iterator<Item = OrderRow> {
    let together = |before: &Entry, next: &Entry| before.end() + 1 == next.position;
    let runs = entries.chunk_by(together);
    let pieces = runs.flat_map(|run| run.chunks(ROW_ENTRIES));
    pieces.filter_map(|piece| {
        let (first, last) = (piece.first()?, piece.last()?);
        let mut packed = Vec::with_capacity(piece.len() * 8);
        for entry in piece {
            for value in [entry.number, entry.first, entry.last - entry.first] {
                push_varint(&mut packed, value);
            }
        }
        Some(OrderRow {
            position: first.position,
            end: last.end(),
            entries: packed,
        })
    })
}

/// The entries of a row. What cannot be ours ends them.
pub(super) fn unpack(mut position: u64, mut packed: &[u8]) -> Vec<Entry> {
    let mut entries = Vec::new();
    while !packed.is_empty() {
        let Some((number, first, more)) = take_varint(&mut packed)
            .zip(take_varint(&mut packed))
            .zip(take_varint(&mut packed))
            .map(|((number, first), more)| (number, first, more))
        else {
            break;
        };
        let last = first.saturating_add(more);
        let is_sound = is_in_range(number, last) && first > 0 && position <= MAX_POSITION;
        if !is_sound {
            break;
        }
        let entry = Entry {
            position,
            number,
            first,
            last,
        };
        position = entry.end() + 1;
        entries.push(entry);
    }
    entries
}

/// Seven bits a byte, the lowest first.
fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap_or_default() | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap_or_default());
}

fn take_varint(packed: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for nth in 0..9 {
        let (byte, rest) = packed.split_first()?;
        *packed = rest;
        value |= u64::from(byte & 0x7f) << (7 * nth);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    // More than 63 bits: not ours.
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(position: u64, number: u64, first: u64, last: u64) -> Entry {
        Entry {
            position,
            number,
            first,
            last,
        }
    }

    #[test]
    fn a_part_of_an_entry_has_the_events_at_its_positions() {
        let whole = entry(100, 7, 11, 20);
        assert_eq!(whole.end(), 109);
        assert_eq!(whole.position_of(14), 103);
        assert_eq!(whole.within(0, 1000), Some(whole));
        assert_eq!(whole.within(103, 105), Some(entry(103, 7, 14, 16)));
        assert_eq!(whole.within(109, 109), Some(entry(109, 7, 20, 20)));
        assert_eq!(whole.within(110, 200), None);
        assert_eq!(whole.within(0, 99), None);
    }

    #[test]
    fn a_row_ends_where_a_position_is_missing() {
        let entries = [entry(5, 1, 1, 3), entry(8, 2, 1, 1), entry(10, 1, 4, 4)];
        let rows: Vec<_> = rows(&entries).collect();
        let spans: Vec<_> = rows.iter().map(|row| (row.position, row.end)).collect();
        assert_eq!(spans, [(5, 8), (10, 10)]);
        assert_eq!(rows[0].entries.len(), 6, "a few bytes each");
        assert_eq!(unpack(5, &rows[0].entries), entries[..2]);
    }

    #[test]
    fn what_cannot_be_ours_ends_the_entries_of_a_row() {
        let good = rows(&[entry(1, 1, 1, 1)]).next().unwrap().entries;
        for forged in [
            &[][..],
            &[1, 1],
            &[1, 0, 0],
            &[0xff; 40],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 1, 0],
        ] {
            let packed = [&good, forged].concat();
            assert_eq!(unpack(1, &packed), [entry(1, 1, 1, 1)], "{forged:?}");
        }
        assert_eq!(unpack(u64::MAX, &good), []);
    }

    proptest! {
        #[test]
        fn any_entries_come_back_from_their_rows(
            parts in prop::collection::vec((0..1_u64 << 29, 1..1_u64 << 33, 0..1_u64 << 20, any::<bool>()), 0..1500),
        ) {
            let mut next = 1;
            let entries: Vec<Entry> = parts
                .into_iter()
                .map(|(number, first, more, gap)| {
                    let position = next + u64::from(gap);
                    next = position + more + 1;
                    entry(position, number, first, first + more)
                })
                .collect();
            let rows: Vec<OrderRow> = rows(&entries).collect();
            let back: Vec<Entry> = rows.iter().flat_map(|row| unpack(row.position, &row.entries)).collect();
            prop_assert_eq!(back, entries);
            for row in rows {
                let last = unpack(row.position, &row.entries).pop().unwrap();
                prop_assert_eq!(row.end, last.end());
            }
        }

        #[test]
        fn any_bytes_can_be_unpacked(position: u64, bytes: Vec<u8>) {
            unpack(position, &bytes);
        }
    }
}
