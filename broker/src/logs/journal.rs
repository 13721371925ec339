//! What happens to connections and may come in storms, each cause with a budget of lines.
//!
//! Shared by all shards of a node, so that the budget is the node's. Nothing here is called for a
//! message.

use std::io;
use std::net::IpAddr;

use fanfare_engine::{Closed, Now};
use fanfare_protocol::CloseCode;
use http::StatusCode;
use parking_lot::Mutex;
use tracing::{Level, debug, error, warn};

use super::repeats::Repeats;
use super::target::{CONNECTIONS, HTTP};
use crate::http::Reply;

/// What repeats on a node.
#[derive(Debug, Default)]
pub(crate) struct Journal(Mutex<Causes>);

#[derive(Debug, Default)]
struct Causes {
    accept_errors: Repeats,
    /// By what there was too little of.
    turned_away: Vec<(&'static str, Repeats)>,
    /// By code; there are as many as the broker has.
    closed: Vec<(CloseCode, Repeats)>,
    /// By status; there are as many as the broker answers with.
    refused: Vec<(StatusCode, Repeats)>,
}

impl Journal {
    /// The system did not hand over a connection.
    pub(crate) fn accept_failed(&self, error: &io::Error, now: Now) {
        let due = self.0.lock().accept_errors.note(1, now);
        if let Some(count) = due {
            warn!(target: CONNECTIONS, %error, count, "{CANNOT_ACCEPT}");
        }
    }

    /// A connection was refused for want of room; `cause` is what there was too little of.
    pub(crate) fn turned_away(&self, cause: &'static str, now: Now) {
        let due = of(&mut self.0.lock().turned_away, cause).note(1, now);
        if let Some(count) = due {
            warn!(target: CONNECTIONS, cause, count, "{TURNED_AWAY}");
        }
    }

    /// The broker has closed connections.
    pub(crate) fn closed(&self, closed: &Closed, now: Now) {
        if !is_enabled(level(closed.code)) {
            return;
        }
        let due = of(&mut self.0.lock().closed, closed.code).note(closed.count, now);
        if let Some(count) = due {
            tell_closed(closed.code, count, Some(closed));
        }
    }

    /// A request was answered with an error.
    pub(crate) fn refused(&self, reply: &Reply, peer: IpAddr, now: Now) {
        if !tracing::enabled!(target: HTTP, Level::DEBUG) {
            return;
        }
        let due = of(&mut self.0.lock().refused, reply.status()).note(1, now);
        if let Some(count) = due {
            let (status, detail) = (reply.status().as_u16(), detail(reply));
            debug!(target: HTTP, status, count, %peer, detail, "requests refused");
        }
    }

