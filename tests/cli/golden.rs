//! Texts that are held to a file: `…` stands for what differs from run to run.

use std::path::Path;

/// Whether the parts of `pattern` between its `…` come in this order, and nothing else.
pub(crate) fn fits(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let mut last = None;
    for part in parts {
        last = Some(part);
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    match last {
        None => rest.is_empty(),
        Some("") => true,
        Some(part) => rest.is_empty() || line.ends_with(part),
    }
}

/// Holds `text` to `tests/cli/golden/<name>.txt`, line by line.
pub(crate) fn assert_golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/cli/golden/{name}.txt"));
    let golden = std::fs::read_to_string(&path).unwrap();
    let (golden, lines): (Vec<&str>, Vec<&str>) =
        (golden.lines().collect(), text.lines().collect());
    for (number, (expected, line)) in golden.iter().zip(&lines).enumerate() {
        assert!(
            fits(expected, line),
            "{name}, line {}:\nexpected {expected:?}\nseen     {line:?}\n\nall of it:\n{text}",
            number + 1
        );
    }
    assert_eq!(
        golden.len(),
        lines.len(),
        "{name} has another number of lines:\n{text}"
    );
}

#[test]
fn a_pattern_fits_what_it_says_and_nothing_more() {
    assert!(fits("a … c", "a b c") && fits("a…", "abc") && fits("…", "") && fits("ab", "ab"));
    assert!(!fits("a … c", "a b d") && !fits("ab", "abc") && !fits("a…c", "abcd"));
}
