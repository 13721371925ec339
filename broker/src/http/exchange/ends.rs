//! What a connection waits for, for how long, and what it gets when that is over.

use fanfare_engine::{Limits, Now, WaiterKey};
use http::StatusCode;

use super::{Answer, CONGESTION_PATIENCE_MS, Exchange, HttpContext, Phase, Step, Transport, Usage};
use crate::http::no_room;
use crate::http::problem::problem;

/// How long the end of a connection is waited for, so that its last reply can be read: closing
/// while the peer sends would reset the connection and throw the reply away.
const LINGER_MS: u64 = 1_000;

/// How long a connection that is refused may take to say what it wants, which is of no use: others
/// wait to be refused.
const REFUSED_PATIENCE_MS: u64 = 1_000;

impl Exchange {
    /// Whether a request of this connection was answered.
    pub(crate) fn has_served(&self) -> bool {
        self.has_served
    }

    /// Whether nothing that it asks is done.
    pub(crate) fn is_refused(&self) -> bool {
        self.refusal.is_some()
    }

    /// What the connection waits for.
    pub(crate) fn waits_for(&self) -> Option<WaiterKey> {
        match &self.phase {
            Phase::Waiting(held) => Some(held.1.key),
            _ => None,
        }
    }

    /// Whether bytes of a request wait to be used.
    pub(crate) fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    /// Whether the client's bytes are of use now.
    pub(crate) fn wants_input(&self) -> bool {
        matches!(self.phase, Phase::Head | Phase::Body(_) | Phase::Ending)
    }

    /// Bytes of an unfinished body.
    pub(crate) fn body_bytes(&self) -> usize {
        match &self.phase {
            Phase::Body(receiving) => receiving.decoder.body.len(),
            _ => 0,
        }
    }

    /// When the phase has lasted too long, in milliseconds.
    pub(crate) fn due_ms(&self, limits: &Limits) -> u64 {
        let patience = match &self.phase {
            Phase::Head if self.is_refused() => REFUSED_PATIENCE_MS,
            Phase::Head if self.has_served && self.unread.is_empty() => limits.http_idle_timeout_ms,
            Phase::Head => limits.handshake_timeout_ms,
            Phase::Body(receiving) => {
                let bytes = receiving.decoder.body.len() as u64;
                limits.message_timeout_ms + bytes * 1_000 / limits.message_bytes_per_second_min
            }
            Phase::Waiting(held) => held.1.time.as_millis() as u64,
            Phase::Congested(_) => CONGESTION_PATIENCE_MS,
            Phase::Ending => LINGER_MS,
        };
        self.began.ms() + patience
    }

    /// Ends the phase whose time is over.
    pub(crate) fn handle_timeout(
        &mut self,
        out: &mut Vec<u8>,
        context: &HttpContext,
        now: Now,
    ) -> Step {
        let limits = context.topics.limits();
        match &mut self.phase {
            // Between two requests silence is no fault, and a reply to none would confuse.
            Phase::Head if self.has_served && self.unread.is_empty() => self.end(false, now),
            Phase::Head if let Some(refusal) = self.refusal => {
                self.refuse(no_room(refusal).reply, out, context, now)
            }
            Phase::Head => {
                let seconds = limits.handshake_timeout_ms as f64 / 1_000.0;
                let detail = format!("no whole request came within {seconds} s");
                context.shard_counters.handshakes_timed_out.add(1);
                let reply = problem(StatusCode::REQUEST_TIMEOUT, &detail);
                self.refuse(reply, out, context, now)
            }
            Phase::Body(_) => {
                let detail =
                    format!("the body did not end within {} ms", limits.message_timeout_ms);
                let answer = publish_refused(StatusCode::REQUEST_TIMEOUT, &detail);
                self.fail_body(answer, out, context, now)
            }
            Phase::Waiting(_) | Phase::Congested(_) => self.resume(out, context, now),
            Phase::Ending => Step::End { lingers: false },
        }
    }

    /// Ends what can be ended now, because the broker stops.
    pub(crate) fn stop(&mut self, out: &mut Vec<u8>, context: &HttpContext, now: Now) -> Step {
        match &self.phase {
            Phase::Head => self.end(false, now),
            Phase::Waiting(_) | Phase::Congested(_) => self.resume(out, context, now),
            Phase::Body(_) | Phase::Ending => Step::Read,
        }
    }

    /// Refuses a body, because the broker holds too many that are not finished.
    pub(crate) fn give_body_up(
        &mut self,
        out: &mut Vec<u8>,
        context: &HttpContext,
        now: Now,
    ) -> Step {
        let detail = "the broker holds too many unfinished bodies; send them faster";
        self.fail_body(publish_refused(StatusCode::SERVICE_UNAVAILABLE, detail), out, context, now)
    }
}

fn publish_refused(status: StatusCode, detail: &str) -> Answer {
    Answer { reply: problem(status, detail), usage: Usage::nothing(Transport::Publish) }
}
