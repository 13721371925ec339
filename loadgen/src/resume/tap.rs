//! One subscriber that writes down every message: what came, when, and where in the stream.
//!
//! Owns its connection and the log; what the log means is `judge`'s.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use mio::net::TcpStream;
use mio::{Events, Poll};

use crate::connect;
use crate::frame::{self, Sender};
use crate::plan::{Plan, Share};
use crate::stamp::{Stamp, now_ns};

const READ_BYTES: usize = 64 * 1024;

/// How long a read waits for something to come.
const PATIENCE: Duration = Duration::from_millis(10);

/// One message as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrival {
    /// Its topic's number.
    pub topic: u32,
    /// Its place in the topic's sequence.
    pub sequence: u32,
    /// When it was read, in ns of [`now_ns`].
    pub at_ns: u64,
    /// Where its frame begins: how many bytes came before it.
    pub begins: u64,
}

/// One connection and its log.
#[derive(Debug)]
pub(super) struct Tap {
    poll: Poll,
    stream: TcpStream,
    run: u8,
    /// The start of a frame whose end has not come.
    partial: Vec<u8>,
    scratch: Vec<u8>,
    /// Bytes that were read since the connection is live.
    pub read_bytes: u64,
    /// Every message of this run.
    pub log: Vec<Arrival>,
    /// Why the connection has ended, if it has.
    pub closed: Option<String>,
}

impl Tap {
    /// Connects the one subscriber of `plan`.
    ///
    /// # Errors
    /// If it does not become live.
    pub(super) fn connect(plan: &Plan) -> Result<Self> {
        let share = Share { first: 0, count: 1, source: None };
        let mut opened = connect::open(plan, share, &AtomicU32::new(0))?;
        let Some(live) = opened.connections.pop().flatten() else {
            bail!("a subscriber failed: {}", opened.report.first_error.unwrap_or_default());
        };
        let mut tap = Self {
            poll: opened.poll,
            stream: live.stream,
            run: plan.run,
            partial: Vec::new(),
            scratch: vec![0; READ_BYTES],
            read_bytes: 0,
            log: Vec::new(),
            closed: None,
        };
        tap.take(&live.unread);
        Ok(tap)
    }

    /// The addresses of both ends: this one and the server's.
    ///
    /// # Errors
    /// If the connection has ended.
    pub(super) fn addresses(&self) -> Result<(SocketAddr, SocketAddr)> {
        let ends = (self.stream.local_addr(), self.stream.peer_addr());
        Ok((ends.0?, ends.1.context("the connection has ended")?))
    }

    /// Reads what there is, waiting a moment for it.
    ///
    /// # Errors
    /// If the poll fails. An end of the connection is noted in [`Self::closed`].
    pub(super) fn read(&mut self) -> io::Result<()> {
        while self.read_some(READ_BYTES) {}
        if self.closed.is_some() {
            std::thread::sleep(PATIENCE);
            return Ok(());
        }
        match self.poll.poll(&mut Events::with_capacity(4), Some(PATIENCE)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            polled => polled,
        }
    }

    /// Reads at most so many bytes, once; whether any came.
    pub(super) fn read_some(&mut self, bytes_max: usize) -> bool {
        if self.closed.is_some() {
            return false;
        }
        let end = bytes_max.min(self.scratch.len());
        match self.stream.read(&mut self.scratch[..end]) {
            Ok(0) => self.closed = Some("without a close frame".to_owned()),
            Ok(read) => {
                let bytes = std::mem::take(&mut self.scratch);
                self.take(&bytes[..read]);
                self.scratch = bytes;
                return true;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => self.closed = Some(error.to_string()),
        }
        false
    }

    /// Shows the server that this end lives, although it does not read.
    pub(super) fn pong(&mut self, content: &[u8]) {
        let mut pong = Vec::new();
        frame::write_masked(&mut pong, frame::PONG, content);
        match self.stream.write_all(&pong) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                self.closed.get_or_insert_with(|| error.to_string());
            }
            _ => {}
        }
    }

    /// Takes bytes that were read.
    fn take(&mut self, bytes: &[u8]) {
        let at_ns = now_ns();
        let start = self.read_bytes - self.partial.len() as u64;
        self.read_bytes += bytes.len() as u64;
        self.partial.extend_from_slice(bytes);
        let buffer = std::mem::take(&mut self.partial);
        let mut used = 0;
        loop {
            match frame::read(&buffer[used..], Sender::Server) {
                Ok(Some(frame)) => {
                    let content = &buffer[used..][frame.content.clone()];
                    self.take_frame(frame.opcode, content, at_ns, start + used as u64);
                    used += frame.content.end;
                }
                Ok(None) => break,
                Err(fault) => {
                    self.closed.get_or_insert_with(|| format!("the server sent {fault}"));
                    break;
                }
            }
        }
        self.partial.extend_from_slice(&buffer[used..]);
    }

    fn take_frame(&mut self, opcode: u8, content: &[u8], at_ns: u64, begins: u64) {
        match opcode {
            frame::PING => self.pong(content),
            frame::CLOSE => {
                self.closed.get_or_insert_with(|| frame::close_text(content));
            }
            _ => {
                let stamp = Stamp::find(content).filter(|stamp| stamp.run == self.run);
                self.log.extend(stamp.map(|stamp| Arrival {
                    topic: stamp.topic,
                    sequence: stamp.sequence,
                    at_ns,
                    begins,
                }));
            }
        }
    }
}
