//! Every way on given bytes: each byte is counted once, and as what it is.

use super::*;
use crate::compare::meter::Parts;
use crate::compare::tally::{ANY, Book};
use crate::feed::{padding, write_payload};
use crate::frame;

const SIZE: usize = 64;

fn setup(way: Way) -> Setup {
    Setup {
        way,
        address: "127.0.0.1:8080".parse().unwrap(),
        topic: "stock.ACME".to_owned(),
        lines: "User-Agent: x\r\n".to_owned(),
        says_keep_alive: false,
        clients: 1,
        interval_ns: 1_000_000_000,
        one_way_ns: 0,
        run: 7,
        payload_bytes: SIZE as u64,
    }
}

fn payload(sequence: u32) -> String {
    let stamp = Stamp { run: 7, sequence, ..Stamp::default() };
    let mut text = Vec::new();
    write_payload(&stamp, &padding(SIZE), &mut text);
    String::from_utf8(text).unwrap()
}

/// A client and all that it has counted.
struct Client {
    setup: Setup,
    talk: Box<dyn Talk>,
    tally: Tally,
    next: u32,
    out: Vec<u8>,
}

impl Client {
    fn of(way: Way) -> Self {
        let setup = setup(way);
        let mut tally = Tally::default();
        tally.book = Book::Running;
        Self { talk: setup.talk(), setup, tally, next: ANY, out: Vec::new() }
    }

    /// What it asks, which all is a head.
    fn ask(&mut self) -> String {
        self.out.clear();
        let before = self.tally.running.sent;
        self.talk.ask(&self.setup, &mut self.tally.running, &mut self.out);
        let head = self.tally.running.sent.head - before.head;
        assert_eq!(
            (head as usize, self.tally.running.sent.overhead()),
            (self.out.len(), before.overhead() + head)
        );
        String::from_utf8(self.out.clone()).unwrap()
    }

    /// Lets it hear these bytes, first of all any beginning of them, which changes nothing.
    fn hear(&mut self, input: &[u8]) -> Result<Heard, Fault> {
        let before = self.tally.running;
        for length in 0..input.len().min(12) {
            assert_eq!(self.hear_some(&input[..length])?, Heard::Nothing);
        }
        assert_eq!(self.tally.running, before);
        self.hear_some(input)
    }

    fn hear_some(&mut self, input: &[u8]) -> Result<Heard, Fault> {
        let (setup, tally, next) = (&self.setup, &mut self.tally, &mut self.next);
        self.out.clear();
        self.talk.hear(input, &mut Notes { setup, tally, next, now_ns: 9_000 }, &mut self.out)
    }

    fn received(&mut self) -> [u64; 4] {
        let Parts { head, framing, envelope, payload } =
            std::mem::take(&mut self.tally.running.received);
        [head, framing, envelope, payload]
    }
}

fn answer(status: &str, etag: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nETag: {etag}\r\nContent-Length: {length}\r\n\r\n{body}")
}

