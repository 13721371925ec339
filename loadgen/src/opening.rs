//! One connection on its way to being live: TCP, upgrade, `connect` and `subscribe`.
//!
//! Owns the steps and what is sent in each; how many are under way at once is `connect`'s.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use fanfare_protocol::limits::COMMANDS_PER_FRAME_MAX;
use fanfare_protocol::{Codec, Command, Connect, Position, Request, Subscribe, Subscribed};
use mio::net::TcpStream;
use mio::{Interest, Poll, Token};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use socket2::{Domain, Protocol, Socket, Type};

use crate::connect::Live;
use crate::frame;
use crate::handshake::{HandshakeError, UpgradeRequest};
use crate::plan::{Peer, Plan, Share};
use crate::replies::Replies;
use crate::stamp::now_ns;

/// How long nothing at all may happen before what is under way is given up.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Why one connection did not become live.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The socket failed; most often nothing listens there.
    #[error("{0}")]
    Socket(#[from] io::Error),
    /// The upgrade failed.
    #[error("{0}")]
    Handshake(#[from] HandshakeError),
    /// The server's frames are not what a server may send.
    #[error("the server sent {0}")]
    Frame(#[from] frame::FrameFault),
    /// The server's frames are not the SDK protocol.
    #[error("the server does not speak the SDK protocol: {0}")]
    Protocol(#[from] fanfare_protocol::FrameError),
    /// The server refused a command.
    #[error("the server refused a command: {0}")]
    Refused(#[from] fanfare_protocol::ErrorReply),
    /// The server closed the connection.
    #[error("the server closed the connection: {0}")]
    Closed(String),
    /// The server said nothing for ten seconds.
    #[error("no answer within {} s", SILENCE_MAX.as_secs())]
    Silent,
}

/// One connection on its way.
#[derive(Debug)]
pub(crate) struct Opening {
    /// Registered with the poll that it was started with.
    pub stream: TcpStream,
    /// When the first SYN was sent, in ns of [`now_ns`].
    pub started_ns: u64,
    /// `None` once it is answered.
    upgrade: Option<Upgrade>,
    replies: Replies,
    /// What is still to be sent.
    output: Vec<u8>,
    /// What was read and not understood yet.
    input: Vec<u8>,
}

/// TCP and the upgrade; then `commands` go out.
#[derive(Debug)]
struct Upgrade {
    request: UpgradeRequest,
    commands: Vec<u8>,
}

impl Opening {
    /// Starts the connection at `place` of a share, registered with `poll` under it. It comes back
    /// to the positions of its topics, if there are any.
    ///
    /// # Errors
    /// [`ConnectError::Socket`] if it fails at once.
    pub(crate) fn start(
        plan: &Plan,
        share: Share,
        (place, since): (usize, &[Position]),
        poll: &Poll,
    ) -> Result<Self, ConnectError> {
        let number = share.first + place as u32;
        let mut stream = connect(plan.target.address, share.source, plan.receive_buffer_bytes)?;
        let interests = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut stream, Token(place), interests)?;
        let host = plan.target.address.to_string();
        let subprotocol = plan.transport.codec().map(Codec::subprotocol);
        let request = UpgradeRequest::new(&host, &path(plan, number), subprotocol);
        let output = request.bytes().to_vec();
        let (commands, replies) = commands(plan, number, since);
        let (upgrade, started_ns) = (Some(Upgrade { request, commands }), now_ns());
        Ok(Self { stream, started_ns, upgrade, replies, output, input: Vec::new() })
    }

    /// Does what can be done now; true once the connection is live.
    ///
    /// # Errors
    /// [`ConnectError`] says why it never will be.
    pub(crate) fn advance(&mut self) -> Result<bool, ConnectError> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error.into());
        }
        if let Err(error) = self.stream.peer_addr() {
            let unfinished = error.kind() == io::ErrorKind::NotConnected;
            return if unfinished { Ok(false) } else { Err(error.into()) };
        }
        self.send()?;
        let ended = self.receive()?;
        if self.is_upgraded()? {
            self.replies.read(&mut self.input)?;
            if self.replies.are_complete() {
                return Ok(true);
            }
        }
        if ended {
            return Err(ConnectError::Closed("without a close frame".to_owned()));
        }
        Ok(false)
    }

    /// Sends the commands once the upgrade is answered; whether it is.
    fn is_upgraded(&mut self) -> Result<bool, ConnectError> {
        let Some(Upgrade { request, commands }) = &mut self.upgrade else { return Ok(true) };
        let Some(head_bytes) = request.read_answer(&self.input)? else { return Ok(false) };
        self.input.drain(..head_bytes);
        self.output = std::mem::take(commands);
        self.upgrade = None;
        self.send()?;
        Ok(true)
    }

    /// The live connection, and what was said to its subscriptions.
    #[must_use]
    pub(crate) fn into_live(self) -> (Live, Vec<Subscribed>) {
        let Replies { subscribed, others: mut unread, .. } = self.replies;
        unread.extend_from_slice(&self.input);
        (Live { stream: self.stream, unread }, subscribed)
    }

    fn send(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(sent) => drop(self.output.drain(..sent)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads all there is; true if the server sends no more.
    fn receive(&mut self) -> io::Result<bool> {
        let mut scratch = [0; 4096];
        loop {
            match self.stream.read(&mut scratch) {
                Ok(0) => return Ok(true),
                Ok(read) => self.input.extend_from_slice(&scratch[..read]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }
}

/// A socket on its way to `address`, from `source` if one must be chosen.
///
/// # Errors
/// If it fails at once.
pub(crate) fn connect(
    address: SocketAddr,
    source: Option<IpAddr>,
    receive_buffer_bytes: Option<usize>,
) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    // A connection is reset when it is dropped: thousands in TIME_WAIT would take the ephemeral
    // ports of the next round.
    socket.set_linger(Some(Duration::ZERO))?;
    if let Some(bytes) = receive_buffer_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(source) = source {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    match socket.connect(&address.into()) {
        Err(error)
            if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) =>
        {
            Err(error)
        }
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

fn path(plan: &Plan, number: u32) -> String {
    let mut topics = plan.shape.topics_of(number);
    if plan.target.peer == Peer::Floor {
        let topics: Vec<String> = topics.map(|topic| topic.to_string()).collect();
        return format!("/floor?topics={}", topics.join(","));
    }
    if plan.transport.codec().is_some() {
        return "/v1/ws".to_owned();
    }
    let name = topics.next().map_or("", |topic| plan.shape.topics[topic as usize].as_str());
    let mode = plan.mode.map(|mode| format!("?mode={}", mode.name())).unwrap_or_default();
    format!("/v1/topics/{}{mode}", utf8_percent_encode(name, NON_ALPHANUMERIC))
}

/// The frames that open the session and subscribe, and the replies that they get.
fn commands(plan: &Plan, number: u32, since: &[Position]) -> (Vec<u8>, Replies) {
    let (Some(codec), Peer::Broker) = (plan.transport.codec(), plan.target.peer) else {
        return (Vec::new(), Replies::new(Codec::Json, 0));
    };
    let subscribe = |(place, topic): (usize, u32)| {
        let topic = plan.shape.topics[topic as usize].clone();
        let since = since.get(place).cloned();
        Request::Subscribe(Subscribe { since, mode: plan.mode, ..Subscribe::new(topic) })
    };
    let topics = plan.shape.topics_of(number).enumerate();
    let requests =
        std::iter::once(Request::Connect(Connect::default())).chain(topics.map(subscribe));
    let commands: Vec<Command> =
        (1..).zip(requests).map(|(id, request)| Command { id: Some(id), request }).collect();
    let opcode = opcode(codec);
    let mut frames = Vec::new();
    for batch in commands.chunks(COMMANDS_PER_FRAME_MAX) {
        let mut content = Vec::new();
        Command::encode_batch(batch, codec, &mut content);
        frame::write_masked(&mut frames, opcode, &content);
    }
    (frames, Replies::new(codec, commands.len()))
}

/// The opcode of a codec's frames.
#[must_use]
pub(crate) fn opcode(codec: Codec) -> u8 {
    match codec {
        Codec::Json => frame::TEXT,
        Codec::MsgPack => frame::BINARY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fanfare_protocol::Mode;

    use crate::frame::Sender;
    use crate::plan::{Shape, Target, Transport};

    fn plan(transport: Transport, url: &str) -> Plan {
        let topics = (0..2_000).map(|t| format!("t.{t}")).collect();
        let shape = Shape { connections: 2, topics, topics_per_connection: 1_500 };
        Plan::new(Target::parse(url).unwrap(), transport, shape)
    }

    fn requests(mut frames: Vec<u8>, codec: Codec) -> Vec<Request> {
        let mut decoded = Vec::new();
        while let Some(frame) = frame::read(&frames, Sender::Client).unwrap() {
            let content = &mut frames[frame.content.clone()];
            frame::apply_mask(content, frame.mask);
            decoded.extend(Command::decode_frame(codec, content).unwrap());
            frames.drain(..frame.content.end);
        }
        decoded.into_iter().map(|command| command.request.unwrap()).collect()
    }

    #[test]
    fn commands_are_batched_as_the_protocol_allows() {
        let plan = plan(Transport::MsgPack, "ws://127.0.0.1:1");
        let requests = requests(commands(&plan, 1, &[]).0, Codec::MsgPack);
        assert_eq!(requests.len(), 1_501);
        assert_eq!(requests[0], Request::Connect(Connect::default()));
        assert_eq!(requests[1_500], Request::Subscribe(Subscribe::new("t.999")));
    }

    #[test]
    fn a_returning_connection_names_its_positions_and_its_mode() {
        let mut plan = plan(Transport::Json, "ws://127.0.0.1:1");
        plan.mode = Some(Mode::Latest);
        let since = Position { epoch: "e".to_owned(), offset: 7 };
        let requests = requests(commands(&plan, 0, std::slice::from_ref(&since)).0, Codec::Json);
        let (first, second) = (Subscribe::new("t.0"), Subscribe::new("t.1"));
        let mode = plan.mode;
        let first = Subscribe { since: Some(since), mode, ..first };
        assert_eq!(requests[1], Request::Subscribe(first));
        assert_eq!(requests[2], Request::Subscribe(Subscribe { mode, ..second }));
    }

    #[test]
    fn paths_fit_the_peer_and_the_transport() {
        assert_eq!(path(&plan(Transport::Json, "ws://127.0.0.1:1"), 0), "/v1/ws");
        assert_eq!(path(&plan(Transport::Raw, "ws://127.0.0.1:1"), 1), "/v1/topics/t%2E1500");
        let latest = Plan { mode: Some(Mode::Latest), ..plan(Transport::Raw, "ws://127.0.0.1:1") };
        assert_eq!(path(&latest, 1), "/v1/topics/t%2E1500?mode=latest");
        let floor = path(&plan(Transport::Json, "ws://127.0.0.1:1/floor"), 1);
        assert!(floor.starts_with("/floor?topics=1500,1501,"), "{floor}");
    }
}
