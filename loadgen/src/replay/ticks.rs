//! Reads a file of market ticks: which rows, when, and as which payloads.
//!
//! The whole selection is turned into payloads before the replay starts, so that reading costs
//! nothing while it runs. The format is documented in `loadgen replay --help`.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use csv::StringRecord;
use fanfare_protocol::{TopicError, TopicName};
use flate2::bufread::MultiGzDecoder;

use super::row::{Columns, line};
use crate::feed::Feed;
use crate::stamp::MARK;

/// First bytes of a gzip file (RFC 1952 section 2.3.1).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Why a file cannot be replayed. The caller's or the file's fault.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TickError {
    /// The file cannot be opened or unpacked.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The file is not CSV.
    #[error("{0}")]
    Csv(#[from] csv::Error),
    /// The header lacks a column that is needed.
    #[error("the header has no column `{0}`; ts_us, symbol and src are required")]
    NoColumn(&'static str),
    /// A field is not what its column says.
    #[error("line {line}: {column} is {text:?}; {expected} is expected")]
    BadField {
        /// Line of the file.
        line: u64,
        /// Name of the column.
        column: &'static str,
        /// What stands there.
        text: String,
        /// What should.
        expected: &'static str,
    },
    /// Time runs backwards within the source.
    #[error("line {0}: ts_us is before that of the row above; rows must be in order of time")]
    BackInTime(u64),
    /// The source is not in the file, or was not named though there are several.
    #[error("{problem}; the file has: {available}")]
    Source {
        /// What is wrong.
        problem: String,
        /// The sources with their numbers of rows.
        available: String,
    },
    /// A symbol gives no topic name.
    #[error("symbol {symbol:?} gives no topic: {source}")]
    Topic {
        /// The symbol.
        symbol: String,
        /// Which rule it breaks.
        source: TopicError,
    },
    /// Two symbols give the same topic name.
    #[error("symbols {0:?} and {1:?} give the same topic")]
    SameTopic(String, String),
}

/// What to take from a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Selection<'a> {
    /// The source; may be missing if the file has only one.
    pub src: Option<&'a str>,
    /// What stands before the symbol in a topic's name.
    pub topic_prefix: &'a str,
    /// Most rows.
    pub limit: usize,
    /// Most time between the first row and the last, in µs.
    pub span_us: u64,
}

/// The rows of one source, ready to be published.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ticks {
    /// The source.
    pub src: String,
    /// Names of the topics, in order of the symbols' first rows.
    pub topics: Vec<String>,
    rows: Vec<Row>,
    /// The payloads' tails, one after the other.
    text: String,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    /// Time since the first row.
    at_us: u64,
    topic: u32,
    /// Where its payload's tail ends in the text.
    end: usize,
}

impl Ticks {
    /// Reads what `selection` says from the CSV file at `path`, which may be packed with gzip.
    ///
    /// # Errors
    /// [`TickError`] names the line and what is expected there.
    pub(crate) fn read(path: &Path, selection: Selection<'_>) -> Result<Self, TickError> {
        let mut magic = [0; 2];
        let packed = File::open(path)?.read_exact(&mut magic).is_ok() && magic == GZIP_MAGIC;
        let file = BufReader::with_capacity(1 << 18, File::open(path)?);
        if packed {
            Self::read_csv(BufReader::with_capacity(1 << 18, MultiGzDecoder::new(file)), selection)
        } else {
            Self::read_csv(file, selection)
        }
    }

    /// Number of rows.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Time from the first row to the last, in µs.
    #[must_use]
    pub(crate) fn span_us(&self) -> u64 {
        self.rows.last().map_or(0, |row| row.at_us)
    }

    fn read_csv(input: impl Read, selection: Selection<'_>) -> Result<Self, TickError> {
        let mut csv = csv::Reader::from_reader(input);
        let columns = Columns::find(csv.headers()?)?;
        let mut reader = TickReader {
            columns,
            selection,
            ticks: Self::default(),
            symbols: HashMap::new(),
            sources: BTreeMap::new(),
            times_us: None,
        };
        let mut record = StringRecord::new();
        while csv.read_record(&mut record)? {
            reader.row(&record)?;
        }
        reader.finish()
    }
}

