//! What one shard counts of HTTP: requests, and bytes by what they are. Written by its thread
//! alone, read by whoever scrapes.

use fanfare_engine::SharedCounter;
use http::StatusCode;

/// What a request or connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Poll,
    LongPoll,
    Sse,
    Raw,
    Sdk,
    Publish,
    /// The live page, and what is no request on a topic.
    Other,
}

impl Transport {
    pub(crate) const ALL: [Self; 7] =
        [Self::Poll, Self::LongPoll, Self::Sse, Self::Raw, Self::Sdk, Self::Publish, Self::Other];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Poll => "poll",
            Self::LongPoll => "long_poll",
            Self::Sse => "sse",
            Self::Raw => "raw",
            Self::Sdk => "sdk",
            Self::Publish => "publish",
            Self::Other => "other",
        }
    }
}

/// Bytes in one direction, by what they are.
#[derive(Debug, Default)]
pub(crate) struct Bytes {
    /// Heads of requests and responses.
    pub(crate) head: SharedCounter,
    /// What marks off a body in the stream: sizes of chunks.
    pub(crate) framing: SharedCounter,
    /// What stands around payloads in a body.
    pub(crate) envelope: SharedCounter,
    /// Content of messages.
    pub(crate) payload: SharedCounter,
}

/// Statuses that are counted apart.
const STATUSES: [u16; 22] = [
    101, 200, 204, 304, 400, 403, 404, 405, 406, 408, 413, 414, 415, 417, 426, 429, 431, 500, 501,
    503, 505, 507,
];

/// The counters of one transport.
#[derive(Debug, Default)]
pub(crate) struct TransportCounters {
    pub(crate) bytes_in: Bytes,
    pub(crate) bytes_out: Bytes,
    /// Messages that were carried.
    pub(crate) messages: SharedCounter,
    statuses: [SharedCounter; STATUSES.len()],
    other_statuses: SharedCounter,
}

impl TransportCounters {
    /// Requests that were answered, by status.
    pub(crate) fn requests(&self) -> impl Iterator<Item = (String, u64)> {
        let known = STATUSES.iter().zip(&self.statuses);
        let known = known.map(|(status, count)| (status.to_string(), count.get()));
        known.chain([("other".to_owned(), self.other_statuses.get())])
    }
}

/// The counters of a shard.
#[derive(Debug, Default)]
pub(crate) struct HttpCounters {
    transports: [TransportCounters; Transport::ALL.len()],
    /// Connections that speak HTTP now.
    pub(crate) connections: SharedCounter,
}

impl HttpCounters {
    pub(crate) fn of(&self, transport: Transport) -> &TransportCounters {
        &self.transports[transport as usize]
    }
}

/// What an answer is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    pub(super) transport: Transport,
    pub(super) messages: u64,
    /// Bytes of their payloads.
    pub(super) payload: u64,
}

impl Usage {
    pub(super) fn nothing(transport: Transport) -> Self {
        Self { transport, messages: 0, payload: 0 }
    }
}

/// Bytes of one request and its answer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sizes {
    pub(super) head_in: usize,
    pub(super) framing_in: u64,
    pub(super) body_in: usize,
    pub(super) head_out: usize,
    pub(super) body_out: usize,
}

impl HttpCounters {
    /// Counts a request that was answered. Payloads are in the body of a publish, and of the
    /// answer to anything else.
    pub(super) fn count(&self, usage: Usage, status: StatusCode, sizes: Sizes) {
        let counters = self.of(usage.transport);
        let (payload_in, payload_out) = match usage.transport {
            Transport::Publish => (usage.payload, 0),
            _ => (0, usage.payload),
        };
        let (bytes_in, bytes_out) = (&counters.bytes_in, &counters.bytes_out);
        bytes_in.head.add(sizes.head_in as u64);
        bytes_out.head.add(sizes.head_out as u64);
        if sizes.body_in > 0 {
            bytes_in.framing.add(sizes.framing_in);
            bytes_in.payload.add(payload_in);
            bytes_in.envelope.add((sizes.body_in as u64).saturating_sub(payload_in));
        }
        if sizes.body_out > 0 {
            bytes_out.payload.add(payload_out);
            bytes_out.envelope.add((sizes.body_out as u64).saturating_sub(payload_out));
            counters.messages.add(usage.messages);
        }
        let known = STATUSES.iter().position(|known| *known == status.as_u16());
        known.map_or(&counters.other_statuses, |at| &counters.statuses[at]).add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_counted_once_as_what_it_is() {
        let counters = HttpCounters::default();
        let sizes = Sizes { head_in: 80, framing_in: 12, body_in: 30, head_out: 100, body_out: 50 };
        let usage = |transport| Usage { transport, messages: 2, payload: 20 };
        counters.count(usage(Transport::Poll), StatusCode::OK, Sizes { body_in: 0, ..sizes });
        counters.count(usage(Transport::Publish), StatusCode::IM_A_TEAPOT, sizes);
        let parts = |bytes: &Bytes| {
            [&bytes.head, &bytes.framing, &bytes.envelope, &bytes.payload].map(SharedCounter::get)
        };
        let poll = counters.of(Transport::Poll);
        assert_eq!(
            (parts(&poll.bytes_in), parts(&poll.bytes_out)),
            ([80, 0, 0, 0], [100, 0, 30, 20])
        );
        let publish = counters.of(Transport::Publish);
        assert_eq!(parts(&publish.bytes_in), [80, 12, 10, 20]);
        assert_eq!((parts(&publish.bytes_out), publish.messages.get()), ([100, 0, 50, 0], 2));
        assert!(poll.requests().any(|(status, count)| (status.as_str(), count) == ("200", 1)));
        assert!(publish.requests().any(|(status, count)| (status.as_str(), count) == ("other", 1)));
    }
}
