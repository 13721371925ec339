//! What the hot path costs without a kernel: decoding, publishing, fanning out. Run with
//! `cargo bench -p fanfare-engine`; the price with a kernel is `loadgen fanout --floor`.

use std::hint::black_box;
use std::io::{self, Read, Write};
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use fanfare_engine::ws::{DecodeLimits, Decoder};
use fanfare_engine::{
    ConnectionKind, Limits, Mailbox, Now, Shard, ShardCounters, Socket, StreamOptions, TopicTable,
};
use fanfare_protocol::{Codec, Command, Payload, TopicName};

/// A socket that takes everything and costs nothing.
#[derive(Debug)]
struct Sink;

impl Read for Sink {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(black_box(bytes).len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Socket for Sink {
    fn shutdown_write(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const TICK: &str = r#"{"s":"ACME","p":187.25,"z":300,"b":187.24,"a":187.26,"t":1700000000000}"#;

fn shard_with_raw_subscribers(subscribers: usize) -> (Shard<Sink>, Arc<TopicTable>, TopicName) {
    let mailboxes = vec![Arc::new(Mailbox::new(|| {}))];
    let topics = Arc::new(TopicTable::new(mailboxes, Arc::new(Limits::default()), 1));
    topics.mailboxes()[0].stay_awake();
    let mut shard = Shard::new(0, "bench".into(), topics.clone());
    let topic = TopicName::new("ticks.ACME").expect("a name");
    for _ in 0..subscribers {
        shard.open(Sink, &raw(&topic), Now::default());
    }
    (shard, topics, topic)
}

fn fan_out(c: &mut Criterion) {
    const SUBSCRIBERS: usize = 10_000;
    let mut group = c.benchmark_group("fan_out_to_10000");
    for in_flight in [1u64, 16] {
        group.throughput(Throughput::Elements(SUBSCRIBERS as u64 * in_flight));
        group.bench_function(format!("{in_flight} in flight"), |b| {
            let (mut shard, topics, topic) = shard_with_raw_subscribers(SUBSCRIBERS);
            let counters = ShardCounters::default();
            let payload = Payload::json(TICK).expect("JSON");
            b.iter(|| {
                for _ in 0..in_flight {
                    topics
                        .publish(&topic, &payload, None, &counters, Now::default())
                        .expect("room");
                }
                shard.drain_mailbox(usize::MAX, Now::default());
                while shard.flush(64, Now::default()) {}
            });
        });
    }
    group.finish();
}

fn decode(c: &mut Criterion) {
    let mut frame = vec![0x81, 0x80 | TICK.len() as u8, 1, 2, 3, 4];
    frame.extend(TICK.bytes().enumerate().map(|(i, byte)| byte ^ (i % 4 + 1) as u8));
    let limits = DecodeLimits { message_bytes_max: 65_536, empty_fragments_max: 16 };
    c.bench_function("decode_one_tick", |b| {
        let mut decoder = Decoder::default();
        b.iter_batched_ref(
            || frame.clone(),
            |bytes| {
                let mut position = 0;
                black_box(decoder.next(bytes, &mut position, &limits)).is_ok()
            },
            BatchSize::SmallInput,
        );
    });
    let command = format!(r#"{{"id":3,"publish":{{"topic":"ticks.ACME","data":{TICK}}}}}"#);
    c.bench_function("decode_one_publish_command", |b| {
        b.iter(|| Command::decode_frame(Codec::Json, black_box(command.as_bytes())));
    });
}

criterion_group!(benches, fan_out, decode);
criterion_main!(benches);

/// The raw stream of a topic.
fn raw(topic: &TopicName) -> ConnectionKind {
    ConnectionKind::Raw { topic: topic.clone(), since: None, options: StreamOptions::default() }
}
