//! What a reader asks for, and where that puts it. Pure: values in, values out.
//!
//! [`Requested::parse`] takes any bytes and never fails, because a browser's `EventSource` gives up for good when its
//! cursor is refused. [`resolve`] is the table of cursors in `API_CONTRACT.md`: each row of that is one arm here.

use strum::IntoStaticStr;
use utoipa::ToSchema;

use super::id::{Epoch, EventId};

/// A reader's cursor, as far as it can be understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Requested {
    /// Everything kept. Also what a reader without a cursor gets, so that a POST followed by a GET
    /// loses nothing.
    #[default]
    Earliest,
    /// Only what comes from now on.
    Latest,
    After(EventId),
    /// Not an id of ours; the first characters of it, to say it back.
    Unreadable(Box<str>),
}

/// A hole that the reader is told of: it asked for `requested` and continues after `resume_after`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) reason: GapReason,
    pub(crate) requested: Box<str>,
    pub(crate) resume_after: EventId,
    /// How many events are lost; nobody knows when the cursor is from another log.
    pub(crate) missed: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, ToSchema)]
#[schema(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", const_into_str)]
pub(crate) enum GapReason {
    /// What follows the cursor is no longer kept.
    Evicted,
    /// The cursor is from another log.
    EpochChanged,
    /// The cursor is past the last event.
    Ahead,
    /// The cursor is not an id.
    Invalid,
    /// The reader was overtaken while it read.
    Lagged,
}

/// What a log has at one moment: events `oldest..=head`, where `oldest` is `head + 1` if nothing is kept.
#[derive(Clone, Copy, Debug)]
pub(in crate::session) struct Kept {
    pub(in crate::session) epoch: Epoch,
    pub(in crate::session) oldest: u64,
    pub(in crate::session) head: u64,
}

// === impl Requested ===

impl Requested {
    /// How much of an unreadable cursor is said back.
    const ECHO_CHARS: usize = 64;

    /// Reads a cursor as it comes from a header or a query.
    ///
    /// An empty one is none: that is what `EventSource` means by an empty last event id.
    pub(crate) fn parse(raw: &[u8]) -> Self {
        let text = String::from_utf8_lossy(raw);
        match text.as_ref() {
            "" | "earliest" => Self::Earliest,
            "latest" => Self::Latest,
            other => EventId::parse(other).map_or_else(
                || Self::Unreadable(other.chars().take(Self::ECHO_CHARS).collect()),
                Self::After,
            ),
        }
    }
}

/// Where a reader that asked for this starts: after which event, and the gap it is told of first.
pub(in crate::session) fn resolve(requested: &Requested, kept: Kept) -> (u64, Option<Gap>) {
    let before_oldest = kept.oldest.saturating_sub(1);
    let gap = |reason, requested: &str, missed| {
        let resume_after = kept.epoch.at(before_oldest);
        (
            before_oldest,
            Some(Gap {
                reason,
                requested: requested.into(),
                resume_after,
                missed,
            }),
        )
    };
    match requested {
        Requested::Earliest => (before_oldest, None),
        Requested::Latest => (kept.head, None),
        Requested::Unreadable(text) => gap(GapReason::Invalid, text, None),
        Requested::After(id) if id.epoch != kept.epoch => {
            gap(GapReason::EpochChanged, &id.to_string(), None)
        }
        Requested::After(id) if id.seq > kept.head => gap(GapReason::Ahead, &id.to_string(), None),
        Requested::After(id) if id.seq < before_oldest => gap(
            GapReason::Evicted,
            &id.to_string(),
            Some(before_oldest - id.seq),
        ),
        Requested::After(id) => (id.seq, None),
    }
}

// === impl GapReason ===

impl GapReason {
    pub(crate) const fn as_str(self) -> &'static str {
        self.into_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "abcdefghij";

    /// A log that has given away 1..=4 and keeps 5..=9.
    fn kept() -> Kept {
        Kept {
            epoch: Epoch::parse(OURS).unwrap(),
            oldest: 5,
            head: 9,
        }
    }

    fn ask(cursor: &str) -> (u64, Option<(GapReason, Option<u64>)>) {
        let (after, gap) = resolve(&Requested::parse(cursor.as_bytes()), kept());
        let gap = gap.map(|gap| {
            assert_eq!(&*gap.requested, cursor);
            assert_eq!(
                gap.resume_after,
                kept().epoch.at(after),
                "the gap says where it goes on"
            );
            (gap.reason, gap.missed)
        });
        (after, gap)
    }

    #[test]
    fn a_cursor_inside_what_is_kept_goes_on_after_it() {
        for seq in 4..=9 {
            assert_eq!(ask(&format!("{OURS}-{seq}")), (seq, None));
        }
    }

    #[test]
    fn a_cursor_older_than_what_is_kept_is_evicted() {
        assert_eq!(
            ask("abcdefghij-3"),
            (4, Some((GapReason::Evicted, Some(1))))
        );
        assert_eq!(
            ask("abcdefghij-0"),
            (4, Some((GapReason::Evicted, Some(4))))
        );
    }

    #[test]
    fn a_cursor_of_another_log_is_epoch_changed() {
        assert_eq!(
            ask("zzzzzzzzzz-6"),
            (4, Some((GapReason::EpochChanged, None)))
        );
    }

    #[test]
    fn a_cursor_past_the_head_is_ahead() {
        assert_eq!(ask("abcdefghij-10"), (4, Some((GapReason::Ahead, None))));
    }

    #[test]
    fn an_unreadable_cursor_is_invalid() {
        assert_eq!(ask("12"), (4, Some((GapReason::Invalid, None))));
    }

    #[test]
    fn earliest_latest_and_none_need_no_id() {
        assert_eq!(ask("earliest"), (4, None));
        assert_eq!(ask(""), (4, None));
        assert_eq!(ask("latest"), (9, None));
        assert_eq!(Requested::default(), Requested::Earliest);
    }

    #[test]
    fn any_bytes_are_a_cursor_and_only_their_start_is_said_back() {
        let Requested::Unreadable(echo) = Requested::parse(&[0xff; 1000]) else {
            panic!("not an id")
        };
        assert_eq!(echo.chars().count(), 64);
    }
}
