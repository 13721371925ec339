//! One measurement: N clients of one way follow a topic while one publisher publishes at a rate.
//!
//! Owns the order of its steps and the samples around them. All measurements of a round share one
//! broker and one topic.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fanfare_protocol::{Codec, MessageHead, Payload};

use super::controls::{Controls, Phase};
use super::crew::Crew;
use super::headers::Preset;
use super::http::read_answer;
use super::meter::Meter;
use super::talk::Setup;
use super::tally::Tally;
use super::way::{Rhythm, Way};
use crate::feed::{Steady, padding, write_payload};
use crate::plan::{Plan, Shape, Share, Target, Transport};
use crate::publisher::Publisher;
use crate::report::Span;
use crate::server::{CpuTime, Process, own_cpu};
use crate::session::Sample;
use crate::stamp::{Stamp, now_ns};

/// Messages that are published first, so that offsets have four digits from then on and all
/// answers of one kind are equally long.
const FILL: u64 = 1_000;

/// Messages per second of those.
const FILL_RATE: f64 = 20_000.0;

/// How long nothing may happen while clients connect.
const CONNECT_PATIENCE: Duration = Duration::from_secs(15);

/// How often it is looked whether something is reached.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// How long acknowledgements may be delayed (`TCP_DELACK_MAX` is shorter), which are packets too.
const ACK_DELAY: Duration = Duration::from_millis(50);

const TIMEOUT: Duration = Duration::from_secs(10);

/// What one measurement does.
#[derive(Clone, Debug)]
pub(super) struct Load<'a> {
    /// How messages come.
    pub way: Way,
    /// The clients' headers.
    pub preset: &'a Preset,
    /// How many clients.
    pub clients: u32,
    /// Messages per second.
    pub rate: f64,
    /// From one poll to the next.
    pub interval: Duration,
    /// Emulated: how long anything takes from one end to the other.
    pub one_way: Duration,
    /// How long to measure.
    pub duration: Duration,
    /// How long to run before that; pollers for an interval at least.
    pub warmup: Duration,
}

/// What one measurement found out.
#[derive(Debug)]
pub(super) struct Found {
    /// What all clients counted.
    pub tally: Tally,
    /// CPU times while it was measured.
    pub span: Span,
    /// How long it was measured.
    pub seconds: f64,
    /// Messages published meanwhile.
    pub published: u64,
}

/// Where measurements take place.
#[derive(Debug)]
pub(super) struct Stage {
    /// The broker.
    pub target: Target,
    /// Its process, if it can be measured.
    pub process: Option<Process>,
    /// The topic.
    pub topic: String,
    /// Length of each payload, in bytes.
    pub payload_bytes: usize,
    /// Threads that share the clients.
    pub threads: u32,
    /// How long nothing may arrive until what is missing counts as lost.
    pub drain_timeout: Duration,
}

impl Stage {
    /// Publishes what the topic holds from the beginning.
    ///
    /// # Errors
    /// If the publisher fails.
    pub(super) fn fill(&self) -> Result<()> {
        let mut publisher = Publisher::connect(&self.plan(0), 0)?;
        publisher.run_open(&mut self.feed(FILL_RATE, FILL), now_ns())?;
        Ok(publisher.settle()?)
    }

    /// Measures once; `run` is a number that no other measurement of this topic has.
    ///
    /// # Errors
    /// If a client cannot connect, or the publisher or the server fail.
    pub(super) fn measure(&self, load: &Load<'_>, run: u8) -> Result<Found> {
        let setup = self.setup(load, run)?;
        let plan = Plan { run, ..self.plan(load.clients) };
        let mut publisher = Publisher::connect(&plan, 0)?;
        let all = Share { first: 0, count: load.clients, source: None };
        let shares: Vec<Share> = (0..)
            .zip(all.split(self.threads))
            .map(|(thread, share)| Share { source: self.target.source(thread), ..share })
            .collect();
        let controls: Vec<Controls> = shares.iter().map(|_| Controls::default()).collect();
        std::thread::scope(|scope| {
            let crews: Vec<_> = shares
                .iter()
                .zip(&controls)
                .map(|(share, controls)| {
                    let (setup, share) = (&setup, *share);
                    scope.spawn(move || Crew::new(setup, share, controls)?.run())
                })
                .collect();
            let watched = Watched { controls: &controls, crews: &crews };
            let steps = self.steps(load, &mut publisher, &watched);
            let published = publisher.published().iter().sum();
            for controls in &controls {
                controls.published.store(published, Ordering::Release);
                controls.call(Phase::Over);
            }
            let mut tally = Tally::default();
            for crew in crews {
                tally.add(&crew.join().ok().context("a thread of clients panicked")??);
            }
            let (span, seconds, published) = steps.map_err(|error| match &tally.first_fault {
                Some(fault) => error.context(fault.clone()),
                None => error,
            })?;
            Ok(Found { tally, span, seconds, published })
        })
    }

