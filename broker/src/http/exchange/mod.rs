//! One HTTP/1.1 connection between its first byte and its end or takeover, without its socket:
//! bytes in, bytes out, one request after the other, however they are cut or packed.
//!
//! Owns where a connection stands and how long that may last. What requests are answered is
//! decided elsewhere.

mod ends;

use std::net::IpAddr;

use fanfare_engine::{ConnectionKind, Now};
use http::{Method, StatusCode};

use super::body::{BodyDecoder, BodyError};
use super::counters::{Sizes, Transport, Usage};
use super::head::{self, BodyLength, HEAD_BYTES_MAX, Head};
use super::problem::problem;
use super::publishing::{self, Publication, Upload};
use super::reading::Wait;
use super::reply::{self, Framing, Reply};
use super::{Answer, Asked, Begun, HttpContext, Takeover};
use crate::admission::Refusal;

/// How long a `POST` waits for a node that is behind, before it is told to come back.
const CONGESTION_PATIENCE_MS: u64 = 2_000;

/// Bytes of replies after which they are written before further requests are answered.
const REPLY_BYTES_MARK: usize = 64 * 1_024;

/// The state of a connection.
#[derive(Debug)]
pub(crate) struct Exchange {
    phase: Phase,
    /// What has come and is not used yet.
    unread: Vec<u8>,
    /// When the phase began.
    began: Now,
    peer: IpAddr,
    /// Why nothing that it asks is done, if so.
    refusal: Option<Refusal>,
    has_served: bool,
}

#[derive(Debug)]
enum Phase {
    /// Between requests, or in a head.
    Head,
    Body(Box<Receiving>),
    Waiting(Box<(Exchanged, Wait)>),
    /// Publishes once the node has caught up.
    Congested(Box<(Exchanged, Publication)>),
    /// The last reply is given.
    Ending,
}

#[derive(Debug)]
struct Receiving {
    exchanged: Exchanged,
    upload: Upload,
    decoder: BodyDecoder,
}

/// A request whose head is in.
#[derive(Debug)]
struct Exchanged {
    asked: Asked,
    framing: Framing,
    sizes: Sizes,
}

/// A connection that leaves HTTP.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) kind: ConnectionKind,
    /// What is answered first of all.
    pub(crate) head: Vec<u8>,
    /// What has come behind its request.
    pub(crate) early: Vec<u8>,
}

/// What a connection needs next.
#[derive(Debug)]
pub(crate) enum Step {
    /// More bytes.
    Read,
    /// That its replies are written; then it has more to say.
    Flush,
    /// [`Exchange::resume`], once the wait is over, as [`Exchange::waits_for`] tells.
    Wait,
    /// [`Exchange::resume`], once the node has caught up.
    CatchUp,
    /// To be taken over once the replies before are written.
    TakeOver(Box<Taken>),
    /// To be ended once its replies are written, and, if it lingers, once the peer is done too.
    End { lingers: bool },
}

impl Exchange {
    pub(crate) fn new(peer: IpAddr, refusal: Option<Refusal>, now: Now) -> Self {
        let (phase, unread) = (Phase::Head, Vec::new());
        Self { phase, unread, began: now, peer, refusal, has_served: false }
    }

    /// Takes what was read and writes replies to `out`.
    pub(crate) fn receive(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        context: &HttpContext,
        now: Now,
    ) -> Step {
        if matches!(self.phase, Phase::Ending) {
            return Step::Read;
        }
        if self.unread.is_empty() && self.has_served && matches!(self.phase, Phase::Head) {
            // A further head has as long as the first one had, from its first byte on.
            self.began = now;
        }
        let mut kept = std::mem::take(&mut self.unread);
        let has_line = kept.is_empty() || input.is_empty() || input.contains(&b'\n');
        let input = if kept.is_empty() {
            input
        } else {
            kept.extend_from_slice(input);
            &kept
        };
        // A head that trickles in is not parsed again with each byte.
        if matches!(self.phase, Phase::Head) && !has_line && input.len() < HEAD_BYTES_MAX {
            self.unread = kept;
            return Step::Read;
        }
        let mut used = 0;
        let step = loop {
            if out.len() >= REPLY_BYTES_MARK {
                break Step::Flush;
            }
            let (len, step) = self.advance(&input[used..], out, context, now);
            used += len;
            if let Some(step) = step {
                break step;
            }
        };
        let rest = input[used..].to_vec();
        match step {
            Step::TakeOver(mut taken) => {
                taken.early = rest;
                Step::TakeOver(taken)
            }
            Step::End { lingers } => Step::End { lingers: lingers || !rest.is_empty() },
            step => {
                self.unread = rest;
                step
            }
        }
    }

