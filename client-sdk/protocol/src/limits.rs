//! Every maximum of the wire, with its reason. Limits of the broker's own resources are in the
//! engine's `limits`.

/// Longest topic name in bytes. A name travels in every message of the SDK protocol, so a longer
/// one would cost more than most payloads.
pub const TOPIC_BYTES_MAX: usize = 255;

/// Most levels (parts between dots) of a topic name. Bounds the work of a wildcard match.
pub const TOPIC_LEVELS_MAX: usize = 16;

/// Most commands in one client frame. A page subscribes to a few hundred topics in one frame;
/// beyond this one frame would hold its shard for too long.
pub const COMMANDS_PER_FRAME_MAX: usize = 1_024;

/// Deepest nesting of a JSON or MessagePack payload. Deeper values break parsers of subscribers.
pub const PAYLOAD_DEPTH_MAX: usize = 64;

/// Longest reason in a close frame: a control frame carries at most 125 bytes, two of them the
/// code (RFC 6455 section 5.5).
pub const CLOSE_REASON_BYTES_MAX: usize = 123;

/// Longest part of an error message that repeats what a parser said, in characters.
pub const ERROR_DETAIL_CHARS_MAX: usize = 200;

/// Longest token in a `connect` command, in bytes.
pub const TOKEN_BYTES_MAX: usize = 4_096;

/// Longest name in a `connect` command, in bytes. It travels in every list of who is present.
pub const NAME_BYTES_MAX: usize = 64;

/// Longest key of a `publish` command, in bytes: room for two UUIDs as text with words around
/// them. The broker keeps the key of every message that it may have to recognise.
pub const KEY_BYTES_MAX: usize = 128;

/// The rates that a subscription may ask for, in messages per second and topic. Few, so that all
/// subscribers of one rate share its frames: the broker's work grows with the rates in use.
pub const MAX_RATES: [u32; 4] = [1, 2, 5, 10];

/// Most messages in one page of history. Bounds the work of one command; who wants more asks
/// again.
pub const HISTORY_MESSAGES_MAX: u32 = 1_000;

/// Messages in one page of history unless the client says otherwise.
pub const HISTORY_MESSAGES_DEFAULT: u32 = 100;

/// Most members in one list of who is present, for the same reason.
pub const PRESENCE_MEMBERS_MAX: u32 = 1_000;

/// Members in one list of who is present unless the client says otherwise.
pub const PRESENCE_MEMBERS_DEFAULT: u32 = 100;

/// Most members that one presence event names as joined and left together. Beyond it asking for
/// the list is cheaper than being told.
pub const PRESENCE_CHANGES_MAX: usize = 100;

/// Most topics and patterns of one HTTP request. A page of quotes follows a few dozen; each is
/// looked up, and waited for, by itself.
pub const TOPICS_PER_REQUEST_MAX: usize = 100;

/// Longest time that a request may wait for something newer, in milliseconds. Proxies give up
/// on silent requests after a minute.
pub const WAIT_MS_MAX: u64 = 60_000;
