//! A client of a stream of server-sent events (WHATWG HTML, section 9.2).
//!
//! Framing are the field names, the colons and spaces behind them and the line ends; the value of
//! `data` of a message is its payload, every other value belongs to the envelope.

use super::http::{read_head, start_of, write_get};
use super::meter::{Meter, Parts};
use super::talk::{Fault, Heard, Notes, Setup, Talk};

/// Where in the stream it is.
#[derive(Debug, Default)]
pub(super) struct Events {
    has_head: bool,
    is_live: bool,
}

impl Talk for Events {
    fn ask(&mut self, setup: &Setup, meter: &mut Meter, out: &mut Vec<u8>) {
        *self = Self::default();
        write_get(setup, &setup.path(), &["Accept: text/event-stream\r\n"], meter, out);
    }

    fn hear(
        &mut self,
        input: &[u8],
        notes: &mut Notes<'_>,
        _out: &mut Vec<u8>,
    ) -> Result<Heard, Fault> {
        if !self.has_head {
            let Some(head) = read_head(input)? else { return Ok(Heard::Nothing) };
            if head.status != 200 {
                let detail = start_of(&input[head.bytes..]);
                return Err(Fault::Status { status: head.status, detail });
            }
            let bytes = head.bytes;
            self.has_head = true;
            notes.meter().received.head += bytes as u64;
            return Ok(Heard::Part(bytes));
        }
        let Some(end) = memchr::memmem::find(input, b"\n\n") else { return Ok(Heard::Nothing) };
        let length = end + 2;
        let event = Event::read(&input[..length]);
        let is_new = event.is_subscribed && !self.is_live;
        match event.name {
            Some(b"close") => {
                let why = String::from_utf8_lossy(event.data).into_owned();
                return Err(Fault::Closed(why));
            }
            None if !event.data.is_empty() => notes.event(&event),
            _ => notes.other_event(&event),
        }
        self.is_live |= is_new;
        Ok(if is_new { Heard::Live(length) } else { Heard::Part(length) })
    }
}

/// One event, or a comment.
#[derive(Debug, Default, PartialEq, Eq)]
struct Event<'a> {
    name: Option<&'a [u8]>,
    /// The value of the only, or the last, `data` line.
    data: &'a [u8],
    is_subscribed: bool,
    /// Names, colons, spaces, line ends and comments.
    framing: u64,
    /// Values of all fields.
    values: u64,
}

impl<'a> Event<'a> {
    /// Reads an event with the blank line that ends it.
    fn read(block: &'a [u8]) -> Self {
        let mut event = Self::default();
        for line in block.split_inclusive(|byte| *byte == b'\n') {
            let text = line.strip_suffix(b"\n").unwrap_or(line);
            let (name, value) = match text.iter().position(|byte| *byte == b':') {
                Some(colon) => (&text[..colon], &text[colon + 1..]),
                None => (text, &b""[..]),
            };
            let value = value.strip_prefix(b" ").unwrap_or(value);
            // A comment has no name and is nobody's value.
            let value = if name.is_empty() { b"" } else { value };
            match name {
                b"event" => event.name = Some(value),
                b"data" => event.data = value,
                _ => {}
            }
            event.values += value.len() as u64;
            event.framing += (line.len() - value.len()) as u64;
        }
        event.is_subscribed = event.name == Some(b"subscribed");
        event
    }
}

impl Notes<'_> {
    fn event(&mut self, event: &Event<'_>) {
        self.content(event.data);
        let (framing, envelope) = (event.framing, event.values - event.data.len() as u64);
        let meter = self.meter();
        meter.received += Parts { framing, envelope, ..Parts::default() };
        meter.records += 1;
    }

    fn other_event(&mut self, event: &Event<'_>) {
        let (framing, envelope) = (event.framing, event.values);
        let meter = self.meter();
        meter.received += Parts { framing, envelope, ..Parts::default() };
        meter.records += 1;
    }
}
