//! The parameters behind the `?` of a topic's URL, one definition for all transports.

use fanfare_engine::StreamOptions;
use fanfare_protocol::limits::{HISTORY_MESSAGES_MAX, MAX_RATES};
use fanfare_protocol::{Mode, Position};
use percent_encoding::percent_decode_str;

/// What a raw stream may ask for: `since=EPOCH:OFFSET`, `mode`, `max_rate` and `snapshot`.
///
/// # Errors
/// A sentence that says which parameter is wrong and what is allowed.
pub(super) fn stream(query: Option<&str>) -> Result<(Option<Position>, StreamOptions), String> {
    let (mut since, mut options) = (None, StreamOptions::default());
    for (name, value) in parameters(query)? {
        match name.as_str() {
            "since" => since = Some(position("since", &value)?),
            "mode" => options.mode = Some(mode(&value)?),
            "max_rate" => options.max_rate = Some(max_rate(&value)?),
            "snapshot" => options.snapshot = Some(flag("snapshot", &value)?),
            _ => {
                let known = "since, mode, max_rate and snapshot";
                return Err(format!("the raw stream takes the parameters {known}"));
            }
        }
    }
    if options.max_rate.is_some() && options.mode == Some(Mode::All) {
        return Err("max_rate passes messages over, so it does not go with mode=all".to_owned());
    }
    Ok((since, options))
}

/// Which page of a topic's history a `GET` asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) after: Option<Position>,
    pub(super) limit: usize,
}

/// Messages that a `GET` returns unless it asks for another number.
const LIMIT_DEFAULT: usize = 10;

/// What a `GET` may ask for: `after=EPOCH:OFFSET` and `limit`.
///
/// # Errors
/// As [`stream`].
pub(super) fn page(query: Option<&str>) -> Result<Page, String> {
    let mut page = Page { after: None, limit: LIMIT_DEFAULT };
    for (name, value) in parameters(query)? {
        match name.as_str() {
            "after" => page.after = Some(position("after", &value)?),
            "limit" => page.limit = limit(&value)?,
            _ => return Err("the parameters are after and limit".to_owned()),
        }
    }
    Ok(page)
}

fn parameters(query: Option<&str>) -> Result<Vec<(String, String)>, String> {
    let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let decoded = |text: &str| {
        let text = percent_decode_str(text).decode_utf8();
        text.map(String::from).map_err(|_| "the query is not UTF-8".to_owned())
    };
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decoded(name)?, decoded(value)?))
        })
        .collect()
}

fn position(name: &str, value: &str) -> Result<Position, String> {
    let parts = value.split_once(':').filter(|(epoch, _)| !epoch.is_empty());
    let position = parts.and_then(|(epoch, offset)| {
        Some(Position { epoch: epoch.to_owned(), offset: offset.parse().ok()? })
    });
    position.ok_or_else(|| format!("{name} is written EPOCH:OFFSET"))
}

fn mode(value: &str) -> Result<Mode, String> {
    Mode::from_name(value).ok_or_else(|| format!("mode is {}", Mode::NAMES.join(" or ")))
}

fn max_rate(value: &str) -> Result<u32, String> {
    let rate = value.parse().ok().filter(|rate| MAX_RATES.contains(rate));
    rate.ok_or_else(|| format!("max_rate is one of {MAX_RATES:?}, in messages per second"))
}

fn limit(value: &str) -> Result<usize, String> {
    let most = HISTORY_MESSAGES_MAX as usize;
    let limit = value.parse().ok().filter(|limit| (1..=most).contains(limit));
    limit.ok_or_else(|| format!("limit is a number from 1 to {most}"))
}

fn flag(name: &str, value: &str) -> Result<bool, String> {
    value.parse().map_err(|_| format!("{name} is true or false"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parameters_of_a_raw_stream_are_checked() {
        let position = Position { epoch: "k3".to_owned(), offset: 41 };
        assert_eq!(stream(None), Ok((None, StreamOptions::default())));
        let options =
            StreamOptions { mode: Some(Mode::Latest), max_rate: Some(5), snapshot: Some(false) };
        assert_eq!(
            stream(Some("since=k3%3A41&mode=latest&max_rate=5&snapshot=false")),
            Ok((Some(position), options))
        );
        for wrong in [
            "since=41",
            "since=k3:",
            "since=:1",
            "since=k3:-1",
            "mode=newest",
            "sense=1",
            "x",
            "max_rate=3",
            "max_rate=5&mode=all",
            "snapshot=1",
            "since=%ff",
        ] {
            assert!(stream(Some(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_parameters_of_a_page_are_checked() {
        let after = Some(Position { epoch: "k3".to_owned(), offset: 0 });
        assert_eq!(page(Some("after=k3:0&limit=1000")), Ok(Page { after, limit: 1_000 }));
        assert_eq!(page(Some("")), Ok(Page { after: None, limit: LIMIT_DEFAULT }));
        for wrong in ["limit=0", "limit=1001", "limit=x", "after=x", "since=k3:0"] {
            assert!(page(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
