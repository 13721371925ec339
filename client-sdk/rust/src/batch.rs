//! Commands put together into as few frames as the limits allow.

use fanfare_protocol::limits::COMMANDS_PER_FRAME_MAX;
use fanfare_protocol::{Command, Request, Subscribe};

/// Frames are cut at about this many bytes, well under the message limit of any sensible broker.
const FRAME_BYTES_GOAL: usize = 32 * 1024;

// So long is each command reckoned that their number needs no look.
const _: () = assert!(FRAME_BYTES_GOAL / REST_BYTES <= COMMANDS_PER_FRAME_MAX);

/// What a command may have beside its texts, in bytes; the longest `subscribe` has it.
const REST_BYTES: usize = 167;

/// Commands in their order, cut into frames.
#[derive(Debug)]
pub(crate) struct Batch {
    frames: Vec<Vec<Command>>,
    /// The most bytes that the last frame can have.
    bytes: usize,
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self { frames: vec![Vec::new()], bytes: 0 }
    }

    /// Adds commands that belong into one frame.
    pub(crate) fn push_together(&mut self, commands: impl IntoIterator<Item = Command>) {
        let commands: Vec<Command> = commands.into_iter().collect();
        let bytes: usize = commands.iter().map(command_bytes_max).sum();
        let is_full = self.bytes + bytes > FRAME_BYTES_GOAL;
        match self.frames.last_mut() {
            Some(frame) if !is_full || frame.is_empty() => {
                frame.extend(commands);
                self.bytes += bytes;
            }
            _ => {
                self.frames.push(commands);
                self.bytes = bytes;
            }
        }
    }

    /// The commands of each frame.
    pub(crate) fn frames(self) -> impl Iterator<Item = Vec<Command>> {
        self.frames.into_iter().filter(|frame| !frame.is_empty())
    }
}

/// The longest that a command can be in either codec, with the comma behind it: each byte of a
/// topic's name may need an escape of two and each of an epoch, a token or a name one of six.
fn command_bytes_max(command: &Command) -> usize {
    let text = |text: &Option<String>| 6 * text.as_ref().map_or(0, String::len);
    match &command.request {
        Request::Subscribe(Subscribe { topic, since, .. }) => {
            REST_BYTES + 2 * topic.len() + 6 * since.as_ref().map_or(0, |since| since.epoch.len())
        }
        Request::Unsubscribe(unsubscribe) => REST_BYTES + 2 * unsubscribe.topic.len(),
        Request::Connect(connect) => REST_BYTES + text(&connect.token) + text(&connect.name),
        // No other command is put into a batch.
        _ => FRAME_BYTES_GOAL,
    }
}

#[cfg(test)]
mod tests {
    use fanfare_protocol::{Codec, Connect, Mode, Position, Unsubscribe};

    use super::*;
    use crate::connection::frame_of;

    fn lengths(request: Request) -> (usize, usize, usize) {
        let command = Command { id: Some(u64::MAX), request };
        let most = command_bytes_max(&command);
        let length = |codec| frame_of(codec, std::slice::from_ref(&command)).len() + 1;
        (length(Codec::Json), length(Codec::MsgPack), most)
    }

    #[test]
    fn no_command_is_longer_than_the_most_that_is_reckoned_with() {
        let (json, msgpack, most) = lengths(Request::Subscribe(Subscribe {
            since: Some(Position { epoch: "\u{1}".repeat(40), offset: u64::MAX }),
            mode: Some(Mode::Latest),
            max_rate: Some(10),
            snapshot: Some(false),
            presence: true,
            ..Subscribe::new("\"".repeat(255))
        }));
        assert_eq!(json, most);
        assert!(msgpack < most);
        for request in [
            Request::Unsubscribe(Unsubscribe { topic: "\"".repeat(255) }),
            Request::Connect(Connect {
                token: Some("\u{1}".repeat(4_096)),
                name: Some("\u{1}".repeat(64)),
            }),
        ] {
            let (json, msgpack, most) = lengths(request);
            assert!(json <= most && msgpack <= most);
        }
    }

    fn subscribe(topic: usize) -> Command {
        Command { id: None, request: Request::Subscribe(Subscribe::new(topic.to_string())) }
    }

    #[test]
    fn commands_keep_their_order_and_frames_their_limits() {
        let mut batch = Batch::new();
        (0..3_000).for_each(|topic| batch.push_together([subscribe(topic)]));
        let frames: Vec<_> = batch.frames().collect();
        for frame in &frames {
            assert!(frame.len() <= COMMANDS_PER_FRAME_MAX);
            assert!(frame_of(Codec::Json, frame).len() <= FRAME_BYTES_GOAL);
        }
        let expected: Vec<_> = (0..3_000).map(subscribe).collect();
        assert_eq!(frames.concat(), expected);
    }

    #[test]
    fn what_belongs_together_is_not_cut() {
        let mut batch = Batch::new();
        (0..3_001).for_each(|topic| batch.push_together([subscribe(topic), subscribe(topic)]));
        assert!(batch.frames().all(|frame| frame.len() % 2 == 0));
        assert_eq!(Batch::new().frames().count(), 0);
    }

    #[test]
    fn a_command_over_the_goal_has_a_frame_of_its_own() {
        let token = Some("t".repeat(FRAME_BYTES_GOAL));
        let connect = || Command {
            id: None,
            request: Request::Connect(Connect { token: token.clone(), name: None }),
        };
        let mut batch = Batch::new();
        batch.push_together([connect()]);
        batch.push_together([subscribe(1)]);
        batch.push_together([connect()]);
        assert_eq!(batch.frames().map(|frame| frame.len()).collect::<Vec<_>>(), [1, 1, 1]);
    }
}