    /// From the first connection to the last message.
    fn steps(
        &self,
        load: &Load<'_>,
        publisher: &mut Publisher,
        watched: &Watched<'_, '_>,
    ) -> Result<(Span, f64, u64)> {
        watched.connected(load.clients)?;
        watched.call(Phase::Asking, self.drain_timeout)?;
        let polls = load.way.rhythm() == Rhythm::Interval;
        let warmup = if polls { load.warmup.max(load.interval) } else { load.warmup };
        self.publish(publisher, load.rate, warmup)?;
        watched.call(Phase::Measuring, self.drain_timeout)?;

        let before = sample(self.process)?;
        let earlier: u32 = publisher.published().iter().sum();
        self.publish(publisher, load.rate, load.duration)?;
        let seconds = (now_ns() - before.at_ns) as f64 / 1e9;
        let published: u32 = publisher.published().iter().sum();
        if !polls {
            let expected = u64::from(load.clients) * u64::from(published);
            watched.drained(expected, self.drain_timeout);
            std::thread::sleep(ACK_DELAY);
        }
        watched.call(Phase::Finishing, self.drain_timeout)?;
        let after = sample(self.process)?;
        Ok((Span::between(before, after), seconds, u64::from(published - earlier)))
    }

    /// Publishes for so long, one message at least.
    fn publish(&self, publisher: &mut Publisher, rate: f64, duration: Duration) -> Result<()> {
        let (start_ns, start) = (now_ns(), Instant::now());
        let messages = (rate * duration.as_secs_f64()).round().max(1.0) as u64;
        publisher.run_open(&mut self.feed(rate, messages), start_ns)?;
        std::thread::sleep(duration.saturating_sub(start.elapsed()));
        Ok(())
    }

    fn feed(&self, rate: f64, messages: u64) -> Steady {
        let tail = padding(self.payload_bytes);
        Steady { rate, burst: 1, topics: 1, messages, next: 0, publishers: 1, tail }
    }

    fn plan(&self, clients: u32) -> Plan {
        let topics = vec![self.topic.clone()];
        let shape = Shape { connections: clients, topics, topics_per_connection: 1 };
        Plan { run: 0, ..Plan::new(self.target, Transport::Json, shape) }
    }

    /// What the clients of a load have in common, the exact headers too.
    fn setup(&self, load: &Load<'_>, run: u8) -> Result<Setup> {
        let mut setup = Setup {
            way: load.way,
            address: self.target.address,
            topic: self.topic.clone(),
            lines: load.preset.text(Way::PollKept, 0),
            says_keep_alive: load.preset.says_keep_alive(),
            clients: load.clients,
            interval_ns: load.interval.as_nanos() as u64,
            one_way_ns: load.one_way.as_nanos() as u64,
            run,
            payload_bytes: payload_bytes(load.way, self.payload_bytes)?,
        };
        // The headers of a stream are those that the same browser's polls would have.
        let polls = match load.way.rhythm() {
            Rhythm::Once => Setup { way: Way::PollKept, ..setup.clone() },
            _ => setup.clone(),
        };
        let (bare, answer) = exchange(&polls)?;
        setup.lines = load.preset.lines(load.way, bare, answer)?;
        Ok(setup)
    }
}

