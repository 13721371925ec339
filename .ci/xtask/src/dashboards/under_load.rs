//! A broker of this workspace under load from loadgen, with everything in it that the dashboards
//! show: namespaces, deliveries, and readers that do not read.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::command::program;
use crate::stage::Context;

/// How long a program may take until it says where it listens.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// Longer than all checks take. What is left is ended with them.
const LOAD_SECONDS: &str = "600s";

const SLOW_LOG: &str = "slow.log";

const CONFIG: &str = "[namespaces.load]\nhistory_messages = 20\n";

/// Programs that end when this is dropped.
pub(super) struct UnderLoad {
    folder: PathBuf,
    admin: SocketAddr,
    loadgen: SocketAddr,
    programs: Vec<Ended>,
}

/// A program that is ended when it is dropped.
pub(super) struct Ended(pub(super) Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl UnderLoad {
    pub(super) fn start(context: &Context) -> anyhow::Result<Self> {
        let folder = context.target.join("dashboards");
        fs::create_dir_all(&folder)?;
        let config = folder.join("broker.toml");
        fs::write(&config, CONFIG)?;
        let mut serve = program(context, context.target.join("debug/fanfare"));
        serve.args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
        serve.arg("--config").arg(&config).stdout(Stdio::piped());
        let (broker, said) = started(&mut serve, "admin on ")?;
        let url = address(&said, "listening on http://")?;
        let admin = address(&said, "admin on http://")?;
        let mut load = Self { folder, admin, loadgen: admin, programs: vec![broker] };
        load.add_readers(context, url)?;
        Ok(load)
    }

    /// Starts one load that is read, and one that is not.
    fn add_readers(&mut self, context: &Context, url: SocketAddr) -> anyhow::Result<()> {
        let url = format!("ws://{url}");
        let loadgen = context.target.join("debug/loadgen");
        let mut fanout = program(context, &loadgen);
        fanout.args(["fanout", "--connections", "100", "--topics", "10", "--rate", "100"]);
        fanout.args(["--duration", LOAD_SECONDS, "--warmup", "0s", "--url", &url]);
        fanout.args(["--metrics", "127.0.0.1:0"]).stdout(Stdio::null()).stderr(Stdio::piped());
        let (fanout, said) = started(&mut fanout, "metrics on ")?;
        self.loadgen = address(&said, "metrics on http://")?;
        self.programs.push(fanout);
        let mut slow = program(context, &loadgen);
        slow.args(["slow", "--slow-only", "--connections", "5", "--topics", "5"]);
        slow.args(["--topic-prefix", "slow.", "--size", "4KiB", "--rate", "100"]);
        slow.args(["--duration", LOAD_SECONDS, "--url", &url]);
        slow.stdout(Stdio::null()).stderr(fs::File::create(self.folder.join(SLOW_LOG))?);
        self.programs.push(Ended(slow.spawn().context("loadgen does not start")?));
        Ok(())
    }

    /// What the load that is not read has said, for the case that it does not work.
    pub(super) fn said(&self) -> String {
        fs::read_to_string(self.folder.join(SLOW_LOG)).unwrap_or_default()
    }

    /// Where Prometheus finds what: the name of a file of targets, and the address in it.
    pub(super) fn targets(&self) -> [(&'static str, SocketAddr); 2] {
        [("broker.yml", self.admin), ("loadgen.yml", self.loadgen)]
    }
}

impl Drop for UnderLoad {
    fn drop(&mut self) {
        self.programs.clear();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Starts a program and reads what it says until a line has `mark`.
pub(super) fn started(
    command: &mut Command,
    mark: &'static str,
) -> anyhow::Result<(Ended, String)> {
    let name = Path::new(command.get_program()).display().to_string();
    let mut child = command.spawn().with_context(|| format!("{name} does not start"))?;
    let output: Box<dyn Read + Send> = match (child.stdout.take(), child.stderr.take()) {
        (Some(output), _) => Box::new(output),
        (None, Some(output)) => Box::new(output),
        (None, None) => anyhow::bail!("{name} says nothing"),
    };
    let child = Ended(child);
    let (send, receive) = mpsc::channel();
    // Reads to the end, or the program would stop at a full pipe.
    thread::spawn(move || {
        let mut said = String::new();
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            said = said + &line + "\n";
            if line.contains(mark) {
                let _ = send.send(std::mem::take(&mut said));
            }
        }
    });
    let said = receive.recv_timeout(READY_TIMEOUT);
    Ok((child, said.with_context(|| format!("{name} did not say {mark:?}"))?))
}

/// The address behind `label`.
fn address(said: &str, label: &str) -> anyhow::Result<SocketAddr> {
    let (_, rest) = said.split_once(label).with_context(|| format!("{label:?} was not said"))?;
    let end = rest.find(['/', '\n']).unwrap_or(rest.len());
    ensure!(end > 0, "nothing follows {label:?}");
    Ok(rest[..end].trim().parse()?)
}
