//! A client that asks for the newest message at an interval.

use super::http::{read_answer, write_get};
use super::meter::Meter;
use super::talk::{Fault, Heard, Notes, Setup, Talk};

/// What it has.
#[derive(Debug, Default)]
pub(super) struct Polling {
    /// The last answer's `ETag`, sent back where the way does so.
    etag: Option<String>,
}

/// Notes an answer; tells its length.
pub(super) fn note_answer(
    input: &[u8],
    notes: &mut Notes<'_>,
    etag: &mut Option<String>,
) -> Result<Option<usize>, Fault> {
    let Some(answer) = read_answer(input)? else { return Ok(None) };
    let meter = notes.meter();
    meter.received.head += answer.head.bytes as u64;
    meter.records += 1;
    notes.content(answer.body);
    if let Some(counts) = notes.tally.counts() {
        counts.polls += 1;
        counts.not_modified += u64::from(answer.head.status == 304);
    }
    if let Some(told) = answer.head.etag.filter(|told| etag.as_deref() != Some(*told)) {
        *etag = Some(told.to_owned());
    }
    Ok(Some(answer.head.bytes + answer.body.len()))
}

impl Talk for Polling {
    fn ask(&mut self, setup: &Setup, meter: &mut Meter, out: &mut Vec<u8>) {
        let target = format!("{}?limit=1", setup.path());
        let known = self.etag.as_deref().filter(|_| setup.way.has_etag());
        let condition = known.map(|etag| format!("If-None-Match: {etag}\r\n"));
        write_get(setup, &target, condition.as_deref().as_slice(), meter, out);
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
