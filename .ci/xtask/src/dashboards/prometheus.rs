//! A Prometheus of its own for the checks, with the project's configuration and other targets.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::files;
use super::under_load::Ended;
use crate::command::program;
use crate::stage::Context;

/// The project's configuration: what to scrape, the rules, and files of targets.
pub(super) const CONFIG: &str = "dashboards/prometheus";

const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct Prometheus {
    addr: SocketAddr,
    folder: PathBuf,
    _program: Ended,
}

impl Prometheus {
    /// Starts it on a free port. The configuration is the project's own; only its files of targets
    /// say other addresses.
    pub(super) fn start(context: &Context, targets: &[(&str, SocketAddr)]) -> anyhow::Result<Self> {
        let folder = context.target.join(format!("prometheus-{}", std::process::id()));
        fs::create_dir_all(folder.join("targets"))?;
        for file in files(&context.root.join(CONFIG), "yml")? {
            fs::copy(&file, folder.join(file.file_name().context("a file has a name")?))?;
        }
        for (file, addr) in targets {
            ensure!(context.root.join(CONFIG).join("targets").join(file).is_file(), "no {file}");
            let text = format!("- targets: [\"{addr}\"]\n");
            fs::write(folder.join("targets").join(file), text)?;
        }
        // Free a moment ago; should another program take it, the start fails and says so.
        let addr = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let log = fs::File::create(folder.join("log"))?;
        let mut prometheus = program(context, "prometheus");
        prometheus.arg(format!("--config.file={}", folder.join("prometheus.yml").display()));
        prometheus.arg(format!("--storage.tsdb.path={}", folder.join("data").display()));
        prometheus.arg(format!("--web.listen-address={addr}"));
        prometheus.stdout(Stdio::null()).stderr(log);
        let program = Ended(prometheus.spawn().context("prometheus does not start")?);
        let prometheus = Self { addr, folder, _program: program };
        prometheus.wait_until_ready()?;
        Ok(prometheus)
    }

    fn wait_until_ready(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_TIMEOUT;
        while self.get("/-/ready").is_err() {
            if Instant::now() > deadline {
                let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                anyhow::bail!("prometheus is not ready: {log}");
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// The series that an expression gives now.
    pub(super) fn query(&self, expr: &str) -> anyhow::Result<Vec<Value>> {
        self.data(&format!("/api/v1/query?query={}", encoded(expr)))
    }

    /// The values of a label of the series that `selector` selects.
    pub(super) fn label_values(&self, selector: &str, label: &str) -> anyhow::Result<Vec<String>> {
        let path = format!("/api/v1/label/{label}/values?match[]={}", encoded(selector));
        let values = self.data(&path)?;
        Ok(values.iter().filter_map(Value::as_str).map(str::to_owned).collect())
    }

    /// The groups of rules that are loaded.
    pub(super) fn rule_groups(&self) -> anyhow::Result<Vec<Value>> {
        self.data("/api/v1/rules")
    }

    /// The list in an answer of the API.
    fn data(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        let mut answer: Value = serde_json::from_str(&self.get(path)?)?;
        let places = ["/data/result", "/data/groups", "/data"];
        let found = places.iter().find(|place| answer.pointer(place).is_some());
        let list = found.and_then(|place| answer.pointer_mut(place)).map(Value::take);
        match list.unwrap_or_default() {
            Value::Array(items) => Ok(items),
            other => anyhow::bail!("{path} answered {other}"),
        }
    }

    /// One request. HTTP/1.0, so that the answer is not in chunks.
    fn get(&self, path: &str) -> anyhow::Result<String> {
        let mut stream = TcpStream::connect(self.addr)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.addr)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
        let status = head.lines().next().unwrap_or_default();
        ensure!(status.contains(" 200 "), "{status}: {body}");
        Ok(body.to_owned())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // The program itself ends after this, and does not mind.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A text as it may stand in a URL.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(byte.into());
            }
            _ => encoded += &format!("%{byte:02X}"),
        }
    }
    encoded
}
