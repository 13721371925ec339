//! The server that a round runs against: one that is there, or one started for the round.

use std::ffi::{OsStr, OsString};
use std::net::{SocketAddr, ToSocketAddrs};

use anyhow::{Context, Result};

use crate::cli::ServerArgs;
use crate::counts::Counts;
use crate::plan::{Peer, Target};
use crate::server::{Process, SpawnedServer};

/// A server that is ready, and ends with this value if it was started for it.
#[derive(Debug)]
pub(crate) struct UnderTest {
    /// Where it is and what it is.
    pub target: Target,
    /// Its process, if it can be measured.
    pub process: Option<Process>,
    admin: Option<SocketAddr>,
    started: Option<SpawnedServer>,
}

impl UnderTest {
    /// The server that the command line names.
    ///
    /// # Errors
    /// If the URL is wrong, the process cannot be measured or the program cannot be started.
    pub(crate) fn from_args(args: &ServerArgs) -> Result<Self> {
        if let Some(program) = &args.server {
            return Ok(Self::started(
                SpawnedServer::start(program.as_os_str(), serve_args(args))?,
                Peer::Broker,
            ));
        }
        let process = args.server_pid.map(|pid| Process { pid });
        // Told now rather than after the load has run.
        process.map(Process::cpu).transpose()?;
        let admin = args.admin_url.as_deref().map(admin_address).transpose()?;
        Ok(Self { target: Target::parse(args.url())?, process, admin, started: None })
    }

    /// A floor in a process of its own.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(crate) fn floor() -> Result<Self> {
        let program = std::env::current_exe().context("the own program is not known")?;
        let server =
            SpawnedServer::start(program.as_os_str(), ["floor", "--listen", "127.0.0.1:0"])?;
        Ok(Self::started(server, Peer::Floor))
    }

    fn started(server: SpawnedServer, peer: Peer) -> Self {
        Self {
            target: Target { address: server.address, peer },
            process: Some(server.process()),
            admin: None,
            started: Some(server),
        }
    }

    /// The process that was started for this, if one was.
    pub(crate) fn started_mut(&mut self) -> Option<&mut SpawnedServer> {
        self.started.as_mut()
    }

    /// What the broker has counted up to now; `None` if its metrics are not known.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(crate) fn counts(&mut self) -> Result<Option<Counts>> {
        Ok(self.admin().map(Counts::scrape).transpose()?)
    }

    /// Where its admin port is, if that is known.
    pub(crate) fn admin(&mut self) -> Option<SocketAddr> {
        if self.admin.is_none() {
            self.admin = self.started.as_ref().and_then(SpawnedServer::admin);
        }
        self.admin
    }
}

/// The address in `http://HOST:PORT`.
fn admin_address(url: &str) -> Result<SocketAddr> {
    let host = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
    let mut addresses =
        host.to_socket_addrs().with_context(|| format!("--admin-url {url} is no address"))?;
    addresses.next().with_context(|| format!("--admin-url {url} has no address"))
}

fn serve_args(args: &ServerArgs) -> Vec<OsString> {
    let free_ports = ["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let shards = args.shards.map(|shards| ["--shards".to_owned(), shards.to_string()]);
    let more = args.server_args.iter().flat_map(|text| text.split_whitespace());
    let fixed = free_ports.iter().copied().map(OsString::from);
    fixed
        .chain(shards.into_iter().flatten().map(OsString::from))
        .chain(more.map(|arg| OsStr::new(arg).to_owned()))
        .collect()
}
