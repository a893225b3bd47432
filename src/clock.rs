//! Moments on the wire.
//!
//! Owns the one way we write a moment down: RFC 3339, UTC, milliseconds. It does not read the clock
//! for pure code; whoever acts calls [`Timestamp::now`] and passes the value on. (Own code, because jiff cannot hold
//! the last two hours of the year 9999, which such a text may name.)

use std::fmt;
use std::time::{Duration, SystemTime};

use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// A moment, in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Timestamp(u64);

/// The last moment with a four-digit year. RFC 3339 has no way to write a later one.
const MAX_MILLIS: u64 = 253_402_300_799_999;

// === impl Timestamp ===

impl Timestamp {
    pub(crate) const fn from_millis(millis: u64) -> Self {
        Self(if millis > MAX_MILLIS {
            MAX_MILLIS
        } else {
            millis
        })
    }

    /// The wall clock. A clock set before 1970 counts as 1970.
    pub(crate) fn now() -> Self {
        SystemTime::now().into()
    }

    pub(crate) const fn as_millis(self) -> u64 {
        self.0
    }

    /// Reads RFC 3339, with any offset. Milliseconds are kept, finer parts are cut off; a moment before
    /// 1970 is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let number = |at: std::ops::Range<usize>| {
            let digits = text.get(at)?;
            let all = digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse::<i64>().ok().filter(|_| all)
        };
        let sign = |at: usize, accepted: &[u8]| {
            text.as_bytes()
                .get(at)
                .filter(|byte| accepted.contains(byte))
        };
        sign(4, b"-").and(sign(7, b"-"))?;
        sign(10, b"Tt ").and(sign(13, b":")).and(sign(16, b":"))?;
        let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
        let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
        let in_range = (1..=12).contains(&month) && (1..=31).contains(&day);
        if !in_range || hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let rest = text.get(19..)?;
        let fraction = rest.strip_prefix('.').unwrap_or_default();
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        if rest.starts_with('.') && digits == 0 {
            return None;
        }
        let millis = fraction
            .get(..digits.min(3))
            .map_or(0, |first| format!("{first:0<3}").parse().unwrap_or(0));
        let zone = if rest.starts_with('.') {
            fraction.get(digits..)?
        } else {
            rest
        };
        let offset = offset_minutes(zone)?;
        let minutes = (days_since_1970(year, month, day) * 24 + hour) * 60 + minute - offset;
        u64::try_from(minutes * 60_000 + second * 1000 + millis)
            .ok()
            .map(Self::from_millis)
    }

    /// How long before `self` the moment `earlier` was; zero when the clock went backwards.
    pub(crate) const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    #[cfg(test)]
    pub(crate) fn after(self, wait: Duration) -> Self {
        let millis = u64::try_from(wait.as_millis()).unwrap_or(MAX_MILLIS);
        Self::from_millis(self.0.saturating_add(millis))
    }

    /// `2026-11-20T09:23:10.559Z`, as ASCII: a formatter would cost more than the rest of an event.
    pub(crate) fn rfc3339(self) -> [u8; 24] {
        let (days, millis) = (self.0 / 86_400_000, self.0 % 86_400_000);
        let (year, month, day) = civil(days);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        for (end, mut value) in [
            (3, year),
            (6, month),
            (9, day),
            (12, millis / 3_600_000),
            (15, millis / 60_000 % 60),
            (18, millis / 1000 % 60),
            (22, millis % 1000),
        ] {
            let mut at = end;
            while value > 0 {
                text[at] = b'0' + u8::try_from(value % 10).unwrap_or_default();
                value /= 10;
                at = at.saturating_sub(1);
            }
        }
        text
    }
}

/// A duration in whole milliseconds, as logs and bodies have it.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl From<SystemTime> for Timestamp {
    fn from(at: SystemTime) -> Self {
        let since = at
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Self::from_millis(u64::try_from(since.as_millis()).unwrap_or(MAX_MILLIS))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.rfc3339()).unwrap_or_default())
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(str::from_utf8(&self.rfc3339()).unwrap_or_default())
    }
}

