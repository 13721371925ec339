//! Headers that clients send besides those that a way itself needs: presets of the sizes that real
//! browsers have, and a file of one's own.
//!
//! Sizes are medians over 2,278 recorded requests; names are typical, values are made up. How they
//! were derived stands in loadgen's README.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::way::Way;

/// Bytes of the heads of a request and its answer in the articles.
pub(crate) const ARTICLES_BYTES: usize = 871;

/// Median length of a request's head without cookies, in bytes.
const BROWSER_BYTES: usize = 403;

/// Median length of a request's head with cookies, in bytes.
const COOKIES_BYTES: usize = 602;

/// Headers that a way sets itself.
const OWN: [&str; 8] = [
    "host",
    "connection",
    "upgrade",
    "content-length",
    "transfer-encoding",
    "if-none-match",
    "last-event-id",
    "expect",
];

/// Which headers clients send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Preset {
    /// Its name.
    pub name: String,
    /// Names and values.
    lines: Vec<(String, String)>,
    /// What the last value is made longer for.
    size: Size,
}

/// What the size of a preset is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    /// Whatever its headers have.
    Natural,
    /// A request of a poller has so many bytes.
    Request(usize),
    /// A request of a poller and the head of its answer have so many bytes.
    Exchange(usize),
}

/// Names of those that are built in.
pub(crate) const NAMES: [&str; 5] = ["none", "minimal", "browser", "cookies", "articles"];

impl Preset {
    /// One that is built in, by its name.
    #[must_use]
    pub(crate) fn named(name: &str) -> Option<Self> {
        let browser = [
            (
                "User-Agent",
                "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
                 Chrome/142.0.0.0 Safari/537.36",
            ),
            ("Accept", "*/*"),
            ("Accept-Encoding", "gzip, deflate, br"),
            ("Accept-Language", "en-GB,en;q=0.8"),
            ("Referer", "http://quotes.example/list?v="),
        ];
        let cookie = [("Cookie", "session=")];
        let (lines, size): (Vec<(&str, &str)>, Size) = match name {
            "none" => (Vec::new(), Size::Natural),
            "minimal" => (vec![("User-Agent", "curl/8.11.1"), ("Accept", "*/*")], Size::Natural),
            "browser" => (browser.to_vec(), Size::Request(BROWSER_BYTES)),
            "cookies" => ([&browser[..], &cookie].concat(), Size::Request(COOKIES_BYTES)),
            "articles" => ([&browser[..], &cookie].concat(), Size::Exchange(ARTICLES_BYTES)),
            _ => return None,
        };
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Some(Self { name: name.to_owned(), lines: lines.into_iter().map(owned).collect(), size })
    }

    /// The headers in a file, `Name: value` on each line.
    ///
    /// # Errors
    /// If it cannot be read, or a line is no header that may be sent so.
    pub(crate) fn from_file(path: &Path) -> Result<Self> {
        let told = path.display();
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("--headers {told} cannot be read"))?;
        let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
        let read = |(number, line)| {
            header(line).with_context(|| format!("--headers {told}, line {number}"))
        };
        let lines = lines.map(read).collect::<Result<_>>()?;
        Ok(Self { name: "file".to_owned(), lines, size: Size::Natural })
    }

    /// Whether it is a browser's, which asks for connections to be kept.
    #[must_use]
    pub(crate) fn says_keep_alive(&self) -> bool {
        self.size != Size::Natural
    }

    /// The lines that clients of `way` send, each with its line end. `bare` is the length of a
    /// poller's request with the lines as they are, `answer` that of its answer's head.
    ///
    /// # Errors
    /// If they are longer already than what they should be.
    pub(crate) fn lines(&self, way: Way, bare: usize, answer: usize) -> Result<String> {
        let size = match self.size {
            Size::Natural => bare,
            Size::Request(size) => size,
            Size::Exchange(size) => size.saturating_sub(answer),
        };
        let Some(pad) = size.checked_sub(bare) else {
            bail!(
                "the headers of preset {} cannot have the size asked for: a request has {bare} \
                 bytes already, and should have {size}",
                self.name
            );
        };
        Ok(self.text(way, pad))
    }

    /// The lines with the last value made longer.
    #[must_use]
    pub(crate) fn text(&self, way: Way, pad: usize) -> String {
        let last = self.lines.len().saturating_sub(1);
        let mut text = String::new();
        for (place, (name, value)) in self.lines.iter().enumerate() {
            let pad = "x".repeat(if place == last { pad } else { 0 });
            // An event stream is asked for by a line of its own, a WebSocket by none.
            if !(name.eq_ignore_ascii_case("accept") && (way == Way::Sse || way.is_socket())) {
                text.push_str(&format!("{name}: {value}{pad}\r\n"));
            }
        }
        text
    }
}

fn header(line: &str) -> Result<(String, String)> {
    let (name, value) = line.split_once(':').context("write Name: value")?;
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    ensure!(!name.is_empty() && name.chars().all(is_token), "{name:?} is no name of a header");
    let lower = name.to_ascii_lowercase();
    ensure!(
        !OWN.contains(&lower.as_str()) && !lower.starts_with("sec-websocket"),
        "{name} is set by the transport itself"
    );
    let value = value.trim();
    ensure!(
        value.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte)),
        "the value of {name} has characters that a header may not have"
    );
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_have_the_sizes_that_they_promise() {
        let lines = |name: &str, bare, answer| {
            let preset = Preset::named(name).unwrap();
            let natural = preset.text(Way::PollKept, 0).len();
            preset.lines(Way::PollKept, bare + natural, answer).unwrap().len() + bare
        };
        assert_eq!(lines("browser", 90, 180), BROWSER_BYTES);
        assert_eq!(lines("cookies", 90, 180), COOKIES_BYTES);
        assert_eq!(lines("articles", 90, 180) + 180, ARTICLES_BYTES);
        assert_eq!(lines("none", 90, 180), 90);
        assert!(NAMES.iter().all(|name| Preset::named(name).is_some_and(|p| p.name == *name)));
        assert_eq!(Preset::named("netscape"), None);
    }

    #[test]
    fn headers_that_are_too_long_for_a_size_are_refused() {
        let error = Preset::named("browser").unwrap().lines(Way::PollKept, 500, 10).unwrap_err();
        assert!(error.to_string().contains("500 bytes already"), "{error}");
    }

    #[test]
    fn streams_leave_out_what_they_ask_for_otherwise() {
        let preset = Preset::named("minimal").unwrap();
        assert!(preset.text(Way::PollKept, 0).contains("Accept: */*\r\n"));
        assert_eq!(preset.text(Way::Raw, 0), "User-Agent: curl/8.11.1\r\n");
        assert_eq!(preset.text(Way::Sse, 0), "User-Agent: curl/8.11.1\r\n");
    }

    #[test]
    fn lines_of_a_file_are_checked() {
        assert_eq!(header("X-A: b c ").unwrap(), ("X-A".to_owned(), "b c".to_owned()));
        for (line, expected) in [
            ("no colon", "write Name: value"),
            ("a b: c", "no name of a header"),
            ("Host: a", "set by the transport"),
            ("Sec-WebSocket-Key: a", "set by the transport"),
            ("X: a\u{7}", "may not have"),
            ("X: \u{fc}", "may not have"),
        ] {
            let error = header(line).unwrap_err().to_string();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }
}