/// The rows as a feed at some speed.
#[derive(Debug)]
pub(crate) struct TickFeed {
    ticks: Ticks,
    /// How many times as fast as the rows came.
    speed: f64,
    next: usize,
}

impl TickFeed {
    /// All rows of `ticks`, `speed` times as fast as they came.
    #[must_use]
    pub(crate) fn new(ticks: Ticks, speed: f64) -> Self {
        Self { ticks, speed, next: 0 }
    }
}

impl Feed for TickFeed {
    fn due_ns(&self) -> Option<u64> {
        let row = self.ticks.rows.get(self.next)?;
        Some((row.at_us as f64 * 1_000.0 / self.speed) as u64)
    }

    fn take(&mut self) -> (u32, &[u8]) {
        let start = self.next.checked_sub(1).map_or(0, |before| self.ticks.rows[before].end);
        let row = self.ticks.rows[self.next];
        self.next += 1;
        (row.topic, &self.ticks.text.as_bytes()[start..row.end])
    }
}

struct TickReader<'a> {
    columns: Columns,
    selection: Selection<'a>,
    ticks: Ticks,
    /// Topic index of each symbol.
    symbols: HashMap<String, u32>,
    /// Rows of each source, for messages.
    sources: BTreeMap<String, u64>,
    /// Times of the first row and of the last one so far.
    times_us: Option<(u64, u64)>,
}

impl TickReader<'_> {
    fn row(&mut self, row: &StringRecord) -> Result<(), TickError> {
        let src = self.columns.src(row);
        match self.sources.get_mut(src) {
            Some(rows) => *rows += 1,
            None => drop(self.sources.insert(src.to_owned(), 1)),
        }
        // Without a source named, the first row's is taken, and must stay the only one.
        if self.ticks.src.is_empty() && self.selection.src.is_none_or(|wanted| wanted == src) {
            src.clone_into(&mut self.ticks.src);
        }
        if src != self.ticks.src || self.ticks.rows.len() >= self.selection.limit {
            return Ok(());
        }
        let time_us = self.columns.time_us(row)?;
        let (first_us, last_us) = self.times_us.unwrap_or((time_us, time_us));
        if time_us < last_us {
            return Err(TickError::BackInTime(line(row)));
        }
        self.times_us = Some((first_us, time_us));
        if time_us - first_us <= self.selection.span_us {
            let topic = self.topic(self.columns.symbol(row))?;
            self.columns.write_tail(row, time_us, &mut self.ticks.text)?;
            let (at_us, end) = (time_us - first_us, self.ticks.text.len());
            self.ticks.rows.push(Row { at_us, topic, end });
        }
        Ok(())
    }

    fn topic(&mut self, symbol: &str) -> Result<u32, TickError> {
        if let Some(&topic) = self.symbols.get(symbol) {
            return Ok(topic);
        }
        let name = format!("{}{}", self.selection.topic_prefix, topic_levels(symbol));
        let bad = |source| TickError::Topic { symbol: symbol.to_owned(), source };
        TopicName::check(&name).map_err(bad)?;
        if let Some(same) = self.ticks.topics.iter().position(|topic| *topic == name) {
            let other = self.symbols.iter().find(|(_, topic)| **topic as usize == same);
            let other = other.map(|(symbol, _)| symbol.clone()).unwrap_or_default();
            return Err(TickError::SameTopic(other, symbol.to_owned()));
        }
        let topic = self.ticks.topics.len() as u32;
        self.ticks.topics.push(name);
        self.symbols.insert(symbol.to_owned(), topic);
        Ok(topic)
    }

    fn finish(self) -> Result<Ticks, TickError> {
        let problem = match self.selection.src {
            Some(wanted) if self.ticks.rows.is_empty() => format!("no row has src {wanted:?}"),
            None if self.sources.len() > 1 => "name one source with --src".to_owned(),
            None if self.ticks.rows.is_empty() => "there are no rows".to_owned(),
            _ => return Ok(self.ticks),
        };
        let available = self.sources.iter().map(|(src, rows)| format!("{src} ({rows} rows)"));
        let available = available.collect::<Vec<_>>().join(", ");
        Err(TickError::Source { problem, available })
    }
}

