//! Where the log of `serve` and `demo` goes: standard error, as text or as JSON.
//!
//! Owns the subscriber of the process, which only the program installs; what is told is told by
//! whoever it happens to. Standard output is for what a command answers.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::IsTerminal;
use std::panic::PanicHookInfo;
use std::sync::Arc;
use std::time::Duration;

use tracing::error;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::{Registry, fmt, reload};

use super::log_lines::{LogLines, lines_to};
use crate::logs::{LogControl, LogFormat, LogLevel, LogOptions, LogOutput, target};

/// How long the end of the program waits for lines that are not written yet.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);

/// The log of this process. Lines that wait are written when it is dropped.
pub(super) struct Log {
    lines: LogLines,
    pub(super) control: LogControl,
}

/// Sends every event of this process to standard error from now on, panics included.
pub(super) fn install(options: &LogOptions) -> anyhow::Result<Log> {
    let lines = lines_to(std::io::stderr())?;
    let (filter, level) = reload::Layer::new(options.level.targets());
    let layer = layer(options.format, std::io::stderr().is_terminal(), lines.clone());
    tracing::subscriber::set_global_default(Registry::default().with(filter).with(layer))?;
    std::panic::set_hook(Box::new(tell_panic));
    let output = StandardError { level, lines: lines.clone() };
    let control = LogControl::new(options.level.clone(), Arc::new(output));
    Ok(Log { lines, control })
}

fn layer<S>(
    format: LogFormat,
    is_terminal: bool,
    lines: LogLines,
) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    let is_text = match format {
        LogFormat::Auto => is_terminal,
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    // By default it prints its own errors to standard error, and panics where that is closed.
    let layer = fmt::layer().log_internal_errors(false).with_writer(lines);
    if is_text {
        let has_colours = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        Box::new(layer.with_ansi(has_colours))
    } else {
        Box::new(layer.json().flatten_event(true).with_ansi(false))
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.lines.flush(FLUSH_TIMEOUT);
    }
}

struct StandardError<S> {
    level: reload::Handle<Targets, S>,
    lines: LogLines,
}

impl<S> LogOutput for StandardError<S> {
    fn set_level(&self, level: &LogLevel) {
        // Fails only if there is no subscriber any more.
        let _ = self.level.reload(level.targets());
    }

    fn lines_dropped(&self) -> u64 {
        self.lines.dropped()
    }
}

/// A panic as one line like all others, with a backtrace if `RUST_BACKTRACE` asks for one.
fn tell_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let backtrace = Backtrace::capture();
    let is_captured = backtrace.status() == BacktraceStatus::Captured;
    error!(
        target: target::NODE,
        thread = thread.name(),
        place = panic.location().map(tracing::field::display),
        said = panic.payload_as_str(),
        backtrace = is_captured.then(|| tracing::field::display(&backtrace)),
        "a thread panicked; this is a fault of the broker"
    );
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};

    use parking_lot::Mutex;
    use tracing::info;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What one event looks like.
    fn line(format: LogFormat, is_terminal: bool) -> String {
        let written = Written::default();
        let lines = lines_to(written.clone()).unwrap();
        let subscriber = Registry::default().with(layer(format, is_terminal, lines.clone()));
        tracing::subscriber::with_default(subscriber, || {
            info!(target: "fanfare::node", shards = 2, name = "two\nlines", "started");
        });
        lines.flush(Duration::from_secs(30));
        String::from_utf8(written.0.lock().clone()).unwrap()
    }

    #[test]
    fn programs_read_one_json_object_in_each_line() {
        for text in [line(LogFormat::Json, true), line(LogFormat::Auto, false)] {
            assert_eq!(text.lines().count(), 1, "{text}");
            let event: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(
                (&event["level"], &event["target"]),
                (&"INFO".into(), &"fanfare::node".into())
            );
            assert_eq!((&event["message"], &event["shards"]), (&"started".into(), &2.into()));
            assert!(event["timestamp"].as_str().unwrap().ends_with('Z'), "{text}");
        }
    }

    #[test]
    fn people_read_text_with_colours_on_a_terminal_alone() {
        let plain = line(LogFormat::Text, false);
        assert!(plain.contains(" INFO fanfare::node: started shards=2 name=\"two"), "{plain}");
        assert_eq!((plain.lines().count(), plain.contains('\x1b')), (1, false), "{plain}");
        let terminal = line(LogFormat::Auto, true);
        assert!(terminal.contains("started"), "{terminal}");
        assert_eq!(
            terminal.contains('\x1b'),
            std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
        );
    }
}
