//! Which representation of a topic a `GET` wants (RFC 9110 section 12.5.1).

use http::header::{ACCEPT, HeaderMap};

/// How a topic can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Representation {
    /// A page of messages, `application/json`.
    Page,
    /// A stream of events, `text/event-stream`; only for who names it.
    Events,
}

/// What a client is told that accepts neither.
pub(super) const REFUSAL: &str = "a topic is read as application/json or text/event-stream; \
                                  accept one of them";

/// What the client prefers; a page if it does not say. `None`: nothing that there is.
pub(super) fn preferred(headers: &HeaderMap) -> Option<Representation> {
    let mut ranges =
        headers.get_all(ACCEPT).iter().flat_map(|value| value.as_bytes().split(|b| *b == b','));
    let (mut events, mut page) = (0, None);
    let mut is_empty = true;
    for range in ranges.by_ref().filter_map(|range| std::str::from_utf8(range).ok()) {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        if media.is_empty() {
            continue;
        }
        is_empty = false;
        let quality = parts.find_map(quality).unwrap_or(QUALITY_MAX);
        let rank = match media.to_ascii_lowercase().as_str() {
            "text/event-stream" => {
                events = quality;
                continue;
            }
            "application/json" => 2,
            "application/*" => 1,
            "*/*" => 0,
            _ => continue,
        };
        page = page.max(Some((rank, quality)));
    }
    // The most specific range decides.
    let page = page.map_or(0, |(_, quality)| quality);
    match (events, page) {
        _ if is_empty => Some(Representation::Page),
        (0, 0) => None,
        (events, page) if events >= page => Some(Representation::Events),
        _ => Some(Representation::Page),
    }
}

/// In thousandths, as precise as they are written.
const QUALITY_MAX: u16 = 1_000;

fn quality(parameter: &str) -> Option<u16> {
    let (name, value) = parameter.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("q") {
        return None;
    }
    let value: f32 = value.trim().parse().unwrap_or(0.0);
    Some((value.clamp(0.0, 1.0) * f32::from(QUALITY_MAX)) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preferred_of(accept: &[&str]) -> Option<Representation> {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(ACCEPT, value.parse().unwrap());
        }
        preferred(&headers)
    }

    #[test]
    fn who_does_not_care_gets_a_page() {
        let browser = "text/html,application/xhtml+xml,*/*;q=0.8";
        for accept in [&[][..], &[""], &["*/*"], &["application/*"], &["text/html", browser]] {
            assert_eq!(preferred_of(accept), Some(Representation::Page), "{accept:?}");
        }
        let lower = "text/event-stream;q=0.5, application/json";
        assert_eq!(preferred_of(&[lower]), Some(Representation::Page));
    }

    #[test]
    fn events_are_for_those_who_name_them() {
        for accept in ["text/event-stream", "Text/Event-Stream, */*", "*/*;q=0.1,text/event-stream"]
        {
            assert_eq!(preferred_of(&[accept]), Some(Representation::Events), "{accept}");
        }
    }

    #[test]
    fn what_there_is_not_is_not_given() {
        for accept in [
            "text/html",
            "text/*",
            "application/xml",
            "application/json;q=0",
            "*/*;q=0",
            "application/json;q=0, */*",
            "application/json; q=nonsense",
        ] {
            assert_eq!(preferred_of(&[accept]), None, "{accept}");
        }
    }
}
