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
