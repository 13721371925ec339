//! One row of a file of ticks: where its columns stand, and the payload that it becomes.

use std::fmt::Write as _;

use csv::{Position, StringRecord};

use super::ticks::TickError;

/// Columns that hold a number, and its member's name in the payload.
const NUMBERS: [(&str, &str); 6] = [
    ("price", "p"),
    ("size", "z"),
    ("bid", "b"),
    ("bid_size", "bz"),
    ("ask", "a"),
    ("ask_size", "az"),
];

/// Where the columns stand.
#[derive(Debug)]
pub(super) struct Columns {
    ts_us: usize,
    symbol: usize,
    src: usize,
    kind: Option<usize>,
    venue: Option<usize>,
    numbers: [Option<usize>; NUMBERS.len()],
}

impl Columns {
    /// Finds the columns of a header.
    ///
    /// # Errors
    /// [`TickError::NoColumn`] if a required one is missing.
    pub(super) fn find(header: &StringRecord) -> Result<Self, TickError> {
        let find = |name: &str| header.iter().position(|column| column.trim() == name);
        let required = |name| find(name).ok_or(TickError::NoColumn(name));
        Ok(Self {
            ts_us: required("ts_us")?,
            symbol: required("symbol")?,
            src: required("src")?,
            kind: find("kind"),
            venue: find("venue"),
            numbers: NUMBERS.map(|(column, _)| find(column)),
        })
    }

    /// The row's source.
    pub(super) fn src<'r>(&self, row: &'r StringRecord) -> &'r str {
        &row[self.src]
    }

    /// The row's symbol.
    pub(super) fn symbol<'r>(&self, row: &'r StringRecord) -> &'r str {
        &row[self.symbol]
    }

    /// The row's time in µs.
    ///
    /// # Errors
    /// [`TickError::BadField`] if it is no whole number.
    pub(super) fn time_us(&self, row: &StringRecord) -> Result<u64, TickError> {
        let text = &row[self.ts_us];
        text.parse().map_err(|_| TickError::BadField {
            line: line(row),
            column: "ts_us",
            text: text.to_owned(),
            expected: "a whole number of microseconds",
        })
    }

    /// Appends what the row's payload has behind its stamp: `","t":…}`.
    ///
    /// # Errors
    /// [`TickError::BadField`] if a price or a size is no number of JSON.
    pub(super) fn write_tail(
        &self,
        row: &StringRecord,
        time_us: u64,
        out: &mut String,
    ) -> Result<(), TickError> {
        let field = |place: Option<usize>| {
            place.and_then(|place| row.get(place)).filter(|text| !text.is_empty())
        };
        // Writing to a String does not fail.
        let _ = write!(out, r#"","t":{time_us}"#);
        if let Some(kind) = field(self.kind) {
            let _ = write!(out, r#","k":{}"#, serde_json::Value::from(kind));
        }
        for ((column, member), place) in NUMBERS.into_iter().zip(self.numbers) {
            let Some(number) = field(place) else { continue };
            if serde_json::from_str::<serde_json::Number>(number).is_err() {
                let (text, expected) = (number.to_owned(), "a JSON number");
                return Err(TickError::BadField { line: line(row), column, text, expected });
            }
            let _ = write!(out, r#","{member}":{number}"#);
        }
        if let Some(venue) = field(self.venue) {
            let _ = write!(out, r#","v":{}"#, serde_json::Value::from(venue));
        }
        out.push('}');
        Ok(())
    }
}

/// The row's line in the file.
pub(super) fn line(row: &StringRecord) -> u64 {
    row.position().map_or(0, Position::line)
}
