//! The broker's readers of HTTP and what is demanded of them. They are its own files, since they
//! are nobody else's to call; what they need beside each other is little.

#![allow(dead_code, reason = "the broker needs all of it")]

#[path = "../../../src/http/accept.rs"]
mod accept;
#[path = "../../../src/http/body.rs"]
mod body;
#[path = "../../../src/http/conditional.rs"]
mod conditional;
#[path = "../../../src/http/head.rs"]
mod head;
#[path = "../../../src/http/query.rs"]
mod query;
#[path = "../../../src/http/selection.rs"]
mod selection;

use std::collections::HashSet;
use std::hash::Hash;

use fanfare_protocol::TopicName;
use fanfare_protocol::limits::{HISTORY_MESSAGES_MAX, TOPICS_PER_REQUEST_MAX, WAIT_MS_MAX};

use self::body::{BodyDecoder, BodyError};
use self::head::{BodyLength, HEAD_BYTES_MAX, Head, HeadError};

/// A head is the same however it is cut, within its limits, and never understood otherwise than by
/// a reader that stands in front.
pub fn check_head(input: &[u8]) {
    let whole = head::parse(input);
    let step = input.len() / 64 + 1;
    for cut in (0..input.len()).step_by(step) {
        check_prefix(&head::parse(&input[..cut]), cut, &whole);
    }
    match whole {
        Ok(Some(head)) => {
            assert!(head.len <= input.len().min(HEAD_BYTES_MAX));
            let alone = head::parse(&input[..head.len]).expect("a head").expect("it is whole");
            assert_eq!((alone.len, alone.body), (head.len, head.body));
            check_framing(&head, &input[..head.len]);
            check_meaning(&head);
        }
        Ok(None) => assert!(input.len() < HEAD_BYTES_MAX, "it waits for more than it takes"),
        Err(error) => assert!(error.status().is_client_error() || error.status().is_server_error()),
    }
}

/// What was said of the first `cut` bytes must stay true.
fn check_prefix(
    prefix: &Result<Option<Head>, HeadError>,
    cut: usize,
    whole: &Result<Option<Head>, HeadError>,
) {
    match (prefix, whole) {
        (Ok(None), Ok(Some(head))) => assert!(cut < head.len, "it was whole already"),
        (Ok(None), _) => {}
        (Ok(Some(head)), Ok(Some(later))) => {
            assert_eq!((head.len, head.body), (later.len, later.body));
            assert_eq!(head.keeps_alive, later.keeps_alive);
            assert_eq!(head.request.headers(), later.request.headers());
        }
        (Err(error), Err(later)) => assert_eq!(error, later),
        _ => panic!("{prefix:?} of {cut} bytes became {whole:?}"),
    }
}

/// The length of the body by the text of the head, read by lines (RFC 9112 section 6.3): where two
/// readers could differ, the head must have been refused.
fn check_framing(head: &Head, text: &[u8]) {
    let values = |name: &str| -> Vec<Vec<u8>> {
        let lines = text.split(|byte| *byte == b'\n').skip(1);
        let fields = lines.filter_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let (field, value) = (&line[..colon], &line[colon + 1..]);
            let is_named = field.trim_ascii().eq_ignore_ascii_case(name.as_bytes());
            is_named.then(|| value.trim_ascii().to_vec())
        });
        fields.collect()
    };
    let (lengths, codings) = (values("content-length"), values("transfer-encoding"));
    match head.body {
        BodyLength::Chunked => {
            assert!(lengths.is_empty() && codings.len() == 1);
            assert!(codings[0].eq_ignore_ascii_case(b"chunked"));
        }
        BodyLength::Known(bytes) => {
            assert!(codings.is_empty() && lengths.len() <= 1, "{lengths:?} {codings:?}");
            let told = lengths.first().map_or(0, |digits| number(digits));
            assert_eq!(u128::from(bytes), told);
        }
    }
}

fn number(digits: &[u8]) -> u128 {
    assert!(digits.iter().all(u8::is_ascii_digit), "a length is digits");
    let add = |number: u128, digit: &u8| number.wrapping_mul(10) + u128::from(digit - b'0');
    digits.iter().fold(0, add)
}

