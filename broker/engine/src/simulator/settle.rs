//! How a world comes to rest, how time passes in it, and what must hold after a step, at rest,
//! and when everybody is gone.

use super::client::Exit;
use super::event_loop::Link;
use super::world::World;
use crate::time::Now;

/// Most bytes of a message's frame beside its payload, a third of which base64 adds.
const ENVELOPE_BYTES: usize = 150;

/// Longest gap or close frame.
const LAST_WORD_BYTES: usize = 160;

/// The longest that time passes without anybody noticing.
pub(super) const SLICE_MS: u64 = 1_000;

/// Rounds after which a world that still moves would move for ever.
const ROUNDS_MAX: usize = 10_000;

const LONGER_THAN_ANYTHING_IS_KEPT_MS: u64 = 1_000_000;

/// Long enough for a ping (25 s), a stall of whoever takes only a part of it (30 s, looked at every
/// 10 s), and the close (5 s).
const UNTIL_ALL_ARE_GONE_MS: u64 = 75_000;

/// Over how long clients of a broker that restarts are to come back.
const DRAIN_WINDOW_MS: u64 = 1_000;

/// Who takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Everyone,
    PromptOnes,
}

impl World {
    /// Lets time pass; those who are prompt keep up with it.
    pub(super) fn pass(&mut self, ms: u64) {
        self.trace.tell(|| format!("{ms} ms pass"));
        let end_ms = self.record.now.ms() + ms;
        while self.record.now.ms() < end_ms {
            let slice_ms = SLICE_MS.min(end_ms - self.record.now.ms());
            self.record.now = Now::from_ms(self.record.now.ms() + slice_ms);
            for shard in 0..self.loops.len() {
                self.time_out(shard);
                self.loops[shard].shard.release_tiers(self.record.now);
            }
            self.tell_presence();
            for link in &mut self.links {
                link.count_pings(self.record.now, &self.plan.limits);
            }
            while self.stir(Who::PromptOnes) {}
            self.check_step();
        }
        self.table.sweep_all(self.record.now);
        self.record.sweep();
    }

    /// Lets everything arrive everywhere, then demands that it has.
    pub(super) fn settle(&mut self) {
        self.trace.tell(|| "everything comes to rest".to_owned());
        self.rest();
        self.release_what_is_held();
        self.check_tiers();
        self.record.now.us += SLICE_MS * 1_000;
        self.tell_presence();
        self.rest();
        let sessions = self.clients.iter().filter_map(|client| client.session.as_ref());
        sessions.for_each(|session| session.check_complete(&self.record));
        self.record.check_rings();
        self.table.audit();
        for event_loop in &mut self.loops {
            // A shard notices that its mailbox is empty when it next looks.
            event_loop.shard.drain_mailbox(1, self.record.now);
            event_loop.shard.audit_at_rest();
        }
        self.set_capacities(|usual| usual);
        self.record.summary.count("times that everything came to rest");
    }

    fn rest(&mut self) {
        self.set_capacities(|_| usize::MAX);
        let mut rounds = 0;
        while self.stir(Who::Everyone) {
            self.check_step();
            rounds += 1;
            assert!(rounds < ROUNDS_MAX, "the world never comes to rest");
        }
    }

    /// Lets as much time pass as those wait who have a rate.
    fn release_what_is_held(&mut self) {
        let next = |world: &Self| {
            world.loops.iter().filter_map(|event_loop| event_loop.shard.next_release_ms()).min()
        };
        while let Some(ms) = next(self) {
            self.record.now = self.record.now.max(Now::from_ms(ms));
            for event_loop in &mut self.loops {
                event_loop.wake();
                event_loop.shard.release_tiers(self.record.now);
            }
            self.rest();
        }
    }

    fn set_capacities(&self, capacity: impl Fn(usize) -> usize) {
        for client in &self.clients {
            if let Some(session) = &client.session {
                session.wire.pipe().capacity = capacity(client.capacity());
            }
        }
    }

