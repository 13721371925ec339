//! `compare`: one topic of one broker, followed by clients of each transport in turn.
//!
//! Owns which measurements are made. How one is made is `stage`'s; what clients do is `crew`'s and
//! the talks'; what the articles say of it is in `articles` and `verdict`.

mod articles;
mod broker;
mod controls;
mod crew;
mod events;
mod figures;
mod headers;
mod http;
mod long_polling;
mod meter;
mod polling;
mod print;
mod stage;
mod talk;
mod tally;
mod verdict;
mod way;
mod websocket;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fanfare_protocol::TopicName;
use serde::{Deserialize, Serialize};

use crate::cli::CompareArgs;
use crate::progress::Progress;
use crate::report::{Document, Faults};
use crate::rounds;
use crate::stamp::MARK;
use crate::under_test::UnderTest;

pub(crate) use articles::Articles;
pub(crate) use figures::{Figures, Part};
pub(crate) use headers::NAMES as PRESETS;
pub(crate) use verdict::Finding;
pub(crate) use way::Way;

use figures::Histograms;
use headers::Preset;
use stage::{Load, Stage};

/// What was asked for, as the result file tells it.
#[derive(Debug, Serialize)]
pub(crate) struct Asked {
    topic: String,
    payload_bytes: usize,
    clients: u32,
    interval_seconds: f64,
    rate: f64,
    quiet_rate: f64,
    headers: String,
    presets: Vec<String>,
    use_case_clients: Vec<u32>,
    one_way_ms: f64,
    duration_seconds: f64,
    parts: Vec<Part>,
}

/// One round's figures.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Round {
    /// CPU time of the server in a second in which nobody listens to the publisher.
    pub idle_server_cpu_us_per_second: Option<f64>,
    /// All measurements, in the order in which they were made.
    pub runs: Vec<Figures>,
    #[serde(skip)]
    histograms: Vec<Histograms>,
}

/// The whole result: the rounds, and what they say of the articles' claims.
#[derive(Debug, Serialize)]
pub(crate) struct Compared {
    #[serde(flatten)]
    document: Document<Asked, Round>,
    /// The articles' table, three ways.
    articles: Articles,
    /// What holds of it.
    findings: Vec<Finding>,
}

impl rounds::Round for Round {
    fn faults(&self) -> Faults {
        let mut faults = Faults::default();
        for run in &self.runs {
            faults.add(&Faults {
                lost: run.counts.lost,
                doubled: run.counts.doubled,
                closed: run.failed,
                first_close: run.first_fault.clone(),
                ..Faults::default()
            });
        }
        faults
    }
}

/// Runs all measurements and tells the result; true if every client got what its way promises.
///
/// # Errors
/// If the arguments do not fit together, or a measurement cannot be made.
pub(crate) fn run(args: &CompareArgs) -> Result<bool> {
    let plan = Plan::new(args)?;
    let server = broker::found(&args.server)?;
    let ends = (&server, &args.generator);
    let document = rounds::collect(args.rounds, ends, plan.asked(), |label, progress| {
        round(&plan, UnderTest::from_args(&server)?, label, progress)
    })?;
    let flawless = document.faults.none();
    let articles = Articles::of(&document.median.runs);
    let findings = verdict::findings(&document.median.runs, &articles);
    let compared = Compared { document, articles, findings };
    if let Some(path) = &args.generator.out {
        compared.write(path)?;
    }
    print::print(&compared);
    Ok(flawless)
}

impl Compared {
    fn write(&self, path: &std::path::Path) -> Result<()> {
        let unwritten = || format!("{} cannot be written", path.display());
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        std::fs::write(path, text).with_context(unwritten)?;
        let rounds = self.document.rounds.iter().flat_map(|round| &round.histograms);
        let named = rounds.map(|h| (h.name.as_str(), &h.latency, h.span.1));
        crate::latency::write_log(&path.with_extension("hlog"), named)
    }
}

/// All that is to be measured.
#[derive(Debug)]
struct Plan {
    args: CompareArgs,
    /// The headers of the parts that do not compare headers.
    main: Preset,
    presets: Vec<Preset>,
    articles: Preset,
    ways: Vec<Way>,
}

/// One measurement of a plan.
struct Step<'a>(Part, Load<'a>);

impl Plan {
    fn new(args: &CompareArgs) -> Result<Self> {
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

    fn load<'a>(&'a self, way: Way, preset: &'a Preset) -> Load<'a> {
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

    fn steps(&self) -> Vec<Step<'_>> {
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
        let of_preset =
            |preset| self.of(&ways).map(move |way| Step(Part::Headers, self.load(way, preset)));
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

    fn asked(&self) -> Asked {
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

fn round(
    plan: &Plan,
    under_test: UnderTest,
    label: &str,
    progress: &mut Progress,
) -> Result<Round> {
    let stage = Stage {
        target: under_test.target,
        process: under_test.process,
        topic: plan.args.topic.clone(),
        payload_bytes: plan.args.payload.size,
        threads: plan.args.generator.receivers,
        drain_timeout: plan.args.generator.drain_timeout,
    };
    progress.phase(format!("{label}: the topic's first messages"));
    stage.fill()?;
    let idle = stage.measure(&Load { clients: 0, ..plan.load(Way::Raw, &plan.main) }, 1)?;
    let us_per_second =
        |cpu: crate::server::CpuTime| cpu.run_ns as f64 / 1e3 / (idle.span.wall_ns as f64 / 1e9);
    let idle_server_cpu_us_per_second = idle.span.server_cpu.map(us_per_second);
    let (steps, mut runs, mut histograms) = (plan.steps(), Vec::new(), Vec::new());
    let count = steps.len();
    for (number, Step(part, load)) in (1_u8..).zip(steps) {
        let title = load.way.title();
        let (clients, headers) = (load.clients, &load.preset.name);
        progress.phase(format!(
            "{label}, {number} of {count}: {title}, {clients} clients, headers {headers}"
        ));
        let started = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let found = stage
            .measure(&load, number.wrapping_add(1))
            .with_context(|| format!("{title}, {clients} clients"))?;
        let figures = Figures::new(part, &load, &found);
        let span = (started, Duration::from_secs_f64(found.seconds));
        histograms.push(Histograms {
            name: figures.name.clone(),
            latency: found.tally.latency,
            span,
        });
        runs.push(figures);
    }
    Ok(Round { idle_server_cpu_us_per_second, runs, histograms })
}
