//! `fanfare sub`: prints the messages of topics.

use std::io::Write;
use std::process::ExitCode;

use fanfare_client::{
    Event, Filter, Gap, Message, Missed, Mode, Payload, PayloadKind, Position, Snapshot,
    SubscribeOptions, Transport, Update,
};
use fanfare_protocol::limits::MAX_RATES;
use futures_util::StreamExt;
use futures_util::stream::SelectAll;
use serde_json::json;

use super::{INTERRUPTED, Target};

/// Print the messages of one or more topics as they come.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Subscribe {
    #[command(flatten)]
    target: Target,

    /// Topics, as stocks.AAPL, or patterns of them in quotes: * stands for one level, a last > for
    /// the rest.
    #[arg(required = true)]
    topics: Vec<Filter>,

    /// Print each message as one JSON object a line, with topic, epoch and offset.
    #[arg(long, conflicts_with = "raw")]
    json: bool,

    /// Print the payloads alone, byte for byte, one a line.
    #[arg(long)]
    raw: bool,

    /// Begin with each topic's newest message, and when this program cannot keep up take the
    /// newest rather than every one.
    #[arg(long)]
    latest: bool,

    /// The newest message of each topic at most this often in a second: 1, 2, 5 or 10.
    #[arg(long, value_name = "N", value_parser = max_rate)]
    max_rate: Option<u32>,

    /// Begin behind this position, as a message of --json tells it, with what is still kept.
    #[arg(long, value_name = "EPOCH:OFFSET", value_parser = position)]
    since: Option<Position>,

    /// End after this many messages.
    #[arg(long, short = 'n', value_name = "N")]
    count: Option<u64>,
}

const EXAMPLES: &str = "\
Examples:
  fanfare sub stocks.AAPL news.flash
      print messages of two topics, each with its topic and offset

  fanfare sub stocks.AAPL --raw | jq .p
      payloads alone, for another program

  fanfare sub stocks.AAPL --json --count 10
      ten messages as JSON, then end

  fanfare sub stocks.AAPL --latest
      the newest value at once, and the newest whenever this terminal is too slow for all

  fanfare sub 'stocks.*' --max-rate 2
      all stocks, each at most twice a second, the last value always

  fanfare sub stocks.AAPL --since k3f9q2xw:41
      what came after message 41, then what comes";

/// Reads one of the rates that the wire allows.
fn max_rate(text: &str) -> Result<u32, String> {
    let rate = text.parse().ok().filter(|rate| MAX_RATES.contains(rate));
    rate.ok_or_else(|| format!("use one of {MAX_RATES:?}"))
}

/// Reads a position as it is printed: EPOCH:OFFSET.
pub(super) fn position(text: &str) -> Result<Position, &'static str> {
    const EXPECTED: &str = "write EPOCH:OFFSET, such as k3f9q2xw:41";
    let (epoch, offset) = text.split_once(':').ok_or(EXPECTED)?;
    let offset = offset.parse().map_err(|_| EXPECTED)?;
    Ok(Position { epoch: epoch.to_owned(), offset })
}