    /// Tells what has been counted and whose time has come. To be called now and then.
    pub(crate) fn tell_due(&self, now: Now) {
        let mut causes = self.0.lock();
        if let Some(count) = causes.accept_errors.due(now) {
            warn!(target: CONNECTIONS, count, "{CANNOT_ACCEPT}");
        }
        for (cause, repeats) in &mut causes.turned_away {
            if let Some(count) = repeats.due(now) {
                warn!(target: CONNECTIONS, cause, count, "{TURNED_AWAY}");
            }
        }
        for (code, repeats) in &mut causes.closed {
            if let Some(count) = repeats.due(now) {
                tell_closed(*code, count, None);
            }
        }
        for (status, repeats) in &mut causes.refused {
            if let Some(count) = repeats.due(now) {
                debug!(target: HTTP, status = status.as_u16(), count, "requests refused");
            }
        }
    }
}

const CANNOT_ACCEPT: &str = "cannot accept connections; those that are open go on";
const TURNED_AWAY: &str = "connections refused for want of room; those that are open go on";
const CLOSED: &str = "connections closed by the broker";

/// What a problem document says, where the reply is one.
fn detail(reply: &Reply) -> Option<String> {
    let document: serde_json::Value = serde_json::from_slice(reply.body()).ok()?;
    document["detail"].as_str().map(str::to_owned)
}

fn tell_closed(code: CloseCode, count: u64, example: Option<&Closed>) {
    let connection = example.map(|closed| closed.connection.as_str());
    let peer = example.and_then(|closed| closed.peer).map(tracing::field::display);
    let buffered_bytes = example.map(|closed| closed.buffered_amount);
    let reason = example.map(|closed| closed.reason.as_str());
    let (level, code, cause) = (level(code), code.0, code.label());
    // The level of an event is a part of the place that it is written at.
    macro_rules! tell {
        ($tell:ident) => {
            $tell!(
                target: CONNECTIONS,
                code, cause, count, connection, peer, buffered_bytes, reason, "{CLOSED}"
            )
        };
    }
    match level {
        Level::ERROR => tell!(error),
        Level::WARN => tell!(warn),
        _ => tell!(debug),
    }
}

/// The cause in `causes`, which gets it if it has not.
fn of<C: PartialEq>(causes: &mut Vec<(C, Repeats)>, cause: C) -> &mut Repeats {
    let known = causes.iter().position(|(known, _)| *known == cause);
    let place = known.unwrap_or_else(|| {
        causes.push((cause, Repeats::default()));
        causes.len() - 1
    });
    &mut causes[place].1
}

/// How much an operator should care: our fault, our limits and readers that were cut off, or what
/// a peer did wrong.
fn level(code: CloseCode) -> Level {
    match code {
        CloseCode::INTERNAL_ERROR => Level::ERROR,
        CloseCode::SLOW_CONSUMER | CloseCode::TRY_AGAIN_LATER => Level::WARN,
        _ => Level::DEBUG,
    }
}

/// Whether somebody reads this, so that nothing is put together in vain.
fn is_enabled(level: Level) -> bool {
    match level {
        Level::ERROR => tracing::enabled!(target: CONNECTIONS, Level::ERROR),
        Level::WARN => tracing::enabled!(target: CONNECTIONS, Level::WARN),
        _ => tracing::enabled!(target: CONNECTIONS, Level::DEBUG),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::logs::LogLevel;

    /// What `happens` writes at this level, one line for each event.
    fn lines(level: &str, happens: impl FnOnce(&Journal)) -> Vec<String> {
        #[derive(Clone, Default)]
        struct Lines(Arc<Mutex<Vec<u8>>>);
        impl io::Write for Lines {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (written, level) = (Lines::default(), level.parse::<LogLevel>().unwrap());
        let writer = written.clone();
        let layer = tracing_subscriber::fmt::layer()
            .without_time()
            .with_ansi(false)
            .with_writer(move || writer.clone());
        let subscriber = tracing_subscriber::registry().with(level.targets()).with(layer);
        tracing::subscriber::with_default(subscriber, || happens(&Journal::default()));
        let text = String::from_utf8(written.0.lock().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn slow(count: u64, code: CloseCode) -> Closed {
        Closed {
            code,
            count,
            connection: "n-0-1".to_owned(),
            peer: "192.0.2.1:5".parse().ok(),
            reason: "read faster".to_owned(),
            buffered_amount: 9,
        }
    }

    fn at(ms: u64) -> Now {
        Now::from_ms(ms)
    }

    #[test]
    fn a_storm_of_slow_readers_is_a_line_with_an_example_and_then_one_with_a_count() {
        let lines = lines("info", |journal| {
            for ms in 0..9_000 {
                journal.closed(&slow(2, CloseCode::SLOW_CONSUMER), at(ms));
                journal.closed(&slow(1, CloseCode::TRY_AGAIN_LATER), at(ms));
            }
            journal.tell_due(at(9_999));
            journal.tell_due(at(10_000));
            journal.tell_due(at(11_000));
        });
        assert_eq!(lines.len(), 4, "{lines:#?}");
        assert_eq!(
            lines[0],
            " WARN fanfare::connections: connections closed by the broker code=3000 \
             cause=\"slow_consumer\" count=2 connection=\"n-0-1\" peer=192.0.2.1:5 \
             buffered_bytes=9 reason=\"read faster\""
        );
        assert!(lines[1].contains("try_again_later"), "{}", lines[1]);
        assert!(lines[2].contains("slow_consumer\" count=17998"), "{}", lines[2]);
        assert!(lines[3].contains("try_again_later\" count=8999"), "{}", lines[3]);
    }

    #[test]
    fn a_system_that_hands_over_nothing_is_told_with_its_words() {
        let lines = lines("info", |journal| {
            let error = io::Error::from_raw_os_error(24);
            (0..1_000).for_each(|ms| journal.accept_failed(&error, at(ms)));
            journal.tell_due(at(20_000));
        });
        assert_eq!(lines.len(), 2, "{lines:#?}");
        assert!(lines[0].contains("Too many open files") && lines[0].contains("count=1"));
        assert!(lines[1].contains("cannot accept connections") && lines[1].contains("count=999"));
    }

    #[test]
    fn what_peers_do_wrong_is_told_only_to_whoever_wants_to_know() {
        let mut refusal = Reply::new("{\"detail\":\"not this origin\"}".into());
        *refusal.status_mut() = StatusCode::FORBIDDEN;
        let happens = |journal: &Journal| {
            let peer = [192, 0, 2, 1].into();
            for ms in 0..100 {
                journal.closed(&slow(1, CloseCode::PROTOCOL_ERROR), at(ms));
                journal.refused(&refusal, peer, at(ms));
            }
            journal.tell_due(at(60_000));
        };
        assert_eq!(lines("info", happens), [""; 0]);
        let told = lines("fanfare::connections=debug,fanfare::http=debug", happens);
        assert_eq!(told.len(), 4, "{told:#?}");
        assert!(told[0].starts_with("DEBUG") && told[0].contains("protocol_error\" count=1 "));
        let refused = "status=403 count=1 peer=192.0.2.1 detail=\"not this origin\"";
        assert!(told[1].contains(refused), "{}", told[1]);
    }
}
