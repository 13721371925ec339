//! Which measurements a comparison has, and what they are made with.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fanfare_protocol::TopicName;

use super::Asked;
use super::figures::Part;
use super::headers::Preset;
use super::stage::Load;
use super::way::Way;
use crate::cli::CompareArgs;
use crate::stamp::MARK;

/// All that is to be measured.
#[derive(Debug)]
pub(super) struct Plan {
    /// What was asked for, with what was missing.
    pub args: CompareArgs,
    /// The headers of the parts that do not compare headers.
    pub main: Preset,
    presets: Vec<Preset>,
    articles: Preset,
    ways: Vec<Way>,
}

/// One measurement of a plan.
pub(super) struct Step<'a>(pub Part, pub Load<'a>);

impl Plan {
    /// What the command line asks for.
    ///
    /// # Errors
    /// If the arguments do not fit together, or headers cannot be read.
    pub(super) fn new(args: &CompareArgs) -> Result<Self> {
        let mut args = args.clone();
        args.fill_in();
        args.payload.bytes()?;
        TopicName::check(&args.topic)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "._:@=+-".contains(c);
        ensure!(
            args.topic.chars().all(plain) && !args.topic.as_bytes().contains(&MARK),
            "--topic {} must be letters, digits and any of . _ : @ = + -",
            args.topic
        );
        let most = args.generator.means().process_connections_max;
        let wanted = args.use_case_clients.iter().chain([&args.clients]).max();
        let wanted = *wanted.unwrap_or(&0);
        ensure!(
            wanted <= most,
            "{wanted} clients are run by one process, which may open {most} connections here"
        );
        let known = |name: &String| Preset::named(name).context("presets are checked by clap");
        let mut presets: Vec<Preset> = args.presets.iter().map(known).collect::<Result<_>>()?;
        let file = args.headers.as_deref().map(Preset::from_file).transpose()?;
        let main = match &file {
            Some(file) => file.clone(),
            None => known(&args.preset)?,
        };
        presets.extend(file);
        let articles = known(&"articles".to_owned())?;
        let ways =
            if args.transports.is_empty() { Way::ALL.to_vec() } else { args.transports.clone() };
        Ok(Self { args, main, presets, articles, ways })
    }

    /// One measurement of a way, before a part changes anything.
    pub(super) fn load<'a>(&'a self, way: Way, preset: &'a Preset) -> Load<'a> {
        let args = &self.args;
        Load {
            way,
            preset,
            clients: args.clients,
            rate: args.rate,
            interval: args.interval,
            one_way: Duration::ZERO,
            duration: args.duration.unwrap_or_default(),
            warmup: args.warmup.unwrap_or_default(),
        }
    }

    /// Whether a way is compared at all, and which of some are.
    fn of<'a>(&'a self, ways: &'a [Way]) -> impl Iterator<Item = Way> + 'a {
        ways.iter().copied().filter(|way| self.ways.contains(way))
    }

    /// All measurements, in their order.
    #[must_use]
    pub(super) fn steps(&self) -> Vec<Step<'_>> {
        let mut steps = Vec::new();
        for part in &self.args.parts {
            match part {
                Part::Transports => {
                    let load = |way| Step(*part, self.load(way, &self.main));
                    steps.extend(self.ways.iter().copied().map(load));
                }
                Part::Headers => steps.extend(self.header_steps()),
                Part::Quiet => {
                    let ways = [Way::PollKept, Way::PollKeptEtag, Way::LongPoll, Way::Raw];
                    let rate = self.quiet_rate();
                    let load = |way| Step(*part, Load { rate, ..self.load(way, &self.main) });
                    steps.extend(self.of(&ways).map(load));
                }
                Part::UseCases => steps.extend(self.use_case_steps()),
                Part::Distance => steps.extend(self.distance_steps()),
            }
        }
        steps
    }

    /// Three messages of four polls find nothing new.
    fn quiet_rate(&self) -> f64 {
        let seconds = self.args.duration.unwrap_or_default().as_secs_f64();
        (1.0 / seconds).min(1.0 / (4.0 * self.args.interval.as_secs_f64()))
    }

    fn header_steps(&self) -> Vec<Step<'_>> {
        let ways = [Way::PollFresh, Way::PollKept, Way::Sse, Way::Raw];
        // Bytes of headers are the same each time: two polls of each client tell them.
        let duration = self.args.duration.unwrap_or_default().min(2 * self.args.interval);
        let of_preset = |preset| {
            self.of(&ways).map(move |way| {
                let load = self.load(way, preset);
                Step(Part::Headers, Load { duration, ..load })
            })
        };
        self.presets.iter().flat_map(of_preset).collect()
    }

    /// Each client polls once a second, or gets a message each second, with the articles' headers.
    fn use_case_steps(&self) -> Vec<Step<'_>> {
        let second = Duration::from_secs(1);
        let of_clients = |&clients: &u32| {
            self.of(&[Way::PollKept, Way::Raw]).map(move |way| {
                let load = self.load(way, &self.articles);
                Step(Part::UseCases, Load { clients, rate: 1.0, interval: second, ..load })
            })
        };
        self.args.use_case_clients.iter().flat_map(of_clients).collect()
    }

    /// Slower and faster than answers come back.
    fn distance_steps(&self) -> Vec<Step<'_>> {
        let one_way = self.args.one_way_delay;
        let interval = 2.0 * one_way.as_secs_f64();
        let rates = [1.0, (1.0 / interval).round().max(1.0) * 2.0];
        let of_rate = |rate| {
            self.of(&[Way::PollKept, Way::LongPoll, Way::Raw]).map(move |way| {
                Step(Part::Distance, Load { one_way, rate, ..self.load(way, &self.main) })
            })
        };
        rates.into_iter().flat_map(of_rate).collect()
    }

    /// What was asked for, for the result.
    #[must_use]
    pub(super) fn asked(&self) -> Asked {
        let args = &self.args;
        Asked {
            topic: args.topic.clone(),
            payload_bytes: args.payload.size,
            clients: args.clients,
            interval_seconds: args.interval.as_secs_f64(),
            rate: args.rate,
            quiet_rate: self.quiet_rate(),
            headers: self.main.name.clone(),
            presets: self.presets.iter().map(|preset| preset.name.clone()).collect(),
            use_case_clients: args.use_case_clients.clone(),
            one_way_ms: args.one_way_delay.as_secs_f64() * 1e3,
            duration_seconds: args.duration.unwrap_or_default().as_secs_f64(),
            parts: args.parts.clone(),
        }
    }
}
