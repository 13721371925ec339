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

use crate::cli::CompareArgs;
use crate::progress::Progress;
use crate::report::{Document, Faults};
use crate::rounds;
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
