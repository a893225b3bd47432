//! The text of a setting to its value. Pure.
//!
//! The error of each function completes the sentence "NAME=… is not accepted: give …".

use std::fmt::Debug;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use reqwest::Url;

type Parsed<T> = Result<T, &'static str>;

/// A duration: a bare number is seconds; `ms`, `s`, `m`, `h` say the unit.
pub(crate) fn duration(text: &str) -> Parsed<Duration> {
    let accepts = "a duration such as 30, 30s, 500ms, 5m or 1h (a bare number is seconds)";
    let (number, unit) = number_and_unit(text).ok_or(accepts)?;
    let factor = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(accepts),
    };
    number
        .checked_mul(factor)
        // Nothing here is meant to be instant or to outlive a month.
        .filter(|millis| (1..=31 * 24 * 3_600_000).contains(millis))
        .map(Duration::from_millis)
        .ok_or(accepts)
}

/// A duration, or 0 for none.
pub(crate) fn duration_or_none(text: &str) -> Parsed<Duration> {
    match number_and_unit(text) {
        Some((0, "" | "ms" | "s" | "m" | "h")) => Ok(Duration::ZERO),
        _ => duration(text),
    }
}

/// Bytes, as Kubernetes writes them: a bare number, or one with `k`, `M`, `G` (thousands) or `Ki`, `Mi`,
/// `Gi`, `Ti` (1024).
pub(crate) fn bytes(
    range: RangeInclusive<u64>,
    accepts: &'static str,
) -> impl Fn(&str) -> Parsed<u64> + Clone {
    move |text| {
        let (number, unit) = number_and_unit(text).ok_or(accepts)?;
        let factor = match unit {
            "" => 1,
            "k" => 1_000,
            "M" => 1_000_000,
            "G" => 1_000_000_000,
            "Ki" => 1 << 10,
            "Mi" => 1 << 20,
            "Gi" => 1 << 30,
            "Ti" => 1 << 40,
            _ => return Err(accepts),
        };
        number
            .checked_mul(factor)
            .filter(|bytes| range.contains(bytes))
            .ok_or(accepts)
    }
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(split)?;
    Some((number.parse().ok()?, unit))
}

pub(crate) fn number<T: FromStr + PartialOrd + Clone>(
    range: RangeInclusive<T>,
    accepts: &'static str,
) -> impl Fn(&str) -> Parsed<T> + Clone {
    move |text| {
        let number = text.parse().map_err(|_| accepts)?;
        range.contains(&number).then_some(number).ok_or(accepts)
    }
}

/// One of a few words.
pub(crate) fn word<T: Copy + Debug, const N: usize>(
    words: [(&'static str, T); N],
    accepts: &'static str,
) -> impl Fn(&str) -> Parsed<T> + Clone {
    move |text| {
        let found = words.iter().find(|(word, _)| *word == text);
        found.map(|(_, value)| *value).ok_or(accepts)
    }
}

pub(crate) fn switch(text: &str) -> Parsed<bool> {
    match text.to_ascii_lowercase().as_str() {
        "on" | "true" | "1" | "yes" => Ok(true),
        "off" | "false" | "0" | "no" => Ok(false),
        _ => Err("on or off"),
    }
}

pub(crate) fn port(text: &str) -> Parsed<u16> {
    let accepts = "a port number from 0 to 65535 (0 picks a free one)";
    text.parse().map_err(|_| accepts)
}

pub(crate) fn address(text: &str) -> Parsed<IpAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    bare.parse()
        .map_err(|_| "an IP address such as ::, 0.0.0.0 or 127.0.0.1")
}

/// An address to call. No credentials, which would be logged with it, and nothing after the path.
pub(crate) fn url(text: &str) -> Parsed<Url> {
    let accepts = "an http or https address without user name, query or fragment, such as http://backend:8080";
    let url = Url::parse(text).map_err(|_| accepts)?;
    let plain = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    let callable = matches!(url.scheme(), "http" | "https") && url.has_host();
    (callable && plain).then_some(url).ok_or(accepts)
}

/// Origins as browsers write them: scheme, host and a port that is not the scheme's own.
pub(crate) fn origins(text: &str) -> Parsed<Vec<String>> {
    let origin = |word: &str| {
        let origin = url(word).ok()?;
        (origin.path() == "/" && !word.ends_with('/'))
            .then(|| origin.origin().ascii_serialization())
    };
    list(text, origin).ok_or(
        "origins separated by commas, such as https://dash.example.com (no path and no wildcard)",
    )
}

/// Host names, in lower case.
pub(crate) fn hosts(text: &str) -> Parsed<Vec<String>> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let host = |word: &str| {
        let plain = word.chars().all(is_plain) && !word.starts_with('.') && !word.ends_with('.');
        plain.then(|| word.to_ascii_lowercase())
    };
    list(text, host).ok_or(
        "host names separated by commas, such as agent.example.com (no port and no wildcard)",
    )
}