/// A symbol as levels of a topic: what a topic may not hold becomes `_`, and so does the mark of a
/// stamp.
fn topic_levels(symbol: &str) -> String {
    let allowed = |c: char| {
        c == '.' || (c != char::from(MARK) && TopicName::check(c.encode_utf8(&mut [0; 4])).is_ok())
    };
    symbol.chars().map(|c| if allowed(c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "ts_us,symbol,kind,price,size,bid,bid_size,ask,ask_size,venue,src\n";

    fn read(rows: &str, src: Option<&str>) -> Result<Ticks, TickError> {
        let selection =
            Selection { src, topic_prefix: "ticks.", limit: usize::MAX, span_us: u64::MAX };
        Ticks::read_csv(format!("{HEADER}{rows}").as_bytes(), selection)
    }

    #[test]
    fn rows_become_payloads_without_the_blank_fields() {
        let rows = "1000,SPY,trade,165.81,200,,,,,P,us\n1500,A/B ~,quote,,,1.5,2,1.6,3,,us\n";
        let ticks = read(rows, None).unwrap();
        assert_eq!(ticks.topics, ["ticks.SPY", "ticks.A_B__"]);
        assert_eq!((ticks.len(), ticks.span_us(), ticks.src.as_str()), (2, 500, "us"));
        let mut feed = TickFeed::new(ticks, 2.0);
        assert_eq!(feed.due_ns(), Some(0));
        let trade = r#"","t":1000,"k":"trade","p":165.81,"z":200,"v":"P"}"#;
        assert_eq!(feed.take(), (0, trade.as_bytes()));
        assert_eq!(feed.due_ns(), Some(250_000));
        let quote = r#"","t":1500,"k":"quote","b":1.5,"bz":2,"a":1.6,"az":3}"#;
        assert_eq!(feed.take(), (1, quote.as_bytes()));
        assert_eq!(feed.due_ns(), None);
    }

    #[test]
    fn only_the_source_asked_for_is_read() {
        let rows = "9,A,trade,1,1,,,,,,x\n1,B,trade,1,1,,,,,,y\n10,C,trade,1,1,,,,,,x\n";
        let ticks = read(rows, Some("x")).unwrap();
        assert_eq!((ticks.topics.len(), ticks.len(), ticks.span_us()), (2, 2, 1));
        let unknown = read(rows, Some("z")).unwrap_err().to_string();
        assert_eq!(unknown, r#"no row has src "z"; the file has: x (2 rows), y (1 rows)"#);
        assert!(read(rows, None).unwrap_err().to_string().starts_with("name one source"));
    }

    #[test]
    fn a_selection_ends_at_its_limit_and_its_span() {
        let rows = "1,A,,,,,,,,,x\n2,A,,,,,,,,,x\n3,A,,,,,,,,,x\n";
        let with = |limit, span_us| {
            let selection = Selection { src: None, topic_prefix: "t.", limit, span_us };
            Ticks::read_csv(format!("{HEADER}{rows}").as_bytes(), selection).unwrap().len()
        };
        assert_eq!((with(2, 9), with(9, 1), with(9, 9)), (2, 2, 3));
    }

    #[test]
    fn faults_name_the_line_and_what_is_expected() {
        for (rows, expected) in [
            ("1,A,,,,,,,,,x\nsoon,A,,,,,,,,,x\n", "line 3: ts_us is \"soon\""),
            ("1,A,trade,.5,,,,,,,x\n", "line 2: price is \".5\"; a JSON number"),
            ("2,A,,,,,,,,,x\n1,A,,,,,,,,,x\n", "line 3: ts_us is before"),
            ("1,A*,,,,,,,,,x\n1,A?,,,,,,,,,x\n", "symbols \"A*\" and \"A?\" give the same topic"),
            ("1,.A,,,,,,,,,x\n", "symbol \".A\" gives no topic"),
            ("", "there are no rows"),
        ] {
            let told = read(rows, None).unwrap_err().to_string();
            assert!(told.starts_with(expected), "{told}");
        }
        let selection = Selection { src: None, topic_prefix: "", limit: 1, span_us: 1 };
        let headless = Ticks::read_csv("a,b\n1,2\n".as_bytes(), selection).unwrap_err();
        assert!(headless.to_string().contains("no column `ts_us`"));
    }
}