/// What the headers and the query of a head say stays within its bounds.
fn check_meaning(head: &Head) {
    let headers = head.request.headers();
    accept::preferred(headers);
    if let Some(condition) = conditional::Condition::of(headers) {
        assert!(condition.len() <= head.len);
        condition.matches("\"k3:58\"");
    }
    let query = head.request.uri().query();
    let last_event_id = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    query::stream(query).ok();
    for topic in [None, Some(TopicName::new("t").expect("a name"))] {
        if let Ok(page) = selection::page(topic.clone(), query) {
            check_names(page.topics.iter().map(|(name, _)| name.as_str()));
            assert!((1..=HISTORY_MESSAGES_MAX as usize).contains(&page.limit));
            assert!(page.wait.is_none_or(|wait| wait.as_millis() <= u128::from(WAIT_MS_MAX)));
        }
        if let Ok(events) = selection::events(topic, query, last_event_id) {
            check_names(events.filters.iter().map(|(filter, _)| filter.to_string()));
        }
    }
}

/// A request names some topics, and none twice.
fn check_names<T: Eq + Hash>(names: impl Iterator<Item = T>) {
    let names: Vec<T> = names.collect();
    assert!((1..=TOPICS_PER_REQUEST_MAX).contains(&names.len()));
    let count = names.len();
    assert_eq!(names.into_iter().collect::<HashSet<T>>().len(), count);
}

/// What a decoder made of a body.
#[derive(Debug, PartialEq, Eq)]
struct Decoded {
    content: Vec<u8>,
    /// How many bytes it took.
    taken: usize,
    is_done: bool,
}

/// A body of `length` bytes, or a chunked one if there is none, is the same however it is cut; it
/// takes what belongs to it and nothing else, and no more than `most` bytes of content.
pub fn check_body(length: Option<u64>, most: usize, cut: usize, input: &[u8]) {
    let length = length.map_or(BodyLength::Chunked, BodyLength::Known);
    let whole = decode(length, most, input.chunks(input.len().max(1)));
    let pieces = decode(length, most, input.chunks(cut.max(1)));
    assert_eq!(whole, pieces);
    let Ok(whole) = whole else { return };
    assert!(whole.content.len() <= most);
    let expected = match length {
        BodyLength::Known(bytes) => usize::try_from(bytes)
            .ok()
            .filter(|bytes| *bytes <= input.len())
            .map(|bytes| (input[..bytes].to_vec(), bytes)),
        BodyLength::Chunked => by_lines(input),
    };
    match expected {
        Some((content, taken)) => {
            assert_eq!(whole, Decoded { content, taken, is_done: true });
        }
        None => assert!(!whole.is_done && whole.taken == input.len()),
    }
}

fn decode<'a>(
    length: BodyLength,
    most: usize,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> Result<Decoded, BodyError> {
    let mut decoder = BodyDecoder::new(length, most)?;
    let mut taken = 0;
    for piece in pieces {
        let used = decoder.decode(piece)?;
        assert!(used == piece.len() || decoder.is_done());
        taken += used;
    }
    assert_eq!(taken as u64, decoder.body.len() as u64 + decoder.framing_bytes);
    Ok(Decoded { is_done: decoder.is_done(), content: decoder.body, taken })
}

/// A chunked body read line by line (RFC 9112 section 7.1), and its length; `None` if it does not
/// end.
fn by_lines(input: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut content, mut at) = (Vec::new(), 0);
    loop {
        let line = line_at(input, &mut at)?;
        let digits = line.iter().position(|byte| b"; \t".contains(byte)).unwrap_or(line.len());
        let digits = std::str::from_utf8(&line[..digits]).ok()?;
        let size = usize::from_str_radix(digits, 16).ok()?;
        if size == 0 {
            break;
        }
        content.extend_from_slice(input.get(at..at.checked_add(size)?)?);
        at += size;
        line_at(input, &mut at).filter(|line| line.is_empty())?;
    }
    while !line_at(input, &mut at)?.is_empty() {}
    Some((content, at))
}

/// The line that begins at `at`, without its end; `at` is behind it then.
fn line_at<'a>(input: &'a [u8], at: &mut usize) -> Option<&'a [u8]> {
    let rest = input.get(*at..)?;
    let len = rest.windows(2).position(|pair| pair == b"\r\n")?;
    *at += len + 2;
    Some(&rest[..len])
}
