//! The house style, as far as a program can judge it: sizes, headers, names and the top level of
//! the repository. A message tells where and what; the rule itself is the test's name.

use std::fs;
use std::path::{Path, PathBuf};

const LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
const WIDTH_MAX: usize = 100;

/// What may stand at the top of the repository besides hidden files and licences.
const TOP_LEVEL: [&str; 8] = [
    "Cargo.lock",
    "Cargo.toml",
    "README.md",
    "bench-results",
    "broker",
    "client-sdk",
    "dashboards",
    "loadgen",
];

/// Folders that tools fill.
const GENERATED: [&str; 6] = [".git", "artifacts", "corpus", "dist", "node_modules", "target"];

/// Names that say nothing of what a file owns.
const EMPTY_NAMES: [&str; 6] = ["common", "helper", "helpers", "manager", "misc", "utils"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("a root")
}

/// Every file under `folder` whose name ends with one of `endings`, with its text.
fn sources(folder: &Path, endings: &[&str]) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if path.is_dir() && !GENERATED.contains(&name.as_str()) {
            found.extend(sources(&path, endings));
        } else if path.is_file() && endings.iter().any(|ending| name.ends_with(ending)) {
            let text = fs::read_to_string(&path).expect("UTF-8");
            found.push((path, text));
        }
    }
    found
}

fn rust_sources() -> Vec<(PathBuf, String)> {
    let found = sources(&root(), &[".rs"]);
    assert!(found.len() > 20, "only {} Rust files were found", found.len());
    found
}

/// Fails with all `complaints` at once, so that one run shows everything.
fn assert_none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

fn at(path: &Path, line: usize) -> String {
    format!("{}:{}", path.strip_prefix(root()).unwrap_or(path).display(), line + 1)
}

#[test]
fn files_are_at_most_500_lines_long() {
    let is_long = |text: &String| text.lines().count() > LINES_MAX;
    let long = sources(&root(), &[".rs", ".ts", ".js"]).into_iter().filter(|(_, t)| is_long(t));
    assert_none(long.map(|(path, text)| at(&path, text.lines().count() - 1)).collect());
}

#[test]
fn lines_of_rust_are_at_most_100_characters_wide() {
    let mut wide = Vec::new();
    for (path, text) in rust_sources() {
        let lines = text.lines().enumerate();
        let over = lines.filter(|(_, line)| line.chars().count() > WIDTH_MAX);
        wide.extend(over.map(|(number, _)| at(&path, number)));
    }
    assert_none(wide);
}

#[test]
fn functions_are_at_most_70_lines_long() {
    let mut long = Vec::new();
    for (path, text) in rust_sources() {
        let lines: Vec<&str> = text.lines().collect();
        for (number, length) in functions(&lines) {
            if length > FUNCTION_LINES_MAX {
                long.push(format!("{}: {length} lines", at(&path, number)));
            }
        }
    }
    assert_none(long);
}

/// First line and length of every function whose body has lines of its own. Relies on the shape
/// that rustfmt gives: a function ends at the first `}` as far to the left as its `fn`.
fn functions(lines: &[&str]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let indent = &line[..line.len() - line.trim_start().len()];
        let signature = line.trim_start().split(['(', '<']).next().unwrap_or_default();
        let is_function = signature.split(' ').rev().nth(1) == Some("fn");
        let ends_here = line.ends_with(['}', ';']);
        if !is_function || ends_here {
            continue;
        }
        let closing = format!("{indent}}}");
        let body = lines[start..].iter().position(|line| *line == closing);
        found.extend(body.map(|length| (start, length + 1)));
    }
    found
}

#[test]
fn functions_are_measured_from_their_name_to_their_brace() {
    let text =
        "impl A {\n    pub fn b<T>(\n        x: T,\n    ) {\n        if x {\n        }\n    }\n}";
    let lines: Vec<&str> = text.lines().chain(["fn c() {}"]).collect();
    assert_eq!(functions(&lines), [(1, 6)]);
}

#[test]
fn modules_open_with_what_they_own() {
    let is_bare = |text: &String| !text.starts_with("//!");
    let bare = rust_sources().into_iter().filter(|(_, text)| is_bare(text));
    assert_none(bare.map(|(path, _)| format!("{}: no //! header", at(&path, 0))).collect());
}

#[test]
fn nothing_is_left_undone() {
    // Put together here, so that this file does not hold what it looks for.
    let marks = [
        concat!("to", "do!("),
        concat!("un", "implemented!("),
        concat!("db", "g!("),
        concat!("#[ig", "nore"),
        concat!("FIX", "ME"),
        concat!("TO", "DO"),
    ];
    let mut undone = Vec::new();
    for (path, text) in sources(&root(), &[".rs", ".ts", ".js", ".html", ".css", ".toml"]) {
        for (number, line) in text.lines().enumerate() {
            let found = marks.iter().filter(|mark| line.contains(*mark));
            undone.extend(found.map(|mark| format!("{}: {mark}", at(&path, number))));
        }
    }
    assert_none(undone);
}

#[test]
fn files_have_names_that_say_what_they_own() {
    let is_empty = |path: &Path| {
        path.file_stem().is_some_and(|stem| EMPTY_NAMES.iter().any(|name| *name == stem))
    };
    let empty = rust_sources().into_iter().filter(|(path, _)| is_empty(path));
    assert_none(empty.map(|(path, _)| at(&path, 0)).collect());
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    let root = root();
    let manifests = sources(&root, &["Cargo.toml"]).into_iter().filter(|(path, text)| {
        let is_workspace = text.lines().any(|line| line == "[workspace]");
        !is_workspace && path.starts_with(&root)
    });
    let lax = manifests.filter(|(_, text)| !text.contains("[lints]\nworkspace = true"));
    let others = lax.filter(|(path, _)| !path.ends_with(UNSAFE_ROOM));
    assert_none(others.map(|(path, _)| at(&path, 0)).collect());
}

/// The one package that may hold unsafe code, and so has lints of its own.
const UNSAFE_ROOM: &str = "broker/kernel/Cargo.toml";

#[test]
fn the_room_for_unsafe_code_is_small_and_says_why() {
    let room = root().join(UNSAFE_ROOM).parent().unwrap().join("src");
    let sources = sources(&room, &[".rs"]);
    let lines: usize = sources.iter().map(|(_, text)| text.lines().count()).sum();
    assert!((1..130).contains(&lines), "{lines} lines");
    for (path, text) in sources {
        let (blocks, reasons) = (text.matches("unsafe {").count(), text.matches("SAFETY:").count());
        assert_eq!(blocks, reasons, "{}: each block has its reason", path.display());
    }
}

#[test]
fn the_top_level_holds_only_what_is_planned() {
    let mut odd = Vec::new();
    for entry in fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        let is_hidden = name.starts_with('.') || name.starts_with("LICENSE-");
        let is_planned = TOP_LEVEL.contains(&name.as_str()) || GENERATED.contains(&name.as_str());
        if !is_hidden && !is_planned {
            odd.push(name);
        }
    }
    assert_none(odd);
}
