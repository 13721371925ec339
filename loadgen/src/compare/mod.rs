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
mod plan;
mod polling;
mod print;
mod stage;
mod talk;
mod tally;
mod verdict;
mod way;
mod websocket;

use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::cli::{CompareArgs, ServerArgs};
use crate::progress::Progress;
use crate::report::{Document, Faults};
use crate::rounds;
use crate::server::CpuTime;
use crate::under_test::UnderTest;

pub(crate) use articles::{Articles, Pair, UseCase};
pub(crate) use figures::{CURVE, Figures, Part};
pub(crate) use headers::NAMES as PRESETS;
pub(crate) use verdict::Finding;
pub(crate) use way::Way;

use figures::Histograms;
use plan::{Plan, Step};
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
        round(&plan, &server, label, progress)
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
        let named =
            rounds.map(|h| (h.name.as_str(), &h.latency, Duration::from_secs_f64(h.seconds)));
        crate::latency::write_log(&path.with_extension("hlog"), named)
    }
}

fn round(plan: &Plan, server: &ServerArgs, label: &str, progress: &mut Progress) -> Result<Round> {
    let mut under_test = UnderTest::from_args(server)?;
    let stage = plan.stage(&under_test);
    progress.phase(format!("{label}: the topic's first messages"));
    stage.fill()?;
    let idle = stage.measure(&Load { clients: 0, ..plan.load(Way::Raw, &plan.main) }, 1)?;
    let us_per_second = |cpu: CpuTime| cpu.run_ns as f64 / 1e3 / (idle.span.wall_ns as f64 / 1e9);
    let idle_server_cpu_us_per_second = idle.span.server_cpu.map(us_per_second);

    let (pings, steps): (Vec<_>, Vec<_>) =
        plan.steps().into_iter().partition(|Step(part, _)| *part == Part::Pings);
    let round = Round { idle_server_cpu_us_per_second, runs: Vec::new(), histograms: Vec::new() };
    let count = steps.len() + pings.len();
    let mut under_way = UnderWay { round, count, label, progress };
    for step in &steps {
        under_way.measure(&stage, &mut under_test, step)?;
    }
    drop(under_test);
    if let Some(mut under_test) =
        broker::pinging(server).filter(|_| !pings.is_empty()).transpose()?
    {
        let stage = plan.stage(&under_test);
        stage.fill()?;
        for step in &pings {
            under_way.measure(&stage, &mut under_test, step)?;
        }
    }
    Ok(under_way.round)
}

/// A round that is being made.
struct UnderWay<'a> {
    round: Round,
    /// How many measurements it will have.
    count: usize,
    label: &'a str,
    progress: &'a mut Progress,
}

impl UnderWay<'_> {
    fn measure(
        &mut self,
        stage: &Stage,
        under_test: &mut UnderTest,
        Step(part, load): &Step<'_>,
    ) -> Result<()> {
        let number = self.round.runs.len() + 1;
        let (title, clients, headers) = (load.way.title(), load.clients, &load.preset.name);
        self.progress.phase(format!(
            "{}, {number} of {}: {title}, {clients} clients, headers {headers}",
            self.label, self.count
        ));
        let before = under_test.counts()?;
        // Stamps have room for 256 runs; neighbours differ, which is what matters.
        let found = stage
            .measure(load, (number % 250) as u8 + 2)
            .with_context(|| format!("{title}, {clients} clients"))?;
        let mut figures = Figures::new(*part, load, &found);
        let counted = before.zip(under_test.counts()?).map(|(before, after)| after.since(&before));
        let transport = format!("transport=\"{}\"", load.way.transport());
        let is_of_transports = |name: &str| name.contains(&transport);
        figures.server_counts = counted
            .map(|counts| counts.into_iter().filter(|(name, _)| is_of_transports(name)).collect());
        self.round.histograms.push(Histograms {
            name: figures.name.clone(),
            latency: found.tally.latency,
            seconds: found.seconds,
        });
        self.round.runs.push(figures);
        Ok(())
    }
}
