//! Lines on their way to standard error, which nobody who writes one waits for.
//!
//! A thread writes them in their order. Where it cannot keep up, as when nobody reads a pipe, lines
//! are dropped and counted. `tracing-appender` does nearly the same, but does not count what
//! could not be written, and at the end prints to standard output if its queue is stuck.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait: a megabyte at most, and more than any burst of events has.
const WAITING_MAX: usize = 4_096;

/// How often a full queue is looked at again while the end waits for it.
const RETRY: Duration = Duration::from_millis(5);

/// The way to the thread that writes; clones lead to the same.
#[derive(Clone, Debug)]
pub(super) struct LogLines {
    queue: SyncSender<Entry>,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Entry {
    Line(Vec<u8>),
    /// Answered when everything before it is written.
    Flush(SyncSender<()>),
}

/// Starts the thread that writes lines to `out`.
pub(super) fn lines_to(out: impl Write + Send + 'static) -> io::Result<LogLines> {
    let (queue, entries) = sync_channel(WAITING_MAX);
    let dropped = Arc::<AtomicU64>::default();
    let counter = dropped.clone();
    thread::Builder::new().name("log".to_owned()).spawn(move || write(&entries, out, &counter))?;
    Ok(LogLines { queue, dropped })
}

fn write(entries: &Receiver<Entry>, mut out: impl Write, dropped: &AtomicU64) {
    for entry in entries {
        match entry {
            // Whoever reads may have gone; the next line may find somebody else.
            Entry::Line(line) => {
                if out.write_all(&line).and_then(|()| out.flush()).is_err() {
                    dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
            Entry::Flush(done) => drop(done.try_send(())),
        }
    }
}

impl LogLines {
    /// Lines that could not be written so far.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until all lines so far are written, or for so long.
    pub(super) fn flush(&self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        let (done, is_done) = sync_channel(1);
        while self.queue.try_send(Entry::Flush(done.clone())).is_err() {
            if Instant::now() >= deadline {
                return;
            }
            thread::sleep(RETRY);
        }
        // An error is the timeout, or a thread that is gone.
        let _ = is_done.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

/// One event is one write.
impl Write for LogLines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.queue.try_send(Entry::Line(line.to_vec())).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for LogLines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;

    /// Takes bytes only while it is not locked, and none if it is broken.
    #[derive(Clone, Default)]
    struct Reader {
        taken: Arc<Mutex<Vec<u8>>>,
        is_broken: bool,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.is_broken {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            self.taken.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn lines_are_written_in_their_order() {
        let reader = Reader::default();
        let mut lines = lines_to(reader.clone()).unwrap();
        for i in 0..100 {
            lines.write_all(format!("{i}\n").as_bytes()).unwrap();
        }
        lines.flush(LONG);
        let expected: String = (0..100).map(|i| format!("{i}\n")).collect();
        assert_eq!(*reader.taken.lock(), expected.as_bytes());
        assert_eq!(lines.dropped(), 0);
    }

    #[test]
    fn nobody_waits_for_a_reader_that_does_not_read() {
        let reader = Reader::default();
        let stuck = reader.taken.lock();
        let mut lines = lines_to(reader.clone()).unwrap();
        for _ in 0..WAITING_MAX + 1_000 {
            lines.write_all(b"x\n").unwrap();
        }
        // One may be in the hands of the thread.
        assert!((999..=1_000).contains(&lines.dropped()), "{}", lines.dropped());
        lines.flush(Duration::from_millis(10));
        drop(stuck);
        lines.flush(LONG);
        assert_eq!(reader.taken.lock().len() as u64 / 2 + lines.dropped(), 5_096);
    }

    #[test]
    fn lines_that_nobody_can_read_are_counted_and_harm_nobody() {
        let mut lines = lines_to(Reader { is_broken: true, ..Reader::default() }).unwrap();
        (0..5).for_each(|_| lines.write_all(b"x\n").unwrap());
        lines.flush(LONG);
        assert_eq!(lines.dropped(), 5);
    }
}
