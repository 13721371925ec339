//! Which representation of a topic a request wants (RFC 9110 section 12.5.1).

use hyper::header::{ACCEPT, HeaderMap};
use hyper::{Method, Request, StatusCode};

use super::Reply;
use super::problem::problem;

/// What a `GET` on topics can be answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Representation {
    /// Pages of messages.
    Json,
    /// Server-sent events.
    Events,
}

pub(super) const EVENT_STREAM: &str = "text/event-stream";

impl Representation {
    fn media_type(self) -> (&'static str, &'static str) {
        match self {
            Self::Json => ("application", "json"),
            Self::Events => ("text", "event-stream"),
        }
    }
}

/// What the request likes best, pages before events where it does not care; `None`: it takes
/// neither.
pub(super) fn preferred(headers: &HeaderMap) -> Option<Representation> {
    if !headers.contains_key(ACCEPT) {
        return Some(Representation::Json);
    }
    let ranges: Vec<Range<'_>> = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(Range::parse)
        .collect();
    let quality = |representation: Representation| {
        let fitting = ranges.iter().filter_map(|range| range.fits(representation.media_type()));
        fitting.max_by_key(|(precision, _)| *precision).map_or(0, |(_, thousandths)| thousandths)
    };
    let (json, events) = (quality(Representation::Json), quality(Representation::Events));
    match (json, events) {
        (0, 0) => None,
        (json, events) if events > json => Some(Representation::Events),
        _ => Some(Representation::Json),
    }
}

/// Whether a request can be answered with something that it takes. What is published is not asked
/// for.
pub(super) fn is_served<B>(request: &Request<B>) -> bool {
    let is_read = request.method() == Method::GET || request.method() == Method::HEAD;
    !is_read || preferred(request.headers()).is_some()
}

/// What a request gets that takes neither.
pub(super) fn not_acceptable() -> Reply {
    let detail = "a topic is served as application/json and as text/event-stream";
    problem(StatusCode::NOT_ACCEPTABLE, detail)
}

/// One media range and how much it is wanted.
struct Range<'a> {
    kind: &'a str,
    subtype: &'a str,
    /// The weight `q`, in thousandths.
    thousandths: u32,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let (kind, subtype) = parts.next()?.split_once('/')?;
        let weight = parts.find_map(|part| {
            let (name, value) = part.split_once('=')?;
            name.trim().eq_ignore_ascii_case("q").then(|| value.trim().parse::<f64>().ok())
        });
        let weight = weight.flatten().unwrap_or(1.0).clamp(0.0, 1.0);
        Some(Self { kind, subtype, thousandths: (weight * 1_000.0) as u32 })
    }

    /// How precisely the range names this media type, if it does, and its weight.
    fn fits(&self, (kind, subtype): (&str, &str)) -> Option<(u8, u32)> {
        let is_kind = self.kind.eq_ignore_ascii_case(kind);
        let precision = match (self.kind, self.subtype) {
            ("*", "*") => 0,
            (_, "*") if is_kind => 1,
            (_, one) if is_kind && one.eq_ignore_ascii_case(subtype) => 2,
            _ => return None,
        };
        Some((precision, self.thousandths))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    fn of(accepts: &[&'static str]) -> Option<Representation> {
        let mut headers = HeaderMap::new();
        for accept in accepts {
            headers.append(ACCEPT, HeaderValue::from_static(accept));
        }
        preferred(&headers)
    }

    #[test]
    fn events_are_for_those_who_prefer_them() {
        for accepts in [
            &["text/event-stream"][..],
            &["Text/Event-Stream"],
            &["text/event-stream; charset=utf-8"],
            &["text/event-stream, */*;q=0.5"],
            &["application/json;q=0.5", "text/event-stream"],
            &["text/*"],
            &["*/*;q=0.9, application/json;q=0"],
        ] {
            assert_eq!(of(accepts), Some(Representation::Events), "{accepts:?}");
        }
    }

    #[test]
    fn everyone_else_gets_pages() {
        for accepts in [
            &[][..],
            &["*/*"],
            &["application/json"],
            &["application/json, text/event-stream"],
            &["text/event-stream;q=0.4, application/*;q=0.5"],
            &["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"],
            &["text/event-stream;q=0, */*"],
        ] {
            assert_eq!(of(accepts), Some(Representation::Json), "{accepts:?}");
        }
    }

    #[test]
    fn what_takes_neither_is_told_so() {
        for accepts in
            [&["text/html"][..], &["application/json;q=0"], &["image/*, text/csv"], &[""]]
        {
            assert_eq!(of(accepts), None, "{accepts:?}");
        }
    }
}
