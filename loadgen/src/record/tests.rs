//! What the record makes of every order in which messages may come.

use fanfare_protocol::Mode;
use proptest::prelude::*;

use super::*;
use crate::plan::{Target, Transport};

fn record(connections: u32, topics: u32, each: u32, publishers: u8) -> Record {
    record_of(connections, topics, each, |plan| plan.publishers = publishers)
}

fn record_of(connections: u32, topics: u32, each: u32, change: impl FnOnce(&mut Plan)) -> Record {
    let target = Target::parse("ws://127.0.0.1:1").unwrap();
    let topics = (0..topics).map(|t| t.to_string()).collect();
    let shape = Shape { connections, topics, topics_per_connection: each };
    let mut plan = Plan { run: 9, ..Plan::new(target, Transport::Json, shape) };
    change(&mut plan);
    let mut record = Record::new(&plan, Share { first: 0, count: connections, source: None });
    record.set_measuring(true);
    record
}

fn content(publisher: u8, topic: u32, sequence: u32) -> Vec<u8> {
    let mut content = Vec::new();
    Stamp { run: 9, publisher, topic, sequence, intended_ns: 1_000, late_us: 1 }
        .write(&mut content);
    content
}

fn take(record: &mut Record, sequences: &[u32]) {
    for &sequence in sequences {
        record.message(0, 0, &content(0, 0, sequence), 10_000);
    }
}

#[test]
fn an_orderly_sequence_has_no_fault() {
    let mut record = record(1, 1, 1, 1);
    take(&mut record, &[0, 1, 2, 3]);
    let totals = record.finish(&[vec![4]]);
    assert_eq!((totals.lost, totals.doubled, totals.reordered, totals.messages), (0, 0, 0, 4));
    assert!((totals.response.percentiles().max - 9.0).abs() < 0.1);
    assert!((totals.service.percentiles().max - 8.0).abs() < 0.1);
}

#[test]
fn each_fault_is_counted_as_what_it_is() {
    for (sequences, lost, doubled, reordered) in [
        (&[0, 2, 3][..], 1, 0, 0),
        (&[0, 1, 1, 2, 3], 0, 1, 0),
        (&[0, 2, 1, 3], 0, 0, 1),
        (&[3, 0, 1, 2], 0, 0, 3),
        (&[0, 1], 2, 0, 0),
        (&[], 4, 0, 0),
        (&[3, 1, 1], 2, 1, 1),
    ] {
        let mut record = record(1, 1, 1, 1);
        take(&mut record, sequences);
        let totals = record.finish(&[vec![4]]);
        let told = (totals.lost, totals.doubled, totals.reordered);
        assert_eq!(told, (lost, doubled, reordered), "{sequences:?}");
    }
}

#[test]
fn sequences_of_connections_topics_and_publishers_are_apart() {
    let mut record = record(2, 3, 2, 2);
    // Connection 0 has topics 0 and 1, connection 1 has topics 2 and 0.
    for (connection, first, topic) in [(0, 0, 0), (0, 0, 1), (1, 2, 2), (1, 2, 0)] {
        for publisher in 0..2 {
            let stamp = record.message(connection, first, &content(publisher, topic, 0), 0);
            assert!(stamp.is_some());
        }
    }
    assert_eq!(record.message(1, 2, &content(0, 1, 0), 0), None, "not subscribed");
    assert_eq!(record.message(0, 0, &content(2, 0, 0), 0), None, "no such publisher");
    let totals = record.finish(&[vec![1, 1, 1], vec![1, 1, 2]]);
    assert_eq!((totals.messages, totals.foreign), (8, 2));
    assert_eq!(totals.lost, 1, "the second message of publisher 1 on topic 2");
}

#[test]
fn messages_of_another_run_are_foreign() {
    let mut record = record(1, 1, 1, 1);
    let mut other = Vec::new();
    Stamp { run: 8, ..Stamp::default() }.write(&mut other);
    assert_eq!(record.message(0, 0, &other, 0), None);
    assert_eq!(record.message(0, 0, b"no stamp", 0), None);
    assert_eq!(record.finish(&[vec![0]]).foreign, 1);
}

