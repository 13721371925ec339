//! Tables of text in aligned columns.
//!
//! What clients call themselves comes from the network: control characters in it are replaced, so
//! that nothing can reach the operator's terminal.

use std::fmt;

use unicode_width::UnicodeWidthStr;

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
    pub(super) fn widths(&self) -> Vec<usize> {
        let width = |(place, column): (usize, &Column)| {
            let cells = self.rows.iter().map(|row| row[place].width());
            cells.max().unwrap_or(0).max(column.title.width())
        };
        self.columns.iter().enumerate().map(width).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let mut line = String::new();
            for ((cell, width), column) in cells.zip(&widths).zip(self.columns) {
                let space = " ".repeat(width.saturating_sub(cell.width()));
                let (left, right) = if column.is_text { ("", &*space) } else { (&*space, "") };
                line.extend([left, cell, right, "  "]);
            }
            line
        };
        writeln!(f, "{}", line(&mut self.columns.iter().map(|one| one.title)).trim_end())?;
        for row in &self.rows {
            writeln!(f, "{}", line(&mut row.iter().map(String::as_str)).trim_end())?;
        }
        Ok(())
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
}
