//! What kind of world a seed makes: its limits, its clients, and which things happen how often.
//!
//! Every seed leaves some things out and does others more, so that worlds differ more than their
//! chances alone would make them.

use fanfare_protocol::{Codec, Mode, TopicName, TopicPattern};

use super::random::Random;
use crate::limits::Limits;
use crate::namespace::{NamespaceOptions, Namespaces, SlowConsumer};
use crate::topics::WireForm;

/// The world of one seed.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) limits: Limits,
    pub(super) shards: usize,
    pub(super) topics: Vec<TopicName>,
    /// Patterns that clients may subscribe to; none in some worlds.
    pub(super) patterns: Vec<TopicPattern>,
    pub(super) clients: Vec<ClientPlan>,
    /// Largest payload in bytes.
    pub(super) payload_bytes_max: u64,
    /// Steps before everything is settled and checked for the last time.
    pub(super) steps: usize,
    /// Shares of the things that happen, by [`Deed`].
    pub(super) weights: [u64; Deed::ALL.len()],
    /// Whether some namespace disconnects slow readers.
    pub(super) disconnects: bool,
    /// Whether bytes never bound a ring, so that what it keeps follows from counts and times.
    pub(super) rings_have_room: bool,
    /// Most microseconds between two steps.
    pub(super) step_us_max: u64,
    /// One in so many writes is cut short or interrupted; 0 for none.
    pub(super) unrest: u64,
}

/// One client.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientPlan {
    pub(super) form: WireForm,
    pub(super) pace: Pace,
    /// The rate that it mostly asks for.
    pub(super) rate: Option<u32>,
}

/// How a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// At once, whatever comes.
    Prompt,
    /// A little now and then; its system buffers so many bytes.
    Slow { capacity: usize },
}

/// What can happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Publish,
    Arrive,
    Read,
    Write,
    Drain,
    Flush,
    Take,
    Command,
    Come,
    Go,
    Tick,
    Pass,
    Settle,
}

impl Deed {
    pub(super) const ALL: [Self; 13] = [
        Self::Publish,
        Self::Arrive,
        Self::Read,
        Self::Write,
        Self::Drain,
        Self::Flush,
        Self::Take,
        Self::Command,
        Self::Come,
        Self::Go,
        Self::Tick,
        Self::Pass,
        Self::Settle,
    ];

    /// The share that a seed varies.
    fn weight(self) -> u64 {
        match self {
            Self::Publish | Self::Drain | Self::Flush => 24,
            Self::Arrive | Self::Read | Self::Write | Self::Take => 16,
            Self::Command => 14,
            Self::Come | Self::Tick => 8,
            Self::Go => 3,
            Self::Pass | Self::Settle => 2,
        }
    }

    /// Whether a world without it would stand still.
    fn is_needed(self) -> bool {
        !matches!(self, Self::Go | Self::Pass | Self::Settle)
    }
}

impl Plan {
    pub(super) fn new(random: &mut Random) -> Self {
        let payload_bytes_max = random.pick(&[20, 60, 60, 300, 300, 20_000]);
        let rings_have_room = !random.one_in(6);
        let limits = limits(random, payload_bytes_max, rings_have_room);
        let names = ["a", "news.b", "stocks.c", "news.d", "stocks.e"].map(TopicName::new);
        let topics = names.into_iter().flatten().take(random.between(1, 5) as usize);
        let patterns = ["news.*", ">", "*.b", "*.*", "stocks.>"].map(TopicPattern::new);
        let forms = [WireForm::Raw, WireForm::Sdk(Codec::Json), WireForm::Sdk(Codec::MsgPack)];
        let clients = (0..random.between(3, 10)).map(|_| ClientPlan {
            form: random.pick(&forms),
            pace: match random.pick(&[0, 0, 1, 40, 500, 3_000]) {
                0 => Pace::Prompt,
                capacity => Pace::Slow { capacity },
            },
            rate: None,
        });
        let mut clients: Vec<ClientPlan> = clients.collect();
        read_as_events(&mut clients);
        let plan = Self {
            disconnects: ["a", "news", "stocks"]
                .iter()
                .any(|name| limits.namespaces.of(name).slow_consumer == SlowConsumer::Disconnect),
            limits,
            shards: random.between(1, 3) as usize,
            topics: topics.collect(),
            patterns: patterns.into_iter().flatten().take(random.pick(&[0, 2, 5])).collect(),
            clients,
            payload_bytes_max,
            steps: random.between(200, 700) as usize,
            weights: Deed::ALL.map(|deed| {
                let factor =
                    if deed.is_needed() { random.pick(&[1, 2, 4]) } else { random.below(4) };
                deed.weight() * factor
            }),
            rings_have_room,
            step_us_max: 2_000,
            unrest: random.pick(&[0, 0, 30]),
        };
        // A look ahead, so that all other worlds stay what they are.
        if random.clone().one_in(4) { plan.paced() } else { plan }
    }

