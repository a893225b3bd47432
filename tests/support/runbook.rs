//! The runbook's table of causes. What a diagnosis says is to be found there.

const OPERATIONS: &str = include_str!("../../docs/OPERATIONS.md");

/// Each cause with the ways in which its sentence may go; "…" stands for anything.
pub(crate) fn rows() -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
    let table = OPERATIONS.split_once("\n| `cause` |").unwrap().1;
    let table = table.split_once("\n\n").unwrap().0;
    table.lines().skip(2).map(|row| {
        let mut cells = row.trim_matches('|').split(" | ").map(str::trim);
        let cause = cells.next().unwrap().trim_matches('`');
        (cause, cells.next().unwrap().split("; or: ").collect())
    })
}

/// Panics unless the runbook has this sentence for this cause.
pub(crate) fn assert_has(cause: &str, sentence: &str) {
    let row = rows().find(|(other, _)| *other == cause);
    let (_, ways) = row.unwrap_or_else(|| panic!("the runbook has no row for {cause}"));
    assert!(
        ways.iter().any(|way| fits(way, sentence)),
        "the runbook does not have this sentence for {cause}: {sentence}"
    );
}

fn fits(way: &str, sentence: &str) -> bool {
    let mut pieces = way.split('…');
    let first = pieces.next().unwrap_or_default();
    let rest = sentence.strip_prefix(first);
    rest.is_some_and(|rest| {
        pieces
            .try_fold(rest, |rest, piece| Some(rest.split_once(piece)?.1))
            .is_some()
    })
}
