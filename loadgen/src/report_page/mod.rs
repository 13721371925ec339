//! `report`: the results in a folder as one page of HTML, charts as SVG files, and a summary.
//!
//! Owns reading results and writing files. What charts show is in `drawings`, the page in `html`,
//! the summary in `summary`.

mod drawings;
mod html;
mod summary;
mod tables;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::cli::ReportArgs;
use crate::compare::{Articles, Figures, Finding};
use drawings::Drawing;

/// One result of a folder.
#[derive(Debug)]
struct Reported {
    /// Its file's name without the ending.
    file: String,
    /// All of it.
    document: Value,
    /// What it says if it is a comparison.
    comparison: Option<Comparison>,
}

/// What the charts of a comparison show.
#[derive(Debug)]
struct Comparison {
    runs: Vec<Figures>,
    articles: Articles,
    findings: Vec<Finding>,
}

impl Reported {
    /// A text of the document, by the names of the members that lead to it.
    fn text(&self, path: &[&str]) -> &str {
        path.iter().fold(&self.document, |value, name| &value[name]).as_str().unwrap_or_default()
    }

    /// What it calls itself, or its file's name.
    fn name(&self) -> &str {
        match self.text(&["name"]) {
            "" => &self.file,
            name => name,
        }
    }

    /// The command line that made it.
    fn command(&self) -> String {
        let words = self.document["command"].as_array();
        let words = words.into_iter().flatten().filter_map(Value::as_str);
        // Where the program lay is nobody's concern.
        let program = |word: &str| word.rsplit('/').next().unwrap_or(word).to_owned();
        let words = words.enumerate().map(|(place, word)| match place {
            0 => program(word),
            _ if word.contains(' ') => format!("\"{word}\""),
            _ => word.to_owned(),
        });
        words.collect::<Vec<_>>().join(" ")
    }

    /// Machine, system, commit and time in one sentence.
    fn environment(&self) -> String {
        let of = |name| self.text(&["environment", name]);
        let number = |name: &str| self.document["environment"][name].as_u64().unwrap_or_default();
        let memory = crate::table::bytes(number("memory_bytes"));
        format!(
            "{} cores of {}, {memory}, Linux {}, {} build of commit {}, {}",
            number("cores"),
            of("cpu_model"),
            of("kernel"),
            of("build"),
            of("commit"),
            of("date")
        )
    }

    /// Faults that are not 0, with their numbers.
    fn faults(&self) -> Vec<(String, u64)> {
        let faults = self.document["faults"].as_object().into_iter().flatten();
        let counted = faults.filter_map(|(name, count)| Some((name.clone(), count.as_u64()?)));
        counted.filter(|(_, count)| *count > 0).collect()
    }

    /// The figures of the medians, by their paths.
    fn figures(&self) -> Vec<(String, f64)> {
        crate::changes::figures(&self.document["median"])
    }
}

/// Writes the report of a folder's results.
///
/// # Errors
/// If there are none, or one cannot be read, or nothing can be written.
pub(crate) fn run(args: &ReportArgs) -> Result<bool> {
    let results = read(&args.dir)?;
    let out = args.out.as_deref().unwrap_or(&args.dir);
    std::fs::create_dir_all(out).with_context(|| format!("{} cannot be made", out.display()))?;
    let drawings: Vec<Vec<Drawing>> = results.iter().map(drawings::of).collect();
    for drawing in drawings.iter().flatten() {
        write(out, &format!("{}.svg", drawing.file), &drawing.svg)?;
    }
    let title = args
        .dir
        .file_name()
        .map_or_else(|| "results".to_owned(), |name| name.to_string_lossy().into_owned());
    write(out, "report.html", &html::page(&title, &results, &drawings))?;
    write(out, "summary.md", &summary::text(&title, &results, &drawings))?;
    Ok(true)
}

fn write(dir: &Path, name: &str, text: &str) -> Result<()> {
    let path = dir.join(name);
    std::fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
    println!("{}", path.display());
    Ok(())
}

/// All results of a folder, in the order of their names, comparisons first.
fn read(dir: &Path) -> Result<Vec<Reported>> {
    let unread = || format!("{} cannot be read", dir.display());
    let mut results = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(unread)? {
        let path = entry.with_context(unread)?.path();
        if path.extension().is_some_and(|ending| ending == "json") {
            results.extend(read_one(&path)?);
        }
    }
    ensure!(
        !results.is_empty(),
        "there is no result in {}; loadgen writes one with --out FILE.json",
        dir.display()
    );
    results
        .sort_by(|a, b| (a.comparison.is_none(), &a.file).cmp(&(b.comparison.is_none(), &b.file)));
    Ok(results)
}

/// One result; `None` if the file holds some other JSON.
fn read_one(path: &Path) -> Result<Option<Reported>> {
    let document = crate::changes::read(path)?;
    let is_ours = |text: &str| text.starts_with("fanfare-loadgen/");
    if !document["schema"].as_str().is_some_and(is_ours) {
        eprintln!("{} is no result of loadgen and is left out", path.display());
        return Ok(None);
    }
    let file = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let comparison = comparison(&document)
        .with_context(|| format!("{} is of another version of loadgen", path.display()))?;
    Ok(Some(Reported { file, document, comparison }))
}

fn comparison(document: &Value) -> Result<Option<Comparison>> {
    if document.get("articles").is_none() {
        return Ok(None);
    }
    Ok(Some(Comparison {
        runs: serde_json::from_value(document["median"]["runs"].clone())?,
        articles: serde_json::from_value(document["articles"].clone())?,
        findings: serde_json::from_value(document["findings"].clone())?,
    }))
}