    /// Turns it into a world in which most subscribers have one rate, and time for it. Topics keep
    /// enough for a shard that lags to give what another one has chosen.
    fn paced(mut self) -> Self {
        self.step_us_max = 20_000;
        self.rings_have_room = true;
        let limits = &mut self.limits;
        limits.history_total_bytes_max = Limits::default().history_total_bytes_max;
        for name in ["", "news", "stocks"] {
            let namespaces = &mut limits.namespaces;
            let options =
                if name.is_empty() { namespaces.default_mut() } else { namespaces.entry(name) };
            let usual = NamespaceOptions::default();
            (options.history_messages, options.history_age_ms) =
                (usual.history_messages, usual.history_age_ms);
            options.history_bytes = usual.history_bytes * 8;
        }
        let rate = Some(if self.shards == 1 { 5 } else { 10 });
        self.clients.iter_mut().for_each(|client| client.rate = rate);
        self
    }
}

/// Makes some of the raw streams event streams. Takes no number from the world's stream, so that
/// worlds without raw streams stay what they are.
fn read_as_events(clients: &mut [ClientPlan]) {
    let raw = clients.iter_mut().filter(|client| client.form == WireForm::Raw);
    for (client, form) in raw.zip([WireForm::TopicEvents, WireForm::Raw, WireForm::Events]) {
        client.form = form;
    }
}

/// Limits that small worlds reach.
fn limits(random: &mut Random, payload_bytes_max: u64, rings_have_room: bool) -> Limits {
    let high_water = random.pick(&[200, 600, 2_000, 65_536]);
    let usual = Limits::default();
    let mut namespaces = Namespaces::default();
    *namespaces.default_mut() = namespace(random, rings_have_room);
    namespaces.insert("news", namespace(random, rings_have_room));
    namespaces.insert("stocks", namespace(random, rings_have_room));
    Limits {
        namespaces,
        // Room for a frame of several commands.
        message_bytes_max: usual.message_bytes_max + 8 * payload_bytes_max as usize,
        outbox_high_water_bytes: high_water,
        outbox_low_water_bytes: high_water / 4,
        outbox_bytes_max: high_water * 3 + 2 * payload_bytes_max as usize + 2_000,
        outbox_total_bytes_max: match random.below(4) {
            0 => random.pick(&[300, 2_000]),
            _ => usual.outbox_total_bytes_max,
        },
        stall_timeout_ms: random.pick(&[3_000, usual.stall_timeout_ms]),
        history_total_bytes_max: match rings_have_room {
            true => usual.history_total_bytes_max,
            false => random.between(300, 8_000) as usize,
        },
        history_page_bytes_max: random.pick(&[100, 1_000, usual.history_page_bytes_max]),
        publish_key_window_ms: random.pick(&[3_000, usual.publish_key_window_ms]),
        publish_keys_max: random.pick(&[2, 4, usual.publish_keys_max]),
        mailbox_messages_mark: random.pick(&[5, 50, usual.mailbox_messages_mark]),
        ..usual
    }
}

/// Options that a small world feels.
fn namespace(random: &mut Random, rings_have_room: bool) -> NamespaceOptions {
    let usual = NamespaceOptions::default();
    NamespaceOptions {
        history_messages: random.pick(&[0, 1, 2, 5, 20, usual.history_messages]),
        history_bytes: match rings_have_room {
            true => usual.history_bytes * 8,
            false => random.between(300, 4_000) as usize,
        },
        history_age_ms: random.pick(&[500, 20_000, usual.history_age_ms]),
        latest: random.one_in(3),
        mode: random.pick(&[Mode::All, Mode::All, Mode::Latest]),
        slow_consumer: match random.below(4) {
            0 => SlowConsumer::Disconnect,
            _ => SlowConsumer::CatchUp,
        },
        presence: random.one_in(2),
    }
}
