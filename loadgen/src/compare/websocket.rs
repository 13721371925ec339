//! A client of a WebSocket: the raw stream of one topic, or the SDK protocol.

use fanfare_protocol::{Codec, Command, Connect, ReplyBody, Request, ServerFrame, Subscribe};

use super::meter::Meter;
use super::talk::{Fault, Heard, Notes, Setup, Talk};
use crate::frame::{self, Sender};
use crate::handshake::UpgradeRequest;
use crate::opening::opcode;

/// How far it has come.
#[derive(Debug, Default)]
pub(super) struct WebSocket {
    /// The upgrade, until it is answered.
    upgrade: Option<UpgradeRequest>,
    /// Replies that are awaited before it follows the topic.
    awaited: usize,
}

impl Talk for WebSocket {
    fn ask(&mut self, setup: &Setup, meter: &mut Meter, out: &mut Vec<u8>) {
        let codec = setup.way.codec();
        let path = if codec.is_some() { "/v1/ws".to_owned() } else { setup.path() };
        let host = setup.address.to_string();
        let request = UpgradeRequest::new(&host, &path, codec.map(Codec::subprotocol))
            .with_lines(&setup.lines);
        out.extend_from_slice(request.bytes());
        meter.sent.head += request.bytes().len() as u64;
        meter.records += 1;
        self.upgrade = Some(request);
    }

    fn hear(
        &mut self,
        input: &[u8],
        notes: &mut Notes<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Heard, Fault> {
        if let Some(request) = &self.upgrade {
            let Some(head_bytes) = request.read_answer(input)? else { return Ok(Heard::Nothing) };
            let meter = notes.tally.meter();
            meter.received.head += head_bytes as u64;
            meter.records += 1;
            self.upgrade = None;
            let Some(codec) = notes.setup.way.codec() else { return Ok(Heard::Live(head_bytes)) };
            self.awaited = subscribe(notes.setup, codec, meter, out);
            return Ok(Heard::Part(head_bytes));
        }
        let Some(frame) = frame::read(input, Sender::Server)? else { return Ok(Heard::Nothing) };
        let content = &input[frame.content.clone()];
        let length = frame.content.end;
        notes.meter().received.framing += frame.content.start as u64;
        notes.meter().records += 1;
        match frame.opcode {
            frame::TEXT | frame::BINARY => {
                notes.content(content);
                if self.awaited > 0 && self.is_last_reply(content, notes.setup)? {
                    return Ok(Heard::Live(length));
                }
            }
            frame::CLOSE => return Err(Fault::Closed(frame::close_text(content))),
            opcode => {
                notes.meter().received.framing += content.len() as u64;
                if opcode == frame::PING {
                    let start = out.len();
                    frame::write_masked(out, frame::PONG, content);
                    notes.meter().sent.framing += (out.len() - start) as u64;
                    notes.meter().records += 1;
                }
            }
        }
        Ok(Heard::Part(length))
    }
}

impl WebSocket {
    fn is_last_reply(&mut self, content: &[u8], setup: &Setup) -> Result<bool, Fault> {
        let Some(codec) = setup.way.codec() else { return Ok(false) };
        let ServerFrame::Reply(reply) = ServerFrame::decode(codec, content)? else {
            return Ok(false);
        };
        let body: ReplyBody = reply.result?;
        self.awaited -= 1;
        Ok(self.awaited == 0 && matches!(body, ReplyBody::Subscribe(_)))
    }
}

/// Appends the frame that opens the session and subscribes; the replies that it gets.
fn subscribe(setup: &Setup, codec: Codec, meter: &mut Meter, out: &mut Vec<u8>) -> usize {
    let requests = [
        Request::Connect(Connect::default()),
        Request::Subscribe(Subscribe::new(setup.topic.clone())),
    ];
    let commands: Vec<Command> =
        (1..).zip(requests).map(|(id, request)| Command { id: Some(id), request }).collect();
    let (mut content, start) = (Vec::new(), out.len());
    Command::encode_batch(&commands, codec, &mut content);
    frame::write_masked(out, opcode(codec), &content);
    meter.sent.envelope += content.len() as u64;
    meter.sent.framing += (out.len() - start - content.len()) as u64;
    meter.records += 1;
    commands.len()
}
