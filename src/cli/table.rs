//! Columns, as `kubectl get` prints them. Pure.

use super::layout::{cut, width};

/// Between two columns.
const GAP: usize = 3;

/// Puts a text in a colour.
type Paint = Box<dyn Fn(&str) -> String>;

/// A cell: its text, and what colours it.
pub(super) struct Cell {
    text: String,
    paint: Option<Paint>,
}

// === impl Cell ===

impl Cell {
    pub(super) fn painted(
        text: impl Into<String>,
        paint: impl Fn(&str) -> String + 'static,
    ) -> Self {
        Self {
            text: text.into(),
            paint: Some(Box::new(paint)),
        }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self {
            text: text.into(),
            paint: None,
        }
    }
}

/// The rows as lines. Each is at most `columns` wide, where that is given: the last column is cut.
pub(super) fn lines<const N: usize>(
    header: [&str; N],
    rows: Vec<[Cell; N]>,
    columns: Option<usize>,
) -> Vec<String> {
    let mut widths = header.map(width);
    for row in &rows {
        for (wide, cell) in widths.iter_mut().zip(row) {
            *wide = (*wide).max(width(&cell.text));
        }
    }
    let header = header.map(|text| Cell::from(text.to_owned()));
    std::iter::once(header)
        .chain(rows)
        .map(|row| line(row, &widths, columns))
        .collect()
}

fn line<const N: usize>(row: [Cell; N], widths: &[usize; N], columns: Option<usize>) -> String {
    let mut line = String::new();
    let mut used = 0;
    for (at, (cell, wide)) in row.into_iter().zip(widths).enumerate() {
        let room = columns.map_or(usize::MAX, |columns| columns.saturating_sub(used));
        let text = cut(&cell.text, room);
        let filled = width(&text);
        match cell.paint {
            Some(paint) => line.push_str(&paint(&text)),
            None => line.push_str(&text),
        }
        if at + 1 < N {
            line.extend(std::iter::repeat_n(
                ' ',
                wide + GAP - filled.min(wide + GAP),
            ));
            used += wide + GAP;
        }
    }
    line.truncate(line.trim_end().len());
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_nothing_trails() {
        let rows = vec![
            ["a-long-id".into(), "running".into()],
            ["b".into(), "".into()],
        ];
        assert_eq!(
            lines(["SESSION", "STATUS"], rows, None),
            ["SESSION     STATUS", "a-long-id   running", "b"]
        );
    }

    #[test]
    fn colours_take_no_room_and_a_narrow_terminal_cuts_the_end() {
        let red = |text: &str| format!("\u{1b}[31m{text}\u{1b}[0m");
        let rows = vec![[Cell::painted("failed", red), "a sentence".into()]];
        let lines = lines(["S", "WHY"], rows, Some(14));
        assert_eq!(lines[1], "\u{1b}[31mfailed\u{1b}[0m   a se…");
    }
}
