//! What the broker itself counted, scraped from its metrics.
//!
//! Owns one small HTTP request and the Prometheus text format as far as counters and gauges go.
//! Figures of loadgen never depend on these counts; they tell why the figures are so.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a scrape may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What stands before the name of each of the broker's metrics.
const PREFIX: &str = "fanfare_";

/// Why the broker's counts cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CountsError {
    /// Nobody listens there, or it fell silent; the caller's fault, mostly.
    #[error("the metrics of {0} cannot be read: {1}")]
    Socket(SocketAddr, io::Error),
    /// What answered is no metrics page.
    #[error("{0} did not answer with metrics")]
    NoMetrics(SocketAddr),
}

/// Counters and gauges of one moment, by name and labels, without the common prefix.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Counts(BTreeMap<String, f64>);

impl Counts {
    /// Scrapes the admin port of a broker.
    ///
    /// # Errors
    /// [`CountsError`] if there is none or it has no metrics.
    pub(crate) fn scrape(admin: SocketAddr) -> Result<Self, CountsError> {
        let counts = Self::read(&page(admin)?);
        if counts.0.is_empty() { Err(CountsError::NoMetrics(admin)) } else { Ok(counts) }
    }

    /// Reads lines such as `fanfare_gaps_total 7`; everything else is passed over.
    fn read(text: &str) -> Self {
        let sample = |line: &str| {
            let (name, value) = line.strip_prefix(PREFIX)?.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        let is_plain =
            |(name, _): &(String, f64)| !name.contains("le=\"") && !name.starts_with("build_info");
        Self(text.lines().filter_map(sample).filter(is_plain).collect())
    }

    /// A count by its name, such as `gaps_total`; 0 if the broker does not have it.
    #[must_use]
    pub(crate) fn get(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// How much each counter (`…_total`) has grown since `before`, without those that have not;
    /// gauges as they are now, if they are not 0.
    #[must_use]
    pub(crate) fn since(&self, before: &Self) -> BTreeMap<String, f64> {
        let change = |(name, value): (&String, &f64)| {
            let is_counter = name.split('{').next().is_some_and(|name| name.ends_with("_total"));
            let start = if is_counter { before.get(name) } else { 0.0 };
            (name.clone(), value - start)
        };
        self.0.iter().map(change).filter(|(_, value)| *value != 0.0).collect()
    }
}

/// Everything that a broker answers to `GET /metrics` on its admin port, the head included.
///
/// # Errors
/// [`CountsError::Socket`] if there is nobody, or no answer in time.
pub(crate) fn page(admin: SocketAddr) -> Result<String, CountsError> {
    get(admin).map_err(|error| CountsError::Socket(admin, error))
}

fn get(admin: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&admin, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n\
        # HELP fanfare_gaps_total Gaps.\n# TYPE fanfare_gaps_total counter\n\
        fanfare_gaps_total 7\nfanfare_outbox_bytes 65536\n\
        fanfare_connections_closed_total{code=\"slow_consumer\"} 3\n\
        fanfare_delivery_seconds_bucket{le=\"0.1\"} 4\nprocess_open_fds 12\n";

    #[test]
    fn counters_are_told_as_growth_and_gauges_as_they_are() {
        let before = Counts::read("fanfare_gaps_total 5\nfanfare_outbox_bytes 100\n");
        let after = Counts::read(PAGE);
        let told = after.since(&before);
        let expected = [
            ("connections_closed_total{code=\"slow_consumer\"}", 3.0),
            ("gaps_total", 2.0),
            ("outbox_bytes", 65_536.0),
        ];
        assert_eq!(told, expected.map(|(name, value)| (name.to_owned(), value)).into());
        assert_eq!(after.get("no_such_count"), 0.0);
    }

    #[test]
    fn what_is_no_metrics_page_is_an_error() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let admin = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut request, mut byte) = (Vec::new(), [0]);
            while !request.ends_with(b"\r\n\r\n") {
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            stream.write_all(b"HTTP/1.1 404 Not Found\r\n\r\nno").unwrap();
            request.starts_with(b"GET /metrics HTTP/1.1\r\n")
        });
        assert!(matches!(Counts::scrape(admin), Err(CountsError::NoMetrics(_))));
        assert!(server.join().unwrap());
        assert!(matches!(Counts::scrape(admin), Err(CountsError::Socket(..))));
    }
}