    /// Everybody does what can be done; whether anything was.
    fn stir(&mut self, who: Who) -> bool {
        let takes_part = |world: &Self, link: &Link| {
            who == Who::Everyone
                || world.clients.iter().any(|client| client.is_prompt() && client.is_on(link))
        };
        let mut has_stirred = false;
        for at in 0..self.links.len() {
            if !takes_part(self, &self.links[at]) {
                continue;
            }
            let is_congested = self.table.is_congested();
            let link = &self.links[at];
            link.wire.pipe().arrive(usize::MAX);
            let (is_readable, is_writable) = {
                let pipe = link.wire.pipe();
                (pipe.is_readable && !(link.is_paused && is_congested), pipe.is_writable_again())
            };
            if is_readable {
                self.read(at, 4_096);
            }
            if is_writable {
                self.write(at);
            }
            has_stirred |= is_readable || is_writable;
        }
        for event_loop in &mut self.loops {
            if event_loop.is_awake() && !event_loop.is_served() {
                event_loop.shard.drain_mailbox(usize::MAX, self.record.now);
                event_loop.shard.flush(usize::MAX, self.record.now);
                has_stirred = true;
            }
        }
        for at in 0..self.clients.len() {
            let client = &self.clients[at];
            let has_mail =
                |session: &super::session::Session| session.wire.pipe().waiting_bytes() > 0;
            let is_asked = who == Who::Everyone || client.is_prompt();
            if is_asked && client.session.as_ref().is_some_and(has_mail) {
                self.hear(at, usize::MAX);
                has_stirred = true;
            }
        }
        has_stirred
    }

    /// What must hold after every step.
    pub(super) fn check_step(&mut self) {
        self.record.write_down();
        self.note_ends();
        for at in 0..self.clients.len() {
            if self.clients[at].is_prompt() {
                self.hear(at, usize::MAX);
            }
        }
        let mut links = std::mem::take(&mut self.links);
        links.retain(|link| self.loops[link.shard].holds(link));
        self.links = links;
        self.notice_lost_connections();
        self.check_prompt_readers();
        self.check_memory();
        self.loops.iter().for_each(|event_loop| event_loop.shard.audit());
    }

    /// A connection that the broker cut without a word.
    fn notice_lost_connections(&mut self) {
        for (at, client) in self.clients.iter_mut().enumerate() {
            let Some(session) = &client.session else { continue };
            let is_held = self.links.iter().any(|link| client.is_on(link));
            if !is_held && session.wire.pipe().waiting_bytes() == 0 {
                assert!(!client.is_prompt(), "client {at} was cut off without a word");
                client.leave(Exit::Reset);
            }
        }
    }

    /// Promise 4: whoever reads at once has every message as soon as its shard has had its turn,
    /// however slow the others are.
    fn check_prompt_readers(&self) {
        for link in &self.links {
            let is_served = self.loops[link.shard].is_served();
            let client =
                self.clients.iter().find(|client| client.is_prompt() && client.is_on(link));
            if let Some(session) = client.and_then(|client| client.session.as_ref())
                && is_served
            {
                session.check_prompt(&self.record);
            }
        }
    }

    /// Promise 4: what waits for a connection stays within its allowance, whatever is published.
    fn check_memory(&mut self) {
        let payload_bytes = self.plan.payload_bytes_max as usize;
        let message_bytes = payload_bytes * 4 / 3 + ENVELOPE_BYTES;
        let frame_bytes = message_bytes.max(self.record.attendance.event_bytes_max());
        let limits = &self.plan.limits;
        // Where some namespace would rather disconnect, messages are queued to the hard limit.
        let mark = match self.plan.disconnects {
            true => limits.outbox_bytes_max,
            false => limits.outbox_high_water_bytes,
        };
        for link in &mut self.links {
            let shard = &self.loops[link.shard].shard;
            let waiting = shard.buffered_amount(link.key).unwrap_or_default();
            let most = mark + frame_bytes + link.own_bytes + 2 * LAST_WORD_BYTES;
            assert!(waiting <= most, "{waiting} bytes wait for {link}, {most} are allowed");
            if waiting == 0 && !link.wire.pipe().has_in_flight() {
                link.own_bytes = 0;
            }
        }
    }

    /// Everybody leaves, or the broker stops; nothing may stay behind.
    pub(super) fn end(&mut self) {
        let is_restart = self.random.one_in(2);
        self.trace.tell(|| format!("the end, by a restart: {is_restart}"));
        if is_restart {
            self.publish();
            for event_loop in &mut self.loops {
                event_loop.wake();
                event_loop.shard.shut_down(usize::MAX, DRAIN_WINDOW_MS, self.record.now);
            }
        } else {
            for client in &mut self.clients {
                client.leave(self.random.pick(&Exit::ALL));
            }
        }
        self.rest();
        self.pass(UNTIL_ALL_ARE_GONE_MS);
        assert!(self.clients.iter().all(|client| client.session.is_none()), "someone stays");
        assert!(self.links.is_empty(), "connections stay: {:?}", self.links);
        let expired_ms = self.record.now.ms() + LONGER_THAN_ANYTHING_IS_KEPT_MS;
        self.table.sweep_all(Now::from_ms(expired_ms));
        self.table.audit_empty();
        for event_loop in &mut self.loops {
            event_loop.shard.drain_mailbox(1, self.record.now);
            event_loop.shard.audit_empty();
        }
    }
}
