//! Brokers in processes of their own, which SIGTERM ends: a real one, and a [`Peer`] that may not
//! do it well.
//!
//! `loadgen drain` starts programs. These are the test program itself, called in such a way that it
//! runs one test, which serves.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::exit;
use std::time::{Duration, Instant};

use fanfare::{Server, ServerConfig};
use fanfare_protocol::{Drain, Event};
use tokio::signal::unix::{SignalKind, signal};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::{Fault, Peer, scratch_file};

/// Where the process is told what to be.
const ROLE: &str = "LOADGEN_TEST_SERVER";

/// Each server that a test may start, by its name. No fault at all is a real broker.
const ROLES: [(&str, Option<Fault>); 7] = [
    ("broker", None),
    ("honest", Some(Fault::None)),
    ("cut", Some(Fault::CutAtDrain)),
    ("going-away", Some(Fault::SayGoingAway)),
    ("lose", Some(Fault::LoseAtDrain)),
    ("fail", Some(Fault::FailAtExit)),
    ("patient", Some(Fault::CloseNobody)),
];

/// Over how many waves, and how long after each other, a peer closes connections.
const WAVES: usize = 5;
const WAVE_INTERVAL: Duration = Duration::from_millis(100);

/// How long a peer waits for goodbyes.
const GOODBYE_MAX: Duration = Duration::from_secs(20);

/// A program that serves in the role of this name, however it is asked to. `test` is the test
/// of the caller that calls [`serve_if_asked`].
pub(crate) fn server_program(role: &str, test: &str) -> PathBuf {
    let program = scratch_file(&format!("drain_server_{role}"));
    let own = std::env::current_exe().expect("a path");
    let own = own.to_str().expect("a plain path");
    // `loadgen` asks every server for its version first.
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = --version ] && exec echo {role}\n\
         {ROLE}={role} exec '{own}' --exact {test} --nocapture\n"
    );
    std::fs::write(&program, script).expect("room for it");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&program, mode).expect("a script that can be run");
    program
}

/// Serves until SIGTERM and ends the process, if it was started for that.
pub(crate) fn serve_if_asked() {
    let Ok(name) = std::env::var(ROLE) else { return };
    let role = ROLES.into_iter().find(|(role, _)| *role == name);
    let (_, fault) = role.expect("a role");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let code = runtime.expect("a runtime").block_on(serve(fault));
    exit(code)
}

async fn serve(fault: Option<Fault>) -> i32 {
    let mut terminated = signal(SignalKind::terminate()).expect("a handler");
    let Some(fault) = fault else {
        let server = Server::start(ServerConfig::default_for_tests()).expect("a broker");
        println!("listening on {}", server.url());
        terminated.recv().await;
        return i32::from(server.stop().await > 0);
    };
    let peer = Peer::start(fault);
    println!("listening on {}", peer.url());
    terminated.recv().await;
    peer.drain(fault);
    i32::from(fault == Fault::FailAtExit)
}

impl Peer {
    /// Closes all connections in waves, and waits until their clients are gone.
    fn drain(&self, fault: Fault) {
        let mut state = self.state.lock().expect("no panic");
        state.is_draining = true;
        let connections = state.connections.clone();
        drop(state);
        let code = match fault {
            Fault::SayGoingAway => CloseCode::Away,
            _ => CloseCode::Restart,
        };
        let close = Message::Close(Some(CloseFrame { code, reason: "come back".into() }));
        let closed = if fault == Fault::CloseNobody { &[] } else { &connections[..] };
        for wave in closed.chunks(closed.len().div_ceil(WAVES).max(1)) {
            for connection in wave {
                let mut connection = connection.lock().expect("no panic");
                if fault == Fault::CutAtDrain {
                    connection.cut();
                    continue;
                }
                connection.event(&Event::Drain(Drain { window_ms: 100 }));
                connection.queue(close.clone());
            }
            std::thread::sleep(WAVE_INTERVAL);
        }
        let deadline = Instant::now() + GOODBYE_MAX;
        let is_open = || connections.iter().any(|c| c.lock().expect("no panic").is_open);
        while is_open() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