#[test]
fn mode_latest_may_pass_over_all_but_the_newest() {
    for (sequences, lost, doubled, reordered, passed_over) in [
        (&[0, 3, 7][..], 0, 0, 0, 5),
        (&[7], 0, 0, 0, 7),
        (&[0, 6], 1, 0, 0, 5),
        (&[], 1, 0, 0, 0),
        (&[0, 7, 7], 0, 1, 0, 6),
        (&[0, 7, 5], 0, 0, 1, 6),
    ] {
        let mut record = record_of(1, 1, 1, |plan| plan.mode = Some(Mode::Latest));
        take(&mut record, sequences);
        let totals = record.finish(&[vec![8]]);
        let told = (totals.lost, totals.doubled, totals.reordered, totals.passed_over);
        assert_eq!(told, (lost, doubled, reordered, passed_over), "{sequences:?}");
    }
}

fn tell_gap(record: &mut Record, from: u64, to: u64) {
    let (topic, epoch) = ("0".to_owned(), "e".to_owned());
    let mut content = Vec::new();
    Event::Gap(Gap { topic, epoch, from, to }).encode(Codec::Json, &mut content);
    assert_eq!(record.message(0, 0, &content, 0), None);
}

#[test]
fn a_gap_excuses_exactly_what_it_tells() {
    for (from, to, then, lost, gap_messages, false_gap_messages) in [
        (3, 5, &[5, 6][..], 0, 3, 0),
        (3, 5, &[6], 1, 3, 0),
        (3, 5, &[4, 5, 6], 0, 2, 1),
        (3, 7, &[], 0, 5, 0),
        (3, 4, &[2, 3, 4, 5, 6], 0, 0, 2),
    ] {
        let mut record = record_of(1, 1, 1, |plan| plan.gaps_are_excused = true);
        take(&mut record, &[0, 1]);
        tell_gap(&mut record, from, to);
        take(&mut record, then);
        let totals = record.finish(&[vec![7]]);
        let told = (totals.lost, totals.gap_messages, totals.false_gap_messages);
        assert_eq!(told, (lost, gap_messages, false_gap_messages), "{from}..={to}, {then:?}");
    }
}

#[test]
fn a_gap_excuses_nothing_unless_the_plan_says_so() {
    let mut record = record(1, 1, 1, 1);
    tell_gap(&mut record, 1, 2);
    take(&mut record, &[2]);
    assert_eq!(record.finish(&[vec![3]]).lost, 2);
}

#[test]
fn messages_of_before_the_subscription_are_no_fault() {
    let mut record = record_of(1, 1, 1, |plan| plan.first_sequence = 100);
    take(&mut record, &[99, 100, 102]);
    let totals = record.finish(&[vec![103]]);
    assert_eq!((totals.messages, totals.lost, totals.doubled + totals.reordered), (2, 1, 0));
}

#[test]
fn a_connection_that_begins_anew_takes_what_comes_first() {
    let mut record = record(2, 1, 1, 1);
    take(&mut record, &[0]);
    record.restart(0);
    take(&mut record, &[40, 41]);
    assert!(record.message(1, 0, &content(0, 0, 0), 0).is_some());
    let totals = record.finish(&[vec![42]]);
    assert_eq!((totals.lost, totals.messages), (41, 4), "the other one is judged as before");
}

proptest! {
    /// Whatever comes in whatever order: what is lost, what is new and what is doubled add up.
    #[test]
    fn counts_add_up(sequences in prop::collection::vec(0_u32..40, 0..120)) {
        let mut record = record(1, 1, 1, 1);
        take(&mut record, &sequences);
        let received = record.received();
        let totals = record.finish(&[vec![40]]);
        let distinct: std::collections::HashSet<u32> = sequences.iter().copied().collect();
        prop_assert_eq!(received, distinct.len() as u64);
        prop_assert_eq!(totals.lost, 40 - distinct.len() as u64);
        prop_assert_eq!(totals.doubled as usize, sequences.len() - distinct.len());
    }
}
