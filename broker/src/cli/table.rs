//! Tables of text in aligned columns.
//!
//! What clients call themselves comes from the network: control characters in it are replaced, so
//! that nothing can reach the operator's terminal.

use std::borrow::Cow;
use std::fmt;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// A column: its title, and on which side its cells stand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) is_text: bool,
}

/// A column of words.
pub(super) const fn text(title: &'static str) -> Column {
    Column { title, is_text: true }
}

/// A column of numbers.
pub(super) const fn number(title: &'static str) -> Column {
    Column { title, is_text: false }
}

/// Rows under titles, the most important columns first.
#[derive(Debug)]
pub(super) struct Table {
    columns: &'static [Column],
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub(super) fn new(columns: &'static [Column]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row with a cell for each column.
    pub(super) fn push<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(cells.len(), self.columns.len());
        let clean = |cell: String| cell.replace(char::is_control, "\u{fffd}");
        self.rows.push(cells.into_iter().map(clean).collect());
    }

    /// How wide each column is.
    fn widths(&self) -> Vec<usize> {
        let width = |(place, column): (usize, &Column)| {
            let cells = self.rows.iter().map(|row| row[place].width());
            cells.max().unwrap_or(0).max(column.title.width())
        };
        self.columns.iter().enumerate().map(width).collect()
    }

    /// How wide each of the leading columns is that fit into `width`. The first is cut, so that
    /// long names leave room for what is told of them.
    pub(super) fn fit(&self, width: usize) -> Vec<usize> {
        let mut widths = self.widths();
        if let Some(first) = widths.first_mut() {
            *first = (*first).min((width / 3).max(FIRST_WIDTH_MIN)).min(width);
        }
        let mut used = 0;
        let fits = widths.into_iter().take_while(|column| {
            used += column + GAP.len();
            used <= width + GAP.len()
        });
        fits.collect()
    }

    /// The titles of the leading columns.
    pub(super) fn title_line(&self, widths: &[usize]) -> String {
        self.line(self.columns.iter().map(|column| column.title), widths)
    }

    /// The rows' cells of the leading columns.
    pub(super) fn row_lines(&self, widths: &[usize]) -> impl Iterator<Item = String> {
        self.rows.iter().map(|row| self.line(row.iter().map(String::as_str), widths))
    }

    fn line<'a>(&self, cells: impl Iterator<Item = &'a str>, widths: &[usize]) -> String {
        let mut line = String::new();
        for ((cell, width), column) in cells.zip(widths).zip(self.columns) {
            let cell = cut(cell, *width);
            let space = " ".repeat(width.saturating_sub(cell.width()));
            let (left, right) = if column.is_text { ("", &*space) } else { (&*space, "") };
            line.extend([left, &cell, right, GAP]);
        }
        line.truncate(line.trim_end().len());
        line
    }
}

/// Between two columns.
const GAP: &str = "  ";

/// The first column is not cut below this.
const FIRST_WIDTH_MIN: usize = 16;

/// The beginning of a text that is too wide.
fn cut(text: &str, width: usize) -> Cow<'_, str> {
    if text.width() <= width {
        return Cow::Borrowed(text);
    }
    let mut used = 1;
    let fits = |c: &char| {
        used += c.width().unwrap_or(0);
        used <= width
    };
    let mut start: String = text.chars().take_while(fits).collect();
    start.extend((width > 0).then_some('…'));
    Cow::Owned(start)
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        writeln!(f, "{}", self.title_line(&widths))?;
        self.row_lines(&widths).try_for_each(|line| writeln!(f, "{line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_stands_in_them() {
        const COLUMNS: &[Column] = &[text("name"), number("bytes")];
        let mut table = Table::new(COLUMNS);
        table.push(["a".to_owned(), "12".to_owned()]);
        table.push(["日本語".to_owned(), "1234567".to_owned()]);
        assert_eq!(table.to_string(), "name      bytes\na            12\n日本語  1234567\n");
    }

    #[test]
    fn nothing_that_moves_a_cursor_gets_through() {
        const COLUMNS: &[Column] = &[text("name")];
        let mut table = Table::new(COLUMNS);
        table.push(["\u{1b}[2Jx\r\n\u{9b}1m".to_owned()]);
        assert_eq!(table.to_string(), "name\n\u{fffd}[2Jx\u{fffd}\u{fffd}\u{fffd}1m\n");
    }

    #[test]
    fn a_narrow_place_gets_the_leading_columns_and_a_short_first_one() {
        const COLUMNS: &[Column] = &[text("topic"), number("rate"), number("offset")];
        let mut table = Table::new(COLUMNS);
        table.push(["stocks.".repeat(9), "1.5 k/s".to_owned(), "12".to_owned()]);
        for (width, line) in [
            (60, "stocks.stocks.stock…  1.5 k/s      12"),
            (32, "stocks.stocks.s…  1.5 k/s"),
            (10, "stocks.st…"),
            (1, "…"),
            (0, ""),
        ] {
            let widths = table.fit(width);
            assert_eq!(table.row_lines(&widths).next().unwrap(), line);
            assert!(table.title_line(&widths).width() <= width);
        }
    }
}
