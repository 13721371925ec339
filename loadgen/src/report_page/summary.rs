//! The summary of a folder in Markdown, for people who read it where it is stored.

use std::fmt::Write;

use super::drawings::Drawing;
use super::{Reported, tables};
use crate::charts::{escape, figure};

/// Figures of other results that a summary names, by the ends of their paths.
pub(super) const HEADLINES: [&str; 12] = [
    "server_cpu_us_per_delivery",
    "server_cpu_us_per_connection",
    "server_rss_bytes_per_connection",
    "deliveries_per_second",
    "bytes_per_delivery",
    "response_us.p50",
    "response_us.p99",
    "latency_ratio.p99",
    "recovered_seconds",
    "growth_bytes",
    "growth_bytes_per_slow_reader",
    "ratio",
];

/// The whole text.
#[must_use]
pub(super) fn text(title: &str, results: &[Reported], drawings: &[Vec<Drawing>]) -> String {
    let mut text = format!("# {title}\n");
    for (result, drawings) in results.iter().zip(drawings) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "\n## {}\n\n`{}`\n", escape(result.name()), result.command());
        let _ = writeln!(text, "{}.", result.environment());
        let faults: Vec<String> =
            result.faults().iter().map(|(name, n)| format!("{n} {name}")).collect();
        if !faults.is_empty() {
            let _ = writeln!(text, "\n**Faults: {}.**", faults.join(", "));
        }
        match &result.comparison {
            Some(comparison) => {
                for drawing in drawings {
                    let _ = writeln!(text, "\n![{}]({}.svg)", drawing.title, drawing.file);
                }
                let _ = writeln!(text);
                for finding in &comparison.findings {
                    let (claim, holds, found) = (&finding.claim, &finding.holds, &finding.found);
                    let _ = writeln!(text, "- **{claim}** ({holds}): {found}");
                }
                for table in tables::of(comparison) {
                    let _ = writeln!(text, "\n### {}\n\n{}\n", table.title, table.note);
                    text.push_str(&markdown(&table.lines));
                }
            }
            None => {
                let _ = writeln!(text);
                text.push_str(&markdown(&headlines(result)));
            }
        }
    }
    text
}

/// The figures of another result that say most of it.
#[must_use]
pub(super) fn headlines(result: &Reported) -> Vec<Vec<String>> {
    let is_headline = |path: &str| {
        HEADLINES.iter().any(|end| {
            path.strip_suffix(end).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        })
    };
    let figures = result.figures().into_iter().filter(|(path, _)| is_headline(path));
    let lines = figures.map(|(path, value)| vec![path, figure(value)]);
    std::iter::once(vec!["figure".to_owned(), "median".to_owned()]).chain(lines).collect()
}

fn markdown(lines: &[Vec<String>]) -> String {
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        let cells: Vec<String> = line.iter().map(|cell| cell.replace('|', "\\|")).collect();
        let _ = writeln!(text, "| {} |", cells.join(" | "));
        if number == 0 {
            let rule = |place: usize| if place == 0 { "---" } else { "---:" };
            let rules: Vec<&str> = (0..line.len()).map(rule).collect();
            let _ = writeln!(text, "| {} |", rules.join(" | "));
        }
    }
    text
}
