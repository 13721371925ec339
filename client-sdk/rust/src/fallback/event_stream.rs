//! Reads server-sent events from bytes, as the HTML standard interprets an event stream
//! (WHATWG HTML, section 9.2.6). Does no input itself: bytes in, events out, however they are cut.

/// The longest line and the longest event, in bytes: the longest message that the WebSocket
/// library takes.
const EVENT_BYTES_MAX: usize = 64 << 20;

/// One dispatched event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamEvent {
    /// Its type; `message` if the stream named none.
    pub(crate) name: String,
    /// Its data, lines joined by a line feed.
    pub(crate) data: String,
}

/// The stream holds a line or an event over the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event is longer than {EVENT_BYTES_MAX} bytes")]
pub(crate) struct EventTooLong;

/// An event stream as far as it has been read.
#[derive(Debug, Default)]
pub(crate) struct EventStream {
    /// The line that has begun.
    line: Vec<u8>,
    /// The last byte was a carriage return, so a line feed that follows ends no line.
    after_carriage_return: bool,
    /// The first line, before which a byte order mark may stand, has been read.
    has_begun: bool,
    name: String,
    data: String,
    id: String,
    last_event_id: String,
    retry_ms: Option<u64>,
}

impl EventStream {
    /// Reads further bytes and appends the events that they complete to `events`.
    ///
    /// # Errors
    /// [`EventTooLong`]; nothing more can be read then.
    pub(crate) fn read(
        &mut self,
        mut bytes: &[u8],
        events: &mut Vec<StreamEvent>,
    ) -> Result<(), EventTooLong> {
        while let Some((&first, behind)) = bytes.split_first() {
            if std::mem::take(&mut self.after_carriage_return) && first == b'\n' {
                bytes = behind;
                continue;
            }
            let end = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
            let (text, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            if self.line.len() + text.len() > EVENT_BYTES_MAX {
                return Err(EventTooLong);
            }
            self.line.extend_from_slice(text);
            let Some((&line_end, rest)) = rest.split_first() else { return Ok(()) };
            self.after_carriage_return = line_end == b'\r';
            self.end_line(events)?;
            bytes = rest;
        }
        Ok(())
    }

    /// What a client repeats in `Last-Event-ID`; empty if the stream has named nothing.
    #[cfg(test)]
    pub(crate) fn last_event_id(&self) -> &str {
        &self.last_event_id
    }

    /// The reconnection time that the stream has set last, in milliseconds.
    pub(crate) fn retry_ms(&self) -> Option<u64> {
        self.retry_ms
    }

    fn end_line(&mut self, events: &mut Vec<StreamEvent>) -> Result<(), EventTooLong> {
        let bytes = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&bytes);
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        let line = if is_first { line.strip_prefix('\u{feff}').unwrap_or(&line) } else { &line };
        if line.is_empty() {
            self.dispatch(events);
        } else if let Some((field, value)) = line.split_once(':') {
            self.take_field(field, value.strip_prefix(' ').unwrap_or(value))?;
        } else {
            self.take_field(line, "")?;
        }
        self.line = bytes;
        self.line.clear();
        Ok(())
    }