    /// Goes on as far as one step; how many bytes it took, and whether that was all.
    fn advance(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        context: &HttpContext,
        now: Now,
    ) -> (usize, Option<Step>) {
        match &mut self.phase {
            Phase::Head if input.is_empty() => (0, Some(Step::Read)),
            Phase::Head => match head::parse(input) {
                Ok(None) => (0, Some(Step::Read)),
                Ok(Some(head)) => self.begin(head, input, out, context, now),
                Err(error) => {
                    let reply = problem(error.status(), &error.to_string());
                    (0, Some(self.refuse(reply, out, context, now)))
                }
            },
            Phase::Body(receiving) => {
                let decoded = receiving.decoder.decode(input);
                match decoded {
                    Ok(used) if receiving.decoder.is_done() => {
                        (used, self.finish_body(out, context, now))
                    }
                    Ok(used) => (used, Some(Step::Read)),
                    Err(error) => (0, Some(self.fail_body(refused_body(error), out, context, now))),
                }
            }
            Phase::Waiting(_) => (0, Some(Step::Wait)),
            Phase::Congested(_) => (0, Some(Step::CatchUp)),
            Phase::Ending => (input.len(), Some(Step::Read)),
        }
    }

    fn begin(
        &mut self,
        head: Head,
        input: &[u8],
        out: &mut Vec<u8>,
        context: &HttpContext,
        now: Now,
    ) -> (usize, Option<Step>) {
        let Head { request, len, body, keeps_alive, expects_continue } = head;
        let framing = Framing {
            keeps_alive,
            is_old: request.version() == http::Version::HTTP_10,
            is_head: request.method() == Method::HEAD,
        };
        let (asked, begun) = super::begin(&request, (self.peer, self.refusal), context, now);
        let sizes = Sizes { head_in: len, ..Sizes::default() };
        let mut exchanged = Exchanged { asked, framing, sizes };
        match begun {
            Begun::Takeover(Takeover { kind, head, transport }) => {
                let status = match transport {
                    Transport::Sse => StatusCode::OK,
                    _ => StatusCode::SWITCHING_PROTOCOLS,
                };
                let sizes = Sizes { head_out: head.len(), ..exchanged.sizes };
                context.counters.count(Usage::nothing(transport), status, sizes);
                let takeover = Box::new(Taken { kind, head, early: Vec::new() });
                (len, Some(Step::TakeOver(takeover)))
            }
            Begun::Answer(answer) => {
                let behind = (input.len() - len) as u64;
                // A body that nobody wants is passed over if it has come; otherwise its end, and
                // so the next request, may never come.
                let skipped = match body {
                    BodyLength::Known(bytes) if bytes <= behind => bytes as usize,
                    _ => {
                        exchanged.framing.keeps_alive = false;
                        0
                    }
                };
                exchanged.sizes.body_in = skipped;
                (len + skipped, self.answer(exchanged, answer, out, context, now))
            }
            Begun::Wait(wait) => {
                self.enter(Phase::Waiting(Box::new((exchanged, wait))), now);
                (len, Some(Step::Wait))
            }
            Begun::Upload(upload) => match BodyDecoder::new(body, upload.bytes_max) {
                Ok(decoder) => {
                    if expects_continue && !decoder.is_done() {
                        const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
                        out.extend_from_slice(CONTINUE);
                        exchanged.sizes.head_out += CONTINUE.len();
                    }
                    let is_done = decoder.is_done();
                    let receiving = Receiving { exchanged, upload, decoder };
                    self.enter(Phase::Body(Box::new(receiving)), now);
                    (len, if is_done { self.finish_body(out, context, now) } else { None })
                }
                Err(error) => {
                    exchanged.framing.keeps_alive = false;
                    let answer = refused_body(error);
                    (len, self.answer(exchanged, answer, out, context, now))
                }
            },
        }
    }

    fn finish_body(&mut self, out: &mut Vec<u8>, context: &HttpContext, now: Now) -> Option<Step> {
        let Phase::Body(receiving) = self.enter(Phase::Head, now) else { return None };
        let Receiving { mut exchanged, upload, decoder } = *receiving;
        exchanged.sizes.framing_in = decoder.framing_bytes;
        exchanged.sizes.body_in = decoder.body.len();
        match upload.check(decoder.body.into(), context) {
            Ok(publication) => {
                self.enter(Phase::Congested(Box::new((exchanged, publication))), now);
                self.publish(out, context, now)
            }
            Err(reply) => {
                let answer = Answer { reply: *reply, usage: Usage::nothing(Transport::Publish) };
                self.answer(exchanged, answer, out, context, now)
            }
        }
    }

