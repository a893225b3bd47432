//! Text to value, for one setting at a time. Pure.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;

/// A duration: a bare number is seconds; `ms`, `s`, `m`, `h` say the unit.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(split)?;
    let number: u64 = number.parse().ok()?;
    let millis = match unit {
        "ms" => number,
        "" | "s" => number.checked_mul(1_000)?,
        "m" => number.checked_mul(60_000)?,
        "h" => number.checked_mul(3_600_000)?,
        _ => return None,
    };
    // Nothing here is meant to be instant or to outlive a month.
    (1..=31 * 24 * 3_600_000)
        .contains(&millis)
        .then(|| Duration::from_millis(millis))
}

pub(crate) fn port(text: &str) -> Option<u16> {
    text.parse().ok()
}

pub(crate) fn address(text: &str) -> Option<IpAddr> {
    text.trim_start_matches('[')
        .trim_end_matches(']')
        .parse()
        .ok()
}

pub(crate) fn within(range: std::ops::RangeInclusive<usize>) -> impl Fn(&str) -> Option<usize> {
    move |text| text.parse().ok().filter(|n| range.contains(n))
}

pub(crate) fn count(most: u64) -> impl Fn(&str) -> Option<u64> {
    move |text| text.parse().ok().filter(|n| (1..=most).contains(n))
}

/// Bytes, as Kubernetes writes them: a bare number, or one with `k`, `M`, `G` (thousands) or `Ki`, `Mi`,
/// `Gi`, `Ti` (1024).
pub(crate) fn bytes(range: std::ops::RangeInclusive<u64>) -> impl Fn(&str) -> Option<u64> {
    move |text| {
        let split = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (number, unit) = text.split_at_checked(split)?;
        let factor = match unit {
            "" => 1,
            "k" => 1_000,
            "M" => 1_000_000,
            "G" => 1_000_000_000,
            "Ki" => 1 << 10,
            "Mi" => 1 << 20,
            "Gi" => 1 << 30,
            "Ti" => 1 << 40,
            _ => return None,
        };
        let bytes = number.parse::<u64>().ok()?.checked_mul(factor)?;
        range.contains(&bytes).then_some(bytes)
    }
}

pub(crate) fn loop_limit(text: &str) -> Option<u32> {
    text.parse().ok().filter(|n| *n <= 1000)
}

pub(crate) fn recoveries(text: &str) -> Option<u32> {
    text.parse().ok().filter(|n| *n <= 100)
}

pub(crate) fn switch(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "on" | "true" | "1" | "yes" => Some(true),
        "off" | "false" | "0" | "no" => Some(false),
        _ => None,
    }
}

/// An address to call. No credentials, which would be logged with it, and nothing after the path.
pub(crate) fn url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let plain = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    (matches!(url.scheme(), "http" | "https") && url.has_host() && plain).then_some(url)
}

pub(crate) fn path(text: &str) -> Option<PathBuf> {
    (!text.contains('\0')).then(|| PathBuf::from(text))
}

/// Absolute paths, separated by colons as in PATH.
pub(crate) fn paths(text: &str) -> Option<Vec<PathBuf>> {
    let paths: Vec<PathBuf> = text
        .split(':')
        .filter(|part| !part.is_empty())
        .map(path)
        .collect::<Option<_>>()?;
    paths.iter().all(|path| path.is_absolute()).then_some(paths)
}

/// One or two secrets, separated by a comma or a line break.
///
/// Two at once let a rotation go without a gap. More than two is a mistake in a file that is not the
/// secret, and a blank inside is a mistake in quoting: both are refused rather than guessed at.
pub(crate) fn secrets(text: &str) -> Option<Vec<String>> {
    let found: Vec<String> = text
        .split([',', '\n'])
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect();
    let sound = |secret: &String| secret.bytes().all(|b| b.is_ascii_graphic());
    (matches!(found.len(), 1 | 2) && found.iter().all(sound)).then_some(found)
}

/// How many single-character edits lie between two names, to suggest the one that was meant.
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row.first().copied().unwrap_or(0);
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
        for (j, cb) in b.iter().enumerate() {
            let above = row[j + 1];
            let cost = usize::from(ca != *cb);
            row[j + 1] = (diagonal + cost).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_seconds_unless_it_says_otherwise() {
        let cases = [
            ("30", Some(30_000)),
            ("30s", Some(30_000)),
            ("500ms", Some(500)),
            ("5m", Some(300_000)),
            ("1h", Some(3_600_000)),
            ("0", None),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("5 m", None),
            ("ms", None),
            ("99999999999999999999", None),
            ("18446744073709551615h", None),
        ];
        for (text, millis) in cases {
            assert_eq!(duration(text), millis.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn memory_is_written_as_kubernetes_writes_it() {
        let cases = [
            ("900Mi", Some(900 << 20)),
            ("1Gi", Some(1 << 30)),
            ("1G", Some(1_000_000_000)),
            ("500M", Some(500_000_000)),
            ("20000Ki", Some(20_000 << 10)),
            ("20000k", Some(20_000_000)),
            ("16777216", Some(16 << 20)),
            ("1Ti", Some(1 << 40)),
            ("16777215", None),
            ("900", None),
            ("2Ti", None),
            ("900 Mi", None),
            ("900mi", None),
            ("0.5Gi", None),
            ("Mi", None),
            ("-1Gi", None),
            ("", None),
            ("18446744073709551615Gi", None),
        ];
        for (text, bytes) in cases {
            assert_eq!(super::bytes(16 << 20..=1 << 40)(text), bytes, "{text}");
        }
    }

    #[test]
    fn secrets_are_one_or_two_words() {
        assert_eq!(secrets("a"), Some(vec!["a".into()]));
        assert_eq!(secrets("a,b"), Some(vec!["a".into(), "b".into()]));
        assert_eq!(secrets("a\nb\n"), Some(vec!["a".into(), "b".into()]));
        assert_eq!(secrets("a\r\nb\r\n"), Some(vec!["a".into(), "b".into()]));
        assert_eq!(secrets(" \n,"), None);
        assert_eq!(secrets("a b"), None);
        assert_eq!(secrets("a,b,c"), None);
    }

    #[test]
    fn paths_are_absolute_and_separated_by_colons() {
        let both = vec![PathBuf::from("/opt/a b"), PathBuf::from("/srv")];
        assert_eq!(paths("/opt/a b:/srv"), Some(both.clone()));
        assert_eq!(paths("/opt/a b::/srv:"), Some(both));
        assert_eq!(paths("/srv:relative"), None);
    }

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("OPENCODE_BIN", "OPENCODE_BIN"), 0);
        assert_eq!(distance("OPENCODE_BNI", "OPENCODE_BIN"), 2);
        assert_eq!(distance("", "abc"), 3);
    }
}