impl Subscribe {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        tokio::select! {
            printed = self.print_all() => printed,
            _ = tokio::signal::ctrl_c() => Ok(ExitCode::from(INTERRUPTED)),
        }
    }

    async fn print_all(&self) -> anyhow::Result<ExitCode> {
        let client = self.target.connect().await?;
        let mut events = client.events();
        let mut subscriptions = SelectAll::new();
        for topic in &self.topics {
            let options = self.subscribe_options();
            subscriptions.push(client.subscribe_with(topic.as_str(), options).await?);
        }
        let mut left = self.count.unwrap_or(u64::MAX);
        let mut last_refusal = None;
        while left > 0 {
            tokio::select! {
                biased;
                update = subscriptions.next() => match update {
                    None => break,
                    Some(Update::Gap(gap)) => self.print_gap(&gap)?,
                    Some(Update::Snapshot(snapshot)) => self.print_snapshot(&snapshot)?,
                    Some(update) => {
                        if let Some(message) = update.into_message() {
                            self.print(&message)?;
                            left -= 1;
                        }
                    }
                },
                Some(event) = events.next() => last_refusal = report(event).or(last_refusal),
            }
        }
        client.close().await;
        match last_refusal.filter(|_| left > 0) {
            Some(refusal) => anyhow::bail!("{refusal}"),
            None => Ok(ExitCode::SUCCESS),
        }
    }

    fn subscribe_options(&self) -> SubscribeOptions {
        let mut options = SubscribeOptions::new();
        if self.latest {
            options = options.mode(Mode::Latest);
        }
        if let Some(rate) = self.max_rate {
            options = options.max_rate(rate);
        }
        if let Some(position) = &self.since {
            options = options.since(position.clone());
        }
        options
    }

    /// Tells what is missing: as JSON among the messages, for a person beside them.
    fn print_gap(&self, gap: &Gap) -> std::io::Result<()> {
        if !self.json {
            eprintln!("fanfare: {gap}");
            return Ok(());
        }
        let missed = match gap.missed {
            Missed::Offsets { from, to } => json!({ "from": from, "to": to }),
            _ => json!(null),
        };
        print_line(&json!({ "topic": gap.filter.as_str(), "gap": missed }))
    }

    /// Tells where live messages begin, in the same way.
    fn print_snapshot(&self, snapshot: &Snapshot) -> std::io::Result<()> {
        let Snapshot { pattern, messages, later, .. } = snapshot;
        if self.json {
            let counts = json!({ "messages": messages, "later": later });
            return print_line(&json!({ "topic": pattern.as_str(), "snapshot": counts }));
        }
        eprintln!("fanfare: {pattern}: that was the newest message of {messages} topics");
        if *later > 0 {
            eprintln!("fanfare: {pattern}: those of {later} more follow");
        }
        Ok(())
    }

    fn print(&self, message: &Message) -> std::io::Result<()> {
        if self.raw {
            let mut out = std::io::stdout().lock();
            out.write_all(message.payload.bytes())?;
            out.write_all(b"\n")?;
            return out.flush();
        }
        print_message(self.json, message)
    }
}

/// Tells a person about a connection that is lost, or back over something else than a WebSocket;
/// the reason if it is lost for good.
fn report(event: Event) -> Option<String> {
    if let Event::Connected { transport, .. } = event
        && transport != Transport::WebSocket
    {
        eprintln!("fanfare: connected over {transport}");
    }
    let Event::Disconnected { reason, retry_in, .. } = event else { return None };
    match retry_in {
        Some(wait) => {
            eprintln!("fanfare: {reason}; trying again in {:.1} s", wait.as_secs_f64());
            None
        }
        None => Some(reason),
    }
}

/// Prints a message with its topic, epoch and offset: as JSON, or without the epoch for a person.
pub(super) fn print_message(as_json: bool, message: &Message) -> std::io::Result<()> {
    let (topic, offset) = (message.topic.as_str(), message.offset);
    if as_json {
        let (epoch, (field, value)) = (message.epoch.as_deref(), content(&message.payload));
        let line = json!({ "topic": topic, "epoch": epoch, "offset": offset, field: value });
        return print_line(&line);
    }
    let shown = match message.payload.as_text() {
        Some(text) => text.to_owned(),
        None => format!("{} bytes", message.payload.bytes().len()),
    };
    print_line(&format_args!("{topic} {offset} {shown}"))
}

/// A payload under the name of its kind, as in the SDK protocol.
fn content(payload: &Payload) -> (&'static str, serde_json::Value) {
    match (payload.kind(), payload.as_text()) {
        (PayloadKind::Json, _) => ("data", payload.parse_json().unwrap_or_default()),
        (_, Some(text)) => ("text", text.into()),
        (_, None) => {
            use base64::Engine;
            let bytes = payload.bytes();
            ("base64", base64::engine::general_purpose::STANDARD.encode(bytes).into())
        }
    }
}

/// Prints a line and hands it on at once, so that a pipe sees each message as it comes.
pub(super) fn print_line(line: &impl std::fmt::Display) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
