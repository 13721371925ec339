//! A mailbox between threads that push and the shard that sleeps.

use std::sync::Arc;

use fanfare_protocol::Payload;
use shuttle::sync::{Condvar, Mutex};
use shuttle::thread;

use super::{check, check_finds};
use crate::fault::Fault;
use crate::mailbox::{Mail, Mailbox};
use crate::time::Now;
use crate::topics::{Message, Topic};

const PUSHERS: u64 = 2;
const EACH: u64 = 2;

/// What wakes a sleeping thread, as the waker of a poll does: a call before the sleep counts.
#[derive(Default)]
struct Bell {
    has_rung: Mutex<bool>,
    rung: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.has_rung.lock().unwrap() = true;
        self.rung.notify_one();
    }

    fn wait(&self) {
        let has_rung = self.has_rung.lock().unwrap();
        *self.rung.wait_while(has_rung, |has_rung| !*has_rung).unwrap() = false;
    }
}

fn message(pusher: u64, number: u64) -> Mail {
    let payload = Payload::text("x".repeat(number as usize + 1));
    let topic = Topic::lone(pusher, "t");
    Mail::Message(Arc::new(Message::new(topic, number, &payload, Now::default())))
}

/// Several threads push; one drains, and sleeps whenever the mailbox lets it. A wake-up that gets
/// lost leaves it asleep for ever, which the checker calls a deadlock.
fn pushers_and_a_sleeper() {
    let bell = Arc::new(Bell::default());
    let ringing = bell.clone();
    let mailbox = Arc::new(Mailbox::new(move || ringing.ring()));
    let pushers: Vec<_> = (0..PUSHERS)
        .map(|pusher| {
            let mailbox = mailbox.clone();
            thread::spawn(move || (0..EACH).for_each(|n| mailbox.push(message(pusher, n))))
        })
        .collect();
    let mut next = [0; PUSHERS as usize];
    while next.iter().sum::<u64>() < PUSHERS * EACH {
        while let Some(Mail::Message(message)) = mailbox.pop() {
            let next = &mut next[message.topic().id as usize];
            assert_eq!(message.offset(), *next, "in the order of its pusher");
            *next += 1;
        }
        if mailbox.try_sleep() {
            let all_came = next.iter().sum::<u64>() == PUSHERS * EACH;
            if all_came {
                break;
            }
            bell.wait();
            mailbox.stay_awake();
        }
    }
    pushers.into_iter().for_each(|pusher| pusher.join().unwrap());
    assert_eq!((mailbox.len(), mailbox.bytes()), (0, 0));
}

#[test]
fn a_sleeping_shard_with_mail_has_been_woken() {
    check(pushers_and_a_sleeper);
}

#[test]
fn a_look_before_the_push_is_found() {
    check_finds(Fault::LookBeforePush, "deadlock", pushers_and_a_sleeper);
}

#[test]
fn sleeping_without_a_last_look_is_found() {
    check_finds(Fault::SleepWithoutLook, "deadlock", pushers_and_a_sleeper);
}

#[test]
fn a_count_of_bytes_in_two_steps_is_found() {
    check_finds(Fault::TornMailCount, "left == right", pushers_and_a_sleeper);
}