/// Every word between commas; a list without one is a mistake.
fn list(text: &str, one: impl Fn(&str) -> Option<String>) -> Option<Vec<String>> {
    let words = text
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty());
    let found: Vec<String> = words.map(one).collect::<Option<_>>()?;
    (!found.is_empty()).then_some(found)
}

/// Absolute paths, separated by colons as in PATH.
pub(crate) fn paths(text: &str) -> Parsed<Vec<PathBuf>> {
    let words = text.split(':').filter(|word| !word.is_empty());
    let paths: Vec<PathBuf> = words.map(PathBuf::from).collect();
    let sound = !paths.is_empty() && paths.iter().all(|path| path.is_absolute());
    sound
        .then_some(paths)
        .ok_or("absolute paths separated by colons")
}

/// One or two secrets, separated by a comma or a line break.
///
/// Two at once let a rotation go without a gap. More than two is a mistake in a file that is not the
/// secret, and a blank inside is a mistake in quoting: both are refused rather than guessed at.
pub(crate) fn secrets(text: &str) -> Parsed<Vec<String>> {
    let found: Vec<String> = text
        .split([',', '\n'])
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect();
    let sound = |secret: &String| secret.bytes().all(|byte| byte.is_ascii_graphic());
    (matches!(found.len(), 1 | 2) && found.iter().all(sound))
        .then_some(found)
        .ok_or("one secret, or two separated by a comma or a line break while you rotate; no spaces inside")
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
            assert_eq!(
                duration(text).ok(),
                millis.map(Duration::from_millis),
                "{text}"
            );
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
        for (text, expected) in cases {
            let parsed = bytes(16 << 20..=1 << 40, "a size")(text);
            assert_eq!(parsed.ok(), expected, "{text}");
        }
    }

    #[test]
    fn an_origin_is_written_as_browsers_do() {
        let some = |words: &[&str]| Some(words.iter().map(|&word| word.to_owned()).collect());
        assert_eq!(
            origins("https://Dash.example:443, http://localhost:5173,").ok(),
            some(&["https://dash.example", "http://localhost:5173"])
        );
        for bad in [
            "",
            ",",
            "*",
            "null",
            "dash.example",
            "https://a.b/",
            "https://a.b/c",
            "https://u@a.b",
            "ftp://a.b",
        ] {
            assert!(origins(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_host_is_a_name_without_a_port() {
        assert_eq!(
            hosts("Agent.example.com").ok(),
            Some(vec!["agent.example.com".into()])
        );
        for bad in [
            "",
            "*.example.com",
            ".example.com",
            "a.b:80",
            "http://a.b",
            "a b",
            "a.b.",
        ] {
            assert!(hosts(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_are_absolute_and_separated_by_colons() {
        let both = vec![PathBuf::from("/opt/a b"), PathBuf::from("/srv")];
        assert_eq!(paths("/opt/a b:/srv"), Ok(both.clone()));
        assert_eq!(paths("/opt/a b::/srv:"), Ok(both));
        assert!(paths("/srv:relative").is_err() && paths(":").is_err());
    }

    #[test]
    fn secrets_are_one_or_two_words() {
        let one_or_two = |text| secrets(text).ok();
        assert_eq!(one_or_two("a"), Some(vec!["a".into()]));
        assert_eq!(one_or_two("a,b"), Some(vec!["a".into(), "b".into()]));
        assert_eq!(one_or_two("a\nb\n"), Some(vec!["a".into(), "b".into()]));
        assert_eq!(one_or_two("a\r\nb\r\n"), Some(vec!["a".into(), "b".into()]));
        assert_eq!(one_or_two(" \n,"), None);
        assert_eq!(one_or_two("a b"), None);
        assert_eq!(one_or_two("a,b,c"), None);
    }
}