#[test]
fn a_poll_is_heads_and_an_envelope_around_the_newest_message() {
    let mut client = Client::of(Way::PollKeptEtag);
    assert_eq!(
        client.ask(),
        "GET /v1/topics/stock.ACME?limit=1 HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\
         User-Agent: x\r\n\r\n"
    );
    let body = format!(r#"{{"offset":5,"messages":[{{"offset":5,"data":{}}}]}}"#, payload(4));
    let text = answer("200 OK", "\"k3:5\"", &body);
    let heard = client.hear(text.as_bytes()).unwrap();
    assert_eq!(heard, Heard::Answer(text.len()));
    let head = (text.len() - body.len()) as u64;
    assert_eq!(client.received(), [head, 0, (body.len() - SIZE) as u64, SIZE as u64]);
    assert!(client.ask().ends_with("If-None-Match: \"k3:5\"\r\n\r\n"));

    let text = answer("304 Not Modified", "\"k3:5\"", "");
    client.hear(text.as_bytes()).unwrap();
    assert_eq!(client.received(), [text.len() as u64, 0, 0, 0]);
    let counts = client.tally.counts;
    assert_eq!((counts.polls, counts.not_modified, counts.messages), (2, 1, 1));
}

#[test]
fn messages_between_two_polls_are_missed_and_the_same_one_again_is_repeated() {
    let mut client = Client::of(Way::PollFresh);
    assert!(client.ask().contains("\r\nConnection: close\r\n"));
    for sequence in [4, 4, 7] {
        let text = answer("200 OK", "\"k3:5\"", &payload(sequence));
        client.hear(text.as_bytes()).unwrap();
    }
    let counts = client.tally.counts;
    assert_eq!((counts.messages, counts.repeated, counts.missed, counts.lost), (2, 1, 2, 0));
}

#[test]
fn a_long_poll_asks_for_what_follows_and_may_miss_nothing() {
    let mut client = Client::of(Way::LongPoll);
    assert!(client.ask().starts_with("GET /v1/topics/stock.ACME?limit=1 HTTP"));
    client.hear(answer("200 OK", "\"k3:5\"", &payload(0)).as_bytes()).unwrap();
    assert!(client.ask().starts_with("GET /v1/topics/stock.ACME?after=k3:5&wait=25s HTTP"));
    client.hear(answer("200 OK", "\"k3:8\"", &payload(2)).as_bytes()).unwrap();
    client.hear(answer("200 OK", "\"k3:8\"", &payload(2)).as_bytes()).unwrap();
    let counts = client.tally.counts;
    assert_eq!((counts.messages, counts.lost, counts.missed, counts.doubled), (2, 1, 0, 1));
}

#[test]
fn of_an_event_stream_names_and_line_ends_are_framing() {
    let mut client = Client::of(Way::Sse);
    assert!(client.ask().contains("\r\nAccept: text/event-stream\r\n"));
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
    assert_eq!(client.hear(head.as_bytes()).unwrap(), Heard::Part(head.len()));
    assert_eq!(client.received(), [head.len() as u64, 0, 0, 0]);

    let event = "retry: 1000\nevent: subscribed\nid: k3:5\ndata: {}\n\n";
    assert_eq!(client.hear(event.as_bytes()).unwrap(), Heard::Live(event.len()));
    let values = "1000subscribedk3:5{}".len() as u64;
    assert_eq!(client.received(), [0, event.len() as u64 - values, values, 0]);

    let event = format!("id: k3:6\ndata: {}\n\n", payload(0));
    assert_eq!(client.hear(event.as_bytes()).unwrap(), Heard::Part(event.len()));
    // `id: `, `data: ` and three line ends; the position; the payload.
    assert_eq!(client.received(), [0, 4 + 6 + 3, 4, SIZE as u64]);

    assert_eq!(client.hear_some(b":\n\n").unwrap(), Heard::Part(3));
    assert_eq!(client.received(), [0, 3, 0, 0]);
    assert_eq!(client.tally.counts.messages, 1);
    let close = client.hear(b"event: close\ndata: {\"code\":1012}\n\n").unwrap_err();
    assert!(close.to_string().contains("1012"), "{close}");
}

#[test]
fn an_event_stream_that_is_refused_is_a_fault() {
    let mut client = Client::of(Way::Sse);
    client.ask();
    let text = "HTTP/1.1 406 Not Acceptable\r\n\r\nno such thing";
    let fault = client.hear(text.as_bytes()).unwrap_err();
    assert_eq!(fault.to_string(), "the server answered 406: no such thing");
}

/// The answer to an upgrade request, by the small server that the floor has.
fn upgraded(request: &str) -> Vec<u8> {
    crate::handshake::read_request(request.as_bytes()).unwrap().unwrap().answer
}

#[test]
fn a_raw_message_has_two_bytes_of_framing_and_a_ping_all_of_its_bytes() {
    let mut client = Client::of(Way::Raw);
    let request = client.ask();
    assert!(
        request.starts_with("GET /v1/topics/stock.ACME HTTP") && request.contains("User-Agent: x")
    );
    let head = upgraded(&request);
    assert_eq!(client.hear(&head).unwrap(), Heard::Live(head.len()));
    assert_eq!(client.received(), [head.len() as u64, 0, 0, 0]);

    let mut message = Vec::new();
    frame::write_bare(&mut message, frame::TEXT, payload(0).as_bytes());
    assert_eq!(client.hear_some(&message).unwrap(), Heard::Part(2 + SIZE));
    assert_eq!(client.received(), [0, 2, 0, SIZE as u64]);

    let mut ping = Vec::new();
    frame::write_bare(&mut ping, frame::PING, b"hi");
    client.hear_some(&ping).unwrap();
    assert_eq!(client.received(), [0, 4, 0, 0]);
    // The pong has a mask besides.
    assert_eq!((client.tally.running.sent.framing, client.out.len()), (8, 8));
}

#[test]
fn an_sdk_client_is_live_with_its_subscription_and_counts_the_envelope() {
    let mut client = Client::of(Way::SdkJson);
    let request = client.ask();
    let head = upgraded(&request);
    assert_eq!(client.hear(&head).unwrap(), Heard::Part(head.len()));
    let sent = client.tally.running.sent;
    assert_eq!(sent.framing + sent.envelope, client.out.len() as u64);
    assert!(sent.framing >= 6, "a header and a mask");
    client.received();

    let text = |content: &str| {
        let mut bytes = Vec::new();
        frame::write_bare(&mut bytes, frame::TEXT, content.as_bytes());
        bytes
    };
    let connected = r#"{"connection":"c","node":"n","ping_interval_ms":1,"message_bytes_max":1}"#;
    let reply = text(&format!(r#"{{"id":1,"connect":{connected}}}"#));
    assert_eq!(client.hear_some(&reply).unwrap(), Heard::Part(reply.len()));
    let reply = text(r#"{"id":2,"subscribe":{"epoch":"e","offset":7,"recovered":true}}"#);
    assert_eq!(client.hear_some(&reply).unwrap(), Heard::Live(reply.len()));
    client.received();

    let content = format!(r#"{{"topic":"stock.ACME","offset":1001,"data":{}}}"#, payload(0));
    client.hear_some(&text(&content)).unwrap();
    assert_eq!(client.received(), [0, 2, (content.len() - SIZE) as u64, SIZE as u64]);
    assert!(content.len() - SIZE <= 50, "the envelope of a topic of ten characters");
    let closed = client.hear_some(&[0x88, 2, 0x0b, 0xb8]).unwrap_err();
    assert_eq!(closed.to_string(), "the server closed the connection 3000");
}

#[test]
fn messages_of_other_measurements_are_bytes_and_nothing_else() {
    let mut client = Client::of(Way::PollKept);
    client.setup.run = 8;
    let text = answer("200 OK", "\"k3:5\"", &payload(4));
    client.hear(text.as_bytes()).unwrap();
    assert_eq!((client.tally.counts.messages, client.received()[3]), (0, SIZE as u64));
}
