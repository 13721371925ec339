//! A terminal of a test's own: what a program shows on it, and the keys that are pressed.

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::support::SOON;

pub(crate) struct Terminal {
    keys: File,
    /// The program's end, which outlives the program.
    device: File,
    screen: Arc<Mutex<vt100::Parser>>,
}

impl Terminal {
    pub(crate) fn open(columns: u16, rows: u16) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let path = ptsname(&ours, Vec::new()).unwrap();
        let theirs = open(path.as_c_str(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&theirs, size).unwrap();
        let ours = File::from(ours);
        let size_of = |cells| NonZero::new(cells).unwrap();
        let screen = Arc::new(Mutex::new(vt100::Parser::new(size_of(rows), size_of(columns), 0)));
        let (mut reader, sink) = (ours.try_clone().unwrap(), screen.clone());
        std::thread::spawn(move || {
            let mut bytes = [0; 4_096];
            while let Ok(len @ 1..) = reader.read(&mut bytes) {
                sink.lock().unwrap().process(&bytes[..len]);
            }
        });
        Self { keys: ours, device: File::from(theirs), screen }
    }

    /// Starts a program that has this terminal.
    pub(crate) fn start(&self, command: &mut Command) -> Child {
        let end = || Stdio::from(self.device.try_clone().unwrap());
        command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap()
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until this stands on the screen; all that stands there then.
    pub(crate) fn wait_for(&self, part: &str) -> String {
        let deadline = Instant::now() + SOON;
        loop {
            let text = self.screen.lock().unwrap().screen().contents();
            if text.contains(part) {
                return text;
            }
            assert!(Instant::now() < deadline, "never: {part:?}\n{text}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until the program has given the screen back.
    pub(crate) fn wait_until_given_back(&self) {
        let deadline = Instant::now() + SOON;
        let is_taken = || self.screen.lock().unwrap().screen().alternate_screen();
        while is_taken() || self.screen.lock().unwrap().screen().hide_cursor() {
            assert!(Instant::now() < deadline, "the screen is not given back");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether it is as a shell wants it: what is typed is shown, a line at a time.
    pub(crate) fn is_as_before(&self) -> bool {
        let modes = tcgetattr(&self.device).unwrap().local_modes;
        modes.contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG)
    }
}