/// The lengths of a poller's request and of the head of its answer, as they are on this broker.
fn exchange(setup: &Setup) -> Result<(usize, usize)> {
    let (mut talk, mut tally, mut next) = (setup.talk(), Tally::default(), super::tally::ANY);
    let mut stream = TcpStream::connect_timeout(&setup.address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let (mut input, mut out) = (Vec::new(), Vec::new());
    talk.ask(setup, &mut Meter::default(), &mut out);
    stream.write_all(&out)?;
    let answer = loop {
        if let Some(answer) = read_answer(&input)? {
            break answer.head.bytes;
        }
        let mut scratch = [0; 4096];
        let read = stream.read(&mut scratch).context("the broker does not answer a poll")?;
        ensure!(read > 0, "the broker does not answer a poll");
        input.extend_from_slice(&scratch[..read]);
    };
    // Only now it knows what it will send with each question.
    let mut notes = super::talk::Notes { setup, tally: &mut tally, next: &mut next, now_ns: 0 };
    talk.hear(&input, &mut notes, &mut Vec::new())?;
    out.clear();
    talk.ask(setup, &mut Meter::default(), &mut out);
    Ok((out.len(), answer))
}

/// The length of a payload of `size` bytes of JSON in the form in which a way carries it.
fn payload_bytes(way: Way, size: usize) -> Result<u64> {
    if way.codec() != Some(Codec::MsgPack) {
        return Ok(size as u64);
    }
    let mut text = Vec::new();
    write_payload(&Stamp::default(), &padding(size), &mut text);
    let length = |json: Vec<u8>| -> Result<usize> {
        let payload = Payload::json(json).context("a payload of this program is JSON")?;
        let mut content = Vec::new();
        let head = MessageHead { topic: "a", offset: 1, prev: None };
        head.encode(Codec::MsgPack, &payload, &mut content);
        Ok(content.len())
    };
    // A small number is one byte of MessagePack.
    Ok((length(text)? - length(b"1".to_vec())? + 1) as u64)
}

/// Crews, as whoever leads them sees them.
struct Watched<'a, 'scope> {
    controls: &'a [Controls],
    crews: &'a [ScopedJoinHandle<'scope, std::io::Result<Tally>>],
}

impl Watched<'_, '_> {
    /// Waits until all clients follow the topic.
    fn connected(&self, clients: u32) -> Result<()> {
        let (mut live, mut moved) = (0, Instant::now());
        while live < clients {
            std::thread::sleep(LOOK_INTERVAL);
            let now = self.controls.iter().map(|c| c.live.load(Ordering::Acquire)).sum();
            let failed: u64 = self.controls.iter().map(|c| c.failed.load(Ordering::Relaxed)).sum();
            ensure!(failed == 0, "{failed} of {clients} clients could not follow the topic");
            self.all_run()?;
            if now > live {
                (live, moved) = (now, Instant::now());
            }
            ensure!(
                moved.elapsed() < CONNECT_PATIENCE,
                "only {live} of {clients} clients could follow the topic"
            );
        }
        Ok(())
    }

    /// Calls a phase and waits until all crews are in it.
    fn call(&self, phase: Phase, patience: Duration) -> Result<()> {
        self.controls.iter().for_each(|controls| controls.call(phase));
        let deadline = Instant::now() + patience + TIMEOUT;
        while self.controls.iter().any(|controls| controls.reached() != phase) {
            std::thread::sleep(LOOK_INTERVAL);
            self.all_run()?;
            ensure!(Instant::now() < deadline, "polls were not answered");
        }
        Ok(())
    }

    /// Waits until so many messages have come in all, or nothing more comes.
    fn drained(&self, expected: u64, patience: Duration) {
        let (mut received, mut moved) = (0, Instant::now());
        while received < expected && moved.elapsed() < patience {
            std::thread::sleep(LOOK_INTERVAL);
            let now = self.controls.iter().map(|c| c.received.load(Ordering::Acquire)).sum();
            if now > received {
                (received, moved) = (now, Instant::now());
            }
        }
    }

    fn all_run(&self) -> Result<()> {
        if self.crews.iter().any(ScopedJoinHandle::is_finished) {
            bail!("a thread of clients ended early");
        }
        Ok(())
    }
}

fn sample(server: Option<Process>) -> Result<Sample> {
    let server_cpu: Option<CpuTime> = server.map(Process::cpu).transpose()?;
    Ok(Sample { at_ns: now_ns(), server_cpu, own_cpu: own_cpu()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_in_messagepack_is_counted_as_it_goes_over_the_wire() {
        let json = payload_bytes(Way::SdkJson, 100).unwrap();
        let msgpack = payload_bytes(Way::SdkMsgpack, 100).unwrap();
        assert_eq!(json, 100);
        // {"s":"~…","pad":"…"}: a map of two, two short names, two strings of over 31 bytes.
        let pad = 100 - 58;
        assert_eq!(msgpack, 1 + 2 + (2 + 41) + 4 + (2 + pad));
    }
}