/// Year, month and day of a day since 1970, in the proleptic Gregorian calendar.
///
/// The year is counted from March, so that the leap day is its last (Howard Hinnant's
/// `civil_from_days`); an era is the 400 years after which the calendar repeats.
const fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let civil_month = if month < 10 { month + 3 } else { month - 9 };
    let civil_year = era * 400 + year + if civil_month <= 2 { 1 } else { 0 };
    (civil_year, civil_month, day_of_month)
}

/// The inverse of [`civil`].
const fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// `Z`, `+02:00` or `-09:30`.
fn offset_minutes(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let sign = match zone.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    let two = |digits: &str| {
        let sound = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse::<i64>().ok().filter(|_| sound)
    };
    Some(sign * (two(hours)? * 60 + two(minutes)?))
}

impl PartialSchema for Timestamp {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(Some("RFC 3339, UTC, milliseconds"))
            .into()
    }
}

impl ToSchema for Timestamp {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments_are_written_as_date_writes_them() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_795_166_590_559, "2026-11-20T09:23:10.559Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (MAX_MILLIS, "9999-12-31T23:59:59.999Z"),
            (u64::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Timestamp::from_millis(millis).to_string(), text);
        }
    }

    #[test]
    fn every_day_of_four_centuries_follows_the_one_before() {
        let mut last = civil(0);
        for day in 1..146_097 {
            let next = civil(day);
            let every = |years| u64::is_multiple_of(next.0, years);
            let leap = every(4) && (!every(100) || every(400));
            let length = match last.1 {
                2 if leap => 29,
                2 => 28,
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            let expected = match last {
                (year, 12, 31) => (year + 1, 1, 1),
                (year, month, day) if day == length => (year, month + 1, 1),
                (year, month, day) => (year, month, day + 1),
            };
            assert_eq!(next, expected);
            last = next;
        }
    }

    #[test]
    fn what_is_written_is_read_and_so_is_what_others_write() {
        for millis in [0, 951_782_399_999, 1_795_166_590_559, MAX_MILLIS] {
            let moment = Timestamp::from_millis(millis);
            assert_eq!(Timestamp::parse(&moment.to_string()), Some(moment));
        }
        for (text, written) in [
            ("2026-11-20T09:23:10Z", "2026-11-20T09:23:10.000Z"),
            ("2026-11-20T09:23:10.5Z", "2026-11-20T09:23:10.500Z"),
            ("2026-11-20T09:23:10.559999999Z", "2026-11-20T09:23:10.559Z"),
            ("2026-11-20T01:23:10.559+02:00", "2026-11-19T23:23:10.559Z"),
            ("2026-12-31 23:30:00-09:30", "2027-01-01T09:00:00.000Z"),
        ] {
            let read = Timestamp::parse(text).map(|moment| moment.to_string());
            assert_eq!(read.as_deref(), Some(written), "{text}");
        }
        for text in [
            "",
            "yesterday",
            "0001-01-01T00:00:00Z",
            "2026-11-20",
            "2026-11-20T09:23:10",
            "2026-11-20T09:23:10.Z",
            "2026-11-20T09:23:10.5",
            "2026-13-20T09:23:10Z",
            "2026-11-20T25:23:10Z",
            "2026-11-20T09:23:10+2:00",
            "2026-11-20T09:23:10Zé",
            "+026-11-20T09:23:10Z",
        ] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }

    #[test]
    fn time_between_is_never_negative() {
        let (a, b) = (Timestamp::from_millis(5), Timestamp::from_millis(9));
        assert_eq!(b.since(a), Duration::from_millis(4));
        assert_eq!(a.since(b), Duration::ZERO);
        assert_eq!(a.after(Duration::from_millis(4)), b);
    }
}
