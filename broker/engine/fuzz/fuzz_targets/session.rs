//! A whole shard under a hostile client: whatever comes in, what goes out are whole frames, other
//! connections get theirs, and nothing is left behind at the end.
#![no_main]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::rc::Rc;
use std::sync::Arc;

use fanfare_engine::{
    ConnectionKind, EventSource, Limits, Mailbox, Now, Shard, Socket, StreamOptions, TopicTable,
};
use fanfare_protocol::{Codec, Filter, TopicName};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Default)]
struct Pipe {
    input: VecDeque<u8>,
    output: Vec<u8>,
    is_lost: bool,
}

#[derive(Clone, Debug, Default)]
struct Client(Rc<RefCell<Pipe>>);

impl Read for Client {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut pipe = self.0.borrow_mut();
        match pipe.input.read(buffer)? {
            0 if pipe.is_lost => Ok(0),
            0 => Err(io::ErrorKind::WouldBlock.into()),
            n => Ok(n),
        }
    }
}

impl Write for Client {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().output.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Socket for Client {
    fn shutdown_write(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&mode, stream)) = input.split_first() else { return };
    let topic = TopicName::new("t").expect("a name");
    let kind = match mode % 5 {
        0 => raw(&topic),
        1 => ConnectionKind::Sdk(Codec::Json),
        2 => ConnectionKind::Sdk(Codec::MsgPack),
        3 => events(&topic),
        _ => several(&topic),
    };
    let is_events = mode % 5 > 2;
    let mut limits = Limits { message_bytes_max: 4_096, ..Limits::default() };
    let namespace = limits.namespaces.default_mut();
    (namespace.history_messages, namespace.presence) = (2, true);
    let mailboxes = vec![Arc::new(Mailbox::new(|| {}))];
    let topics = Arc::new(TopicTable::new(mailboxes, Arc::new(limits), 1));
    let mut shard = Shard::new(0, "n".into(), topics);
    let (bystander, hostile) = (Client::default(), Client::default());
    let now = Now::from_ms(1);
    let bystander_key = shard.open(bystander.clone(), &raw(&topic), now);
    let key = shard.open(hostile.clone(), &kind, now);
    let mut scratch = vec![0; 256];
    for (turn, piece) in (1..).zip(stream.chunks(100)) {
        let now = Now::from_ms(300 * turn);
        hostile.0.borrow_mut().input.extend(piece);
        shard.handle_readable(key, &mut scratch, true, now);
        shard.release_tiers(now);
        shard.topics().tell_presence(now);
        shard.drain_mailbox(usize::MAX, now);
        while shard.flush(8, now) {}
    }
    match is_events {
        true => check_events(&hostile.0.borrow().output),
        false => check_frames(&hostile.0.borrow().output),
    }
    check_frames(&bystander.0.borrow().output);
    hostile.0.borrow_mut().is_lost = true;
    while shard.connection_count() > 1 {
        shard.handle_readable(key, &mut scratch, true, now);
    }
    assert!(shard.buffered_amount(bystander_key) == Some(0));
    let counters = shard.counters();
    assert_eq!((counters.connections.get(), counters.subscriptions.get()), (1, 1));
    assert_eq!((counters.outbox_bytes.get(), counters.unfinished_bytes.get()), (0, 0));
});

/// What a client got must be whole unmasked frames without reserved bits.
fn check_frames(mut bytes: &[u8]) {
    while let [first, second, rest @ ..] = bytes {
        assert!(matches!(first, 0x81 | 0x82 | 0x88 | 0x89 | 0x8a), "{first:#x}");
        let (len, rest) = match second {
            126 => (usize::from(rest[0]) << 8 | usize::from(rest[1]), &rest[2..]),
            127 => panic!("no frame here is that long"),
            short => (usize::from(*short), rest),
        };
        bytes = &rest[len..];
    }
    assert!(bytes.is_empty());
}

/// What a reader of events got must be whole events.
fn check_events(bytes: &[u8]) {
    let text = std::str::from_utf8(bytes).expect("UTF-8");
    assert!(text.starts_with("retry: 1000\n") && text.ends_with("\n\n"), "{text:?}");
    let fields = ["event: ", "id: ", "data: ", "retry: "];
    for line in text.lines().filter(|line| !line.is_empty() && *line != ":") {
        assert!(fields.iter().any(|field| line.starts_with(field)), "{line:?}");
    }
}

fn events(topic: &TopicName) -> ConnectionKind {
    let options = StreamOptions::default();
    ConnectionKind::TopicEvents { topic: topic.clone(), since: None, options }
}

fn several(topic: &TopicName) -> ConnectionKind {
    let filters = [Filter::Topic(topic.clone()), Filter::new(">").expect("a pattern")];
    let sources = filters.map(|filter| EventSource { filter, since: None }).to_vec();
    ConnectionKind::Events { sources, options: StreamOptions::default() }
}

/// The raw stream of a topic.
fn raw(topic: &TopicName) -> ConnectionKind {
    ConnectionKind::Raw { topic: topic.clone(), since: None, options: StreamOptions::default() }
}
