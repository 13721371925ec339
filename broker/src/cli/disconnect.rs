//! `fanfare disconnect`: closes connections.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

use super::admin::Admin;
use crate::admin::{DisconnectRequest, Disconnected};

/// Close a connection by its name, or all that come from an address.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
#[command(group = clap::ArgGroup::new("target").required(true).args(["connection", "peer"]))]
pub(super) struct Disconnect {
    /// The connection's name, as `fanfare report connections` tells it.
    connection: Option<String>,

    /// All connections from this address, or the one from this address and port.
    #[arg(long, value_name = "ADDR", value_parser = peer)]
    peer: Option<String>,

    /// Ask the client not to come back; without this it comes back by itself (code 3503, not 3004).
    #[arg(long)]
    no_reconnect: bool,

    /// What the client is told, up to 123 bytes.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,

    #[command(flatten)]
    admin: Admin,
}

const EXAMPLES: &str = "\
Examples:
  fanfare disconnect 5f0c93aa-0-17
      one connection; its client comes back and recovers what it missed

  fanfare disconnect --peer 10.0.0.7 --no-reconnect --reason 'ask for a key'
      all from this address, for good as far as their clients obey

Ends with 1 where there is no such connection.";

fn peer(text: &str) -> Result<String, &'static str> {
    let is_address = text.parse::<IpAddr>().is_ok() || text.parse::<SocketAddr>().is_ok();
    let allowed = "use an address, as 10.0.0.7, 10.0.0.7:51234, ::1 or [::1]:51234";
    if is_address { Ok(text.to_owned()) } else { Err(allowed) }
}

impl Disconnect {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let request = DisconnectRequest {
            connection: self.connection,
            peer: self.peer,
            reconnect: Some(!self.no_reconnect),
            reason: self.reason,
        };
        let body = serde_json::to_string(&request)?;
        let Disconnected { closed, code } = self.admin.post("/v1/disconnect", &body).await?;
        let s = if closed == 1 { "" } else { "s" };
        println!("closed {closed} connection{s} with code {code}");
        Ok(ExitCode::SUCCESS)
    }
}