    fn fail_body(
        &mut self,
        answer: Answer,
        out: &mut Vec<u8>,
        context: &HttpContext,
        now: Now,
    ) -> Step {
        match self.enter(Phase::Head, now) {
            Phase::Body(receiving) => {
                let mut exchanged = receiving.exchanged;
                exchanged.framing.keeps_alive = false;
                self.answer(exchanged, answer, out, context, now);
            }
            phase => self.phase = phase,
        }
        self.end(true, now)
    }

    fn publish(&mut self, out: &mut Vec<u8>, context: &HttpContext, now: Now) -> Option<Step> {
        let is_late = now.ms() >= self.began.ms() + CONGESTION_PATIENCE_MS;
        if context.topics.is_congested() && !is_late && !context.is_stopping.get() {
            return Some(Step::CatchUp);
        }
        let Phase::Congested(held) = self.enter(Phase::Head, now) else { return None };
        let (exchanged, publication) = *held;
        let answer = match context.topics.is_congested() {
            true => publishing::busy(),
            false => publication.publish(context),
        };
        self.answer(exchanged, answer, out, context, now)
    }

    /// Goes on once what [`Step::Wait`] or [`Step::CatchUp`] asked for has come, or never will.
    pub(crate) fn resume(&mut self, out: &mut Vec<u8>, context: &HttpContext, now: Now) -> Step {
        let began = self.began;
        let step = match self.enter(Phase::Head, now) {
            Phase::Waiting(held) => {
                let (exchanged, wait) = *held;
                let answer = wait.answer(&context.pages, now);
                self.answer(exchanged, answer, out, context, now)
            }
            Phase::Congested(held) => {
                // Still the same wait.
                self.enter(Phase::Congested(held), began);
                self.publish(out, context, now)
            }
            phase => {
                self.enter(phase, began);
                Some(Step::Read)
            }
        };
        // Requests may have come meanwhile.
        step.unwrap_or_else(|| self.receive(&[], out, context, now))
    }

    /// Writes an answer; what follows from it, if that ends the connection.
    fn answer(
        &mut self,
        exchanged: Exchanged,
        answer: Answer,
        out: &mut Vec<u8>,
        context: &HttpContext,
        now: Now,
    ) -> Option<Step> {
        let Exchanged { asked, mut framing, mut sizes } = exchanged;
        let Answer { mut reply, usage } = answer;
        asked.complete(&mut reply, context);
        framing.keeps_alive &= !context.is_stopping.get() && !reply::closes(&reply);
        let before = out.len();
        let head = reply::write(&reply, framing, &context.date, out);
        sizes.head_out += head;
        sizes.body_out = out.len() - before - head;
        context.counters.count(usage, reply.status(), sizes);
        if reply.status().is_client_error() || reply.status().is_server_error() {
            context.journal.refused(&reply, self.peer, now);
        }
        self.has_served = true;
        self.enter(Phase::Head, now);
        (!framing.keeps_alive).then(|| self.end(false, now))
    }

    /// Answers what is no valid request, and ends.
    fn refuse(&mut self, reply: Reply, out: &mut Vec<u8>, context: &HttpContext, now: Now) -> Step {
        let framing = Framing { keeps_alive: false, is_old: false, is_head: false };
        let exchanged = Exchanged { asked: Asked::default(), framing, sizes: Sizes::default() };
        let usage = Usage::nothing(Transport::Other);
        self.answer(exchanged, Answer { reply, usage }, out, context, now);
        self.end(true, now)
    }

    fn end(&mut self, lingers: bool, now: Now) -> Step {
        self.enter(Phase::Ending, now);
        Step::End { lingers }
    }

    /// Changes the phase; the one before.
    fn enter(&mut self, phase: Phase, now: Now) -> Phase {
        self.began = now;
        std::mem::replace(&mut self.phase, phase)
    }
}

fn refused_body(error: BodyError) -> Answer {
    let status = match error {
        BodyError::TooLong(_) => StatusCode::PAYLOAD_TOO_LARGE,
        BodyError::Chunk | BodyError::Framing => StatusCode::BAD_REQUEST,
    };
    let reply = problem(status, &error.to_string());
    Answer { reply, usage: Usage::nothing(Transport::Publish) }
}
