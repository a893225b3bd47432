//! Text in the columns of a terminal: how wide it is, where it is cut, where it is wrapped. Pure.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Columns that the text takes. It holds no escape sequences.
pub(super) fn width(text: &str) -> usize {
    text.width()
}

/// At most `columns`; a text that is cut ends in `…`.
pub(super) fn cut(text: &str, columns: usize) -> String {
    let text = text.replace('\t', "    ");
    if width(&text) <= columns {
        return text;
    }
    if columns < 2 {
        return "…".repeat(columns);
    }
    take(&text, columns - 1).0.to_owned() + "…"
}

/// The first row of `text` in `columns`, and what is left of it. Breaks between words where it can.
pub(super) fn first_row(text: &str, columns: usize) -> (&str, &str) {
    let (row, rest) = take(text, columns.max(1));
    if rest.is_empty() {
        return (row, rest);
    }
    if rest.starts_with(' ') {
        return (row, rest.trim_start_matches(' '));
    }
    match row.rfind(' ') {
        // A word that fills most of the row is broken: else a row would hold little.
        Some(at) if at * 2 > row.len() => {
            let (row, word) = text.split_at(at);
            (row, word.trim_start_matches(' '))
        }
        _ => (row, rest),
    }
}

/// As much of the text as fits; at least one character.
fn take(text: &str, columns: usize) -> (&str, &str) {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += c.width().unwrap_or(0);
        if used > columns && at > 0 {
            return text.split_at(at);
        }
    }
    (text, "")
}

/// `12 s`, `3 min 20 s`, `2 h 5 min`, `4 d`: for a person who looks at it now.
pub(super) fn duration(duration: std::time::Duration) -> String {
    let (millis, seconds) = (duration.as_millis(), duration.as_secs());
    match seconds {
        0 => format!("{millis} ms"),
        1..10 => format!("{}.{} s", seconds, millis % 1000 / 100),
        10..60 => format!("{seconds} s"),
        60..3600 if seconds % 60 == 0 => format!("{} min", seconds / 60),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// `12s`, `3m20s`, `2h5m`, `4d`: for a column.
pub(super) fn age(duration: std::time::Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => format!("{}m{}s", seconds / 60, seconds % 60),
        600..10_800 => format!("{}m", seconds / 60),
        10_800..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// `950`, `1.2k`, `34k`, `5.6M`.
pub(super) fn count(number: u64) -> String {
    match number {
        0..1000 => number.to_string(),
        1000..10_000 => format!("{}.{}k", number / 1000, number % 1000 / 100),
        10_000..1_000_000 => format!("{}k", number / 1000),
        _ => format!("{}.{}M", number / 1_000_000, number % 1_000_000 / 100_000),
    }
}

/// `512 B`, `20 KiB`, `1.5 GiB`.
pub(super) fn bytes(number: u64) -> String {
    let (unit, name) = match number {
        0..1024 => return format!("{number} B"),
        1024..1_048_576 => (1 << 10, "KiB"),
        1_048_576..1_073_741_824 => (1 << 20, "MiB"),
        _ => (1 << 30, "GiB"),
    };
    let (whole, tenth) = (number / unit, number % unit * 10 / unit);
    if whole < 10 && tenth > 0 {
        format!("{whole}.{tenth} {name}")
    } else {
        format!("{whole} {name}")
    }
}

/// `$0.0012`, `$1.20`; nothing where nothing was spent.
pub(super) fn cost(dollars: f64) -> Option<String> {
    if dollars <= 0.0 {
        return None;
    }
    Some(if dollars < 0.1 {
        format!("${dollars:.4}")
    } else {
        format!("${dollars:.2}")
    })
}

/// `1 file`, `2 files`.
pub(super) fn plural(number: usize, noun: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{s}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn rows_break_between_words_and_long_words_where_they_must() {
        let rows = |mut text: &'static str, columns| {
            let mut rows = Vec::new();
            while !text.is_empty() {
                let (row, rest) = first_row(text, columns);
                rows.push(row);
                text = rest;
            }
            rows
        };
        assert_eq!(rows("the quick brown fox", 10), ["the quick", "brown fox"]);
        assert_eq!(rows("abcdefghij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(rows("界界界", 4), ["界界", "界"]);
        assert_eq!(
            rows("界", 1),
            ["界"],
            "what is wider than the row is shown all the same"
        );
    }

    #[test]
    fn a_cut_text_fits() {
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("abcd", 4), "abcd");
        assert_eq!(cut("界界界", 4), "界…");
        assert_eq!(cut("abc", 0), "");
    }

    #[test]
    fn figures_are_short() {
        let of = Duration::from_millis;
        assert_eq!(duration(of(12)), "12 ms");
        assert_eq!(duration(of(1234)), "1.2 s");
        assert_eq!(duration(of(200_000)), "3 min 20 s");
        assert_eq!(duration(of(7_500_000)), "2 h 5 min");
        assert_eq!(
            (age(of(59_000)), age(of(200_000))),
            ("59s".into(), "3m20s".into())
        );
        assert_eq!(
            (count(999), count(1234), count(34_567)),
            ("999".into(), "1.2k".into(), "34k".into())
        );
        assert_eq!(
            (bytes(20 << 10), bytes(3 << 29)),
            ("20 KiB".into(), "1.5 GiB".into())
        );
        assert_eq!(cost(0.0), None);
        assert_eq!(plural(1, "file") + &plural(2, "file"), "1 file2 files");
    }
}
