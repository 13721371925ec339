//! A client whose questions are held until there is something newer than what it has.

use super::http::write_get;
use super::meter::Meter;
use super::polling::note_answer;
use super::talk::{Fault, Heard, Notes, Setup, Talk};
use super::way::WAIT;

/// What it has.
#[derive(Debug, Default)]
pub(super) struct LongPolling {
    /// The position after which it wants to hear, as an `ETag`; none before the first answer.
    etag: Option<String>,
}

impl Talk for LongPolling {
    fn ask(&mut self, setup: &Setup, meter: &mut Meter, out: &mut Vec<u8>) {
        let target = match &self.etag {
            Some(etag) => {
                let position = etag.trim_start_matches("W/").trim_matches('"');
                format!("{}?after={position}&wait={}s", setup.path(), WAIT.as_secs())
            }
            None => format!("{}?limit=1", setup.path()),
        };
        write_get(setup, &target, &[], meter, out);
    }

    fn hear(
        &mut self,
        input: &[u8],
        notes: &mut Notes<'_>,
        _out: &mut Vec<u8>,
    ) -> Result<Heard, Fault> {
        let answer = note_answer(input, notes, &mut self.etag)?;
        Ok(answer.map_or(Heard::Nothing, Heard::Answer))
    }
}