    /// Acts on a field. A comment is a field without a name, and means nothing.
    fn take_field(&mut self, field: &str, value: &str) -> Result<(), EventTooLong> {
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => {
                if self.data.len() + value.len() > EVENT_BYTES_MAX {
                    return Err(EventTooLong);
                }
                self.data.push_str(value);
                self.data.push('\n');
            }
            "id" if !value.contains('\0') => value.clone_into(&mut self.id),
            "retry" if value.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.retry_ms = value.parse().ok().or(self.retry_ms);
            }
            _ => {}
        }
        Ok(())
    }

    fn dispatch(&mut self, events: &mut Vec<StreamEvent>) {
        self.last_event_id.clone_from(&self.id);
        let mut name = std::mem::take(&mut self.name);
        let mut data = std::mem::take(&mut self.data);
        if data.pop().is_none() {
            return;
        }
        if name.is_empty() {
            name.push_str("message");
        }
        events.push(StreamEvent { name, data });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(name: &str, data: &str) -> StreamEvent {
        StreamEvent { name: name.to_owned(), data: data.to_owned() }
    }

    fn read(text: &str) -> (Vec<StreamEvent>, EventStream) {
        let (mut stream, mut events) = (EventStream::default(), Vec::new());
        stream.read(text.as_bytes(), &mut events).unwrap();
        (events, stream)
    }

    #[test]
    fn lines_make_an_event_that_an_empty_line_ends() {
        let (events, _) = read("data: YHOO\ndata: +2\ndata: 10\n\nevent: add\ndata: 73857293\n\n");
        assert_eq!(events, [event("message", "YHOO\n+2\n10"), event("add", "73857293")]);
    }

    #[test]
    fn an_event_that_no_empty_line_ends_is_not_dispatched() {
        assert_eq!(read("data: third event").0, []);
        assert_eq!(read("data: third event\n").0, []);
    }

    #[test]
    fn comments_and_unknown_fields_mean_nothing() {
        let (events, _) = read(": a comment\n:\n\nshape: round\ndata: a\n: between\ndata: b\n\n");
        assert_eq!(events, [event("message", "a\nb")]);
    }

    #[test]
    fn one_space_behind_the_colon_belongs_to_the_field() {
        let (events, _) = read("data:a\n\ndata: a\n\ndata:  a\n\ndata:\ta\n\n");
        let expected = ["a", "a", " a", "\ta"].map(|data| event("message", data));
        assert_eq!(events, expected);
    }

    #[test]
    fn data_may_be_empty_but_must_be_there() {
        let (events, _) = read("data\n\ndata\ndata\n\nevent: x\n\ndata:\n\n");
        let expected = ["", "\n", ""].map(|data| event("message", data));
        assert_eq!(events, expected);
    }

    #[test]
    fn an_id_holds_until_another_one_or_an_empty_one_comes() {
        let id_of = |text: &str| read(text).1.last_event_id().to_owned();
        assert_eq!(id_of("id: k3:1\ndata: a\n\ndata: b\n\n"), "k3:1");
        assert_eq!(id_of("id: k3:1\n\n"), "k3:1", "an event of only an id sets it");
        assert_eq!(id_of("id: k3:1\ndata: a\n"), "", "only a whole event sets it");
        assert_eq!(id_of("id: k3:1\ndata: a\n\nid\ndata: b\n\n"), "");
        assert_eq!(id_of("id: k3:1\ndata: a\n\nid: a\0b\ndata: b\n\n"), "k3:1");
    }

    #[test]
    fn a_retry_is_a_number_or_nothing() {
        for (text, retry_ms) in [
            ("retry: 1000\n", Some(1_000)),
            ("retry: 1000\nretry: soon\n", Some(1_000)),
            ("retry: -1\n", None),
            ("retry: +1\n", None),
            ("retry:\n", None),
            ("retry: 99999999999999999999\n", None),
        ] {
            assert_eq!(read(text).1.retry_ms(), retry_ms, "{text}");
        }
    }

    #[test]
    fn lines_end_in_any_of_three_ways_and_a_byte_order_mark_goes() {
        for line_end in ["\n", "\r", "\r\n"] {
            let text = "\u{feff}data: a~data: b~~event: x~data: c~~".replace('~', line_end);
            assert_eq!(read(&text).0, [event("message", "a\nb"), event("x", "c")], "{text:?}");
        }
        assert_eq!(read("\u{feff}\u{feff}data: a\n\n").0, [], "only one mark goes");
    }

    #[test]
    fn what_is_no_utf_8_is_replaced() {
        let (mut stream, mut events) = (EventStream::default(), Vec::new());
        stream.read(b"data: a\xffb\xe2\x82\n\n", &mut events).unwrap();
        assert_eq!(events, [event("message", "a\u{fffd}b\u{fffd}")]);
    }

    #[test]
    fn a_line_without_end_is_given_up() {
        let (mut stream, mut events) = (EventStream::default(), Vec::new());
        let piece = vec![b'x'; EVENT_BYTES_MAX / 4];
        let given_up = (0..5).any(|_| stream.read(&piece, &mut events).is_err());
        assert!(given_up && events.is_empty());
    }

    /// Pieces that make many shapes of streams, whole fields and broken ones.
    fn pieces() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(&b"data: "[..]),
            Just(&b"data"[..]),
            Just(&b"event:x"[..]),
            Just(&b"id: 7"[..]),
            Just(&b"retry: 12"[..]),
            Just(&b": c"[..]),
            Just(&b"\xef\xbb\xbf"[..]),
            Just(&b"\xe2\x82\xac"[..]),
            Just(&b"\n"[..]),
            Just(&b"\r"[..]),
            Just(&b"\r\n"[..]),
            Just(&b"\n\n"[..]),
            Just(&b"\0"[..]),
            Just(&b"\xff"[..]),
            Just(&b"text"[..]),
        ];
        proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_cut_of_the_bytes_gives_the_same_events(
            bytes in pieces(),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..20),
        ) {
            let (mut whole, mut expected) = (EventStream::default(), Vec::new());
            whole.read(&bytes, &mut expected).unwrap();
            let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            ends.extend([0, bytes.len()]);
            ends.sort_unstable();
            let (mut cut, mut events) = (EventStream::default(), Vec::new());
            for ends in ends.windows(2) {
                cut.read(&bytes[ends[0]..ends[1]], &mut events).unwrap();
            }
            prop_assert_eq!(&events, &expected);
            prop_assert_eq!(cut.last_event_id(), whole.last_event_id());
            prop_assert_eq!(cut.retry_ms(), whole.retry_ms());
        }

        #[test]
        fn data_comes_out_as_it_went_in(lines in proptest::collection::vec("[^\r\n]{0,9}", 1..5)) {
            let data = lines.join("\n");
            let fields: String = lines.iter().map(|line| format!("data: {line}\n")).collect();
            prop_assert_eq!(read(&format!("{fields}\n")).0, [event("message", &data)]);
        }
    }
}
