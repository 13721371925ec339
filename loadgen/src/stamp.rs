//! The stamp that every payload carries: who sent it, where in which sequence, and when.
//!
//! Owns its text form and the clock. The form has a fixed width and starts with a byte that our
//! payloads and topic names hold nowhere else, so a receiver finds it with one `memchr` and
//! decodes it without a parser, in JSON, MessagePack and raw frames alike.

use rustix::time::{ClockId, clock_gettime};

/// Marks the start of a stamp. Topic names and payloads of this program must not hold it.
pub(crate) const MARK: u8 = b'~';

/// Length of a stamp in bytes: the mark, then 40 hexadecimal digits.
pub(crate) const STAMP_BYTES: usize = 1 + HEX_DIGITS;

/// Most topics of one run; a stamp has 20 bits for the topic.
pub(crate) const TOPICS_MAX: usize = 1 << 20;

/// Most messages of one publisher on one topic in one run; a stamp has 28 bits for the sequence.
pub(crate) const SEQUENCE_MAX: u32 = 1 << 28;

const HEX_DIGITS: usize = 40;

/// What a stamp says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Tells messages of this run from those of an earlier one that arrive late.
    pub run: u8,
    /// Index of the publisher.
    pub publisher: u8,
    /// Index of the topic, below [`TOPICS_MAX`].
    pub topic: u32,
    /// Place in this publisher's sequence on this topic; the first is 0.
    pub sequence: u32,
    /// When the message should have been sent, in ns of [`now_ns`].
    pub intended_ns: u64,
    /// How much later it was sent, in µs.
    pub late_us: u32,
}

impl Stamp {
    /// Appends the stamp's text to `out`.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let place = u64::from(self.run) << 56
            | u64::from(self.publisher) << 48
            | u64::from(self.topic & 0xf_ffff) << 28
            | u64::from(self.sequence & 0xfff_ffff);
        out.push(MARK);
        write_hex(&place.to_be_bytes(), out);
        write_hex(&self.intended_ns.to_be_bytes(), out);
        write_hex(&self.late_us.to_be_bytes(), out);
    }

    /// The first stamp in a frame's content; `None` if it has none.
    ///
    /// Fields are not checked: whoever uses them checks that they are in range.
    #[must_use]
    #[inline]
    pub(crate) fn find(content: &[u8]) -> Option<Self> {
        Self::find_all(content).next()
    }

    /// All stamps in `content`, in order.
    #[inline]
    pub(crate) fn find_all(content: &[u8]) -> impl Iterator<Item = Self> {
        memchr::memchr_iter(MARK, content).filter_map(|at| Self::read(&content[at + 1..]))
    }

    /// The stamp whose digits stand at the start of `text`.
    ///
    /// The mark may also be a byte of a number in MessagePack, such as an offset of 126. The name
    /// of the next member begins at most eight bytes later, with a byte that is not ASCII.
    #[inline]
    fn read(text: &[u8]) -> Option<Self> {
        let (words, _) = text.first_chunk::<HEX_DIGITS>()?.as_chunks::<8>();
        let &[a, b, c, d, e] = words else { return None };
        if !a.is_ascii() {
            return None;
        }
        let place = u64::from(read_hex(a)) << 32 | u64::from(read_hex(b));
        Some(Self {
            run: (place >> 56) as u8,
            publisher: (place >> 48) as u8,
            topic: (place >> 28) as u32 & 0xf_ffff,
            sequence: place as u32 & 0xfff_ffff,
            intended_ns: u64::from(read_hex(c)) << 32 | u64::from(read_hex(d)),
            late_us: read_hex(e),
        })
    }
}

/// Nanoseconds of `CLOCK_MONOTONIC`, which all processes of one machine share.
#[must_use]
pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

fn write_hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

/// Eight hexadecimal digits as a number, all eight at a time in one register.
fn read_hex(digits: [u8; 8]) -> u32 {
    let text = u64::from_le_bytes(digits);
    // A letter has bit 6 set and its low four bits are its value minus 9.
    let letters = (text >> 6) & 0x0101_0101_0101_0101;
    let nibbles = (text & 0x0f0f_0f0f_0f0f_0f0f) + letters * 9;
    // The first digit is the most significant and stands in the lowest byte: join neighbours.
    let bytes = (nibbles << 4 | nibbles >> 8) & 0x00ff_00ff_00ff_00ff;
    let halves = (bytes << 8 | bytes >> 16) & 0x0000_ffff_0000_ffff;
    (halves << 16 | halves >> 32) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_stamp_is_read_as_it_was_written(
            run: u8, publisher: u8, topic in 0..TOPICS_MAX as u32,
            sequence in 0..SEQUENCE_MAX, intended_ns: u64, late_us: u32,
        ) {
            let stamp = Stamp { run, publisher, topic, sequence, intended_ns, late_us };
            let mut text = br#"{"topic":"a.b","offset":7,"data":{"s":""#.to_vec();
            let start = text.len();
            stamp.write(&mut text);
            prop_assert_eq!(text.len() - start, STAMP_BYTES);
            text.extend_from_slice(b"\"}}");
            prop_assert_eq!(Stamp::find(&text), Some(stamp));
        }

        #[test]
        fn any_content_is_read_without_panic(content: Vec<u8>) {
            let _ = Stamp::find(&content);
        }
    }

    #[test]
    fn the_mark_as_a_byte_of_an_offset_is_passed_over() {
        use fanfare_protocol::{Codec, MessageHead, Payload};
        let stamp = Stamp { run: 3, sequence: 7, ..Stamp::default() };
        let mut payload = br#"{"s":""#.to_vec();
        stamp.write(&mut payload);
        payload.extend_from_slice(br#""}"#);
        let payload = Payload::json(payload).unwrap();
        let long = [0x7e7e_7e7e, 0x7e30_3132_3334_3536, 0x7e61_7e61_7e61_7e61];
        for offset in (0..70_000).chain(long) {
            let mut frame = Vec::new();
            MessageHead { topic: "a.b", offset, prev: Some(126) }.encode(
                Codec::MsgPack,
                &payload,
                &mut frame,
            );
            assert_eq!(Stamp::find(&frame), Some(stamp), "offset {offset}");
        }
    }

    #[test]
    fn content_without_a_whole_stamp_has_none() {
        assert_eq!(Stamp::find(b""), None);
        assert_eq!(Stamp::find(br#"{"event":"ping"}"#), None);
        assert_eq!(Stamp::find(b"~0123456789"), None);
    }

    #[test]
    fn the_clock_goes_forward() {
        let before = now_ns();
        std::thread::sleep(std::time::Duration::from_millis(1));
        assert!(now_ns() >= before + 1_000_000);
    }
}
