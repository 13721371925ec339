//! Whether the node is well, what its shards do and what its process takes.

use super::super::values;
use super::Source::{Labelled, Node, Shards};
use super::{Metric, SHARD, counter, gauge};

pub(super) const HEALTH: &[Metric] = &[
    gauge(
        "fanfare_build_info",
        "info",
        "1, with the broker's version as a label.",
        Labelled(values::build_info),
    )
    .labels(&["version"]),
    gauge(
        "fanfare_ready",
        "flag",
        "1 while connections are accepted, 0 while it stops, and once it has shed for 5 seconds.",
        Node(|s| Some(f64::from(u8::from(s.is_ready())))),
    ),
    gauge(
        "fanfare_shedding",
        "flag",
        "1 while new connections are refused because the memory budget is used up.",
        Node(|s| Some(f64::from(u8::from(s.admission().is_shedding())))),
    ),
    gauge(
        "fanfare_shard_tick_age_seconds",
        "seconds",
        "Time since a shard last looked at its timers, which it does 20 times a second. Much more \
         than that is a shard that hangs.",
        Shards(|s, shard| s.tick_age_seconds(shard)),
    )
    .labels(SHARD),
    counter(
        "fanfare_log_lines_dropped_total",
        "lines",
        "Lines of the log that could not be written, because nobody reads standard error or too \
         slowly.",
        Node(|s| Some(s.log_lines_dropped() as f64)),
    ),
];

pub(super) const SHARDS: &[Metric] = &[
    gauge(
        "fanfare_shard_busy_ratio",
        "ratio",
        "Part of the last second that the shard worked.",
        Shards(|s, shard| s.shard(shard).busy_ratio_millionths.get() as f64 / 1e6),
    )
    .labels(SHARD),
    counter(
        "fanfare_shard_busy_seconds_total",
        "seconds",
        "Time that the shard worked.",
        Shards(|s, shard| s.shard(shard).busy_ns.get() as f64 / 1e9),
    )
    .labels(SHARD),
    gauge(
        "fanfare_shard_connections",
        "connections",
        "Connections of the shard now.",
        Shards(|s, shard| s.shard(shard).connections.get() as f64),
    )
    .labels(SHARD),
    counter(
        "fanfare_shard_messages_out_total",
        "messages",
        "Deliveries of the shard.",
        Shards(|s, shard| s.shard(shard).messages_out() as f64),
    )
    .labels(SHARD),
    gauge(
        "fanfare_shard_mailbox_messages",
        "messages",
        "Messages that wait for the shard.",
        Shards(|s, shard| s.mailbox(shard).len() as f64),
    )
    .labels(SHARD),
    gauge(
        "fanfare_shard_mailbox_bytes",
        "bytes",
        "Payload bytes of these.",
        Shards(|s, shard| s.mailbox(shard).bytes() as f64),
    )
    .labels(SHARD),
];

pub(super) const PROCESS: &[Metric] = &[
    counter(
        "process_cpu_seconds_total",
        "seconds",
        "CPU time, user and system.",
        Node(|s| Some(s.process.cpu_seconds)),
    ),
    gauge(
        "process_resident_memory_bytes",
        "bytes",
        "Memory that is in RAM.",
        Node(|s| s.process.resident_bytes),
    ),
    gauge(
        "process_virtual_memory_bytes",
        "bytes",
        "Memory that is mapped.",
        Node(|s| s.process.virtual_bytes),
    ),
    gauge(
        "process_open_fds",
        "descriptors",
        "File descriptors in use.",
        Node(|s| s.process.open_fds),
    ),
    gauge(
        "process_max_fds",
        "descriptors",
        "File descriptors that the process may use.",
        Node(|s| s.process.max_fds),
    ),
    gauge("process_threads", "threads", "Threads.", Node(|s| s.process.threads)),
    gauge(
        "process_start_time_seconds",
        "seconds",
        "When it started, in seconds of Unix time.",
        Node(|s| Some(s.start_seconds())),
    ),
];
