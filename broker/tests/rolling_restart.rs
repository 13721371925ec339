//! Two brokers behind one address are restarted one after the other while their clients listen.
//!
//! The brokers are no cluster: whoever publishes does so to both. Topics have another life on each,
//! so a client that comes from the restarted one is told a gap, and one that comes back to its own
//! recovers from history.

#![allow(clippy::unwrap_used, reason = "a test stops at the first thing that fails")]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fanfare_client::{
    Client, CloseCode, Event, Missed, Mode, Payload, SubscribeOptions, Transport, Update,
};
use support::process::Broker;
use support::{Balancer, eventually, is_ready};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Clients that come at a time.
const COHORT: usize = 20;

/// How many of those that stay lose their connection while the other broker restarts.
const CUT: usize = 8;

/// The default drain timeout, and as much again for a busy machine.
const DRAIN_MAX: Duration = Duration::from_secs(60);

/// Every message, in order or with a gap.
const TICKS: &str = "ticks";
/// The newest message.
const RATES: &str = "rates";
/// As that; nothing is published to it but one message when a broker has started.
const QUIET: &str = "quiet";

fn broker() -> Broker {
    // Long enough for whoever is away, on a busy machine too.
    Broker::start_with(&["serve", "--set", "namespaces.default.history_messages=100000"])
}

/// What publishes the numbers from 1, to both brokers.
struct Feed {
    newest: Arc<watch::Sender<u64>>,
    counting: JoinHandle<()>,
    /// What publishes to the broker at each place.
    lanes: Vec<JoinHandle<()>>,
}

impl Feed {
    fn start() -> Self {
        let newest = Arc::new(watch::Sender::new(0));
        let counter = Arc::clone(&newest);
        let counting = tokio::spawn(async move {
            loop {
                counter.send_modify(|number| *number += 1);
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        });
        Self { newest, counting, lanes: Vec::new() }
    }

    /// Publishes to the broker at `place` from now on; the broker's name.
    async fn join(&mut self, place: usize, broker: &Broker) -> String {
        let client = Client::connect(&broker.url).await.unwrap();
        client.publish(QUIET, Payload::text("0")).await.unwrap();
        let node = match client.events().next().await {
            Some(Event::Connected { node, .. }) => node,
            other => panic!("{other:?}"),
        };
        let lane = tokio::spawn(publish(client, self.newest.subscribe()));
        self.lanes.splice(place..self.lanes.len().min(place + 1), [lane]);
        node
    }

    /// The last number there will be.
    async fn stop(&mut self) -> u64 {
        self.counting.abort();
        let _ = (&mut self.counting).await;
        *self.newest.borrow()
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.counting.abort();
        self.lanes.iter().for_each(JoinHandle::abort);
    }
}

/// Publishes each number as soon as there is one, until the broker goes away.
async fn publish(client: Client, mut newest: watch::Receiver<u64>) {
    let first = *newest.borrow() + 1;
    for number in first.. {
        if newest.wait_for(|newest| *newest >= number).await.is_err() {
            return;
        }
        for topic in [TICKS, RATES] {
            if client.publish(topic, Payload::text(number.to_string())).await.is_err() {
                return;
            }
        }
    }
}

/// A client and everything that it has heard.
struct Listener {
    client: Client,
    events: Arc<Mutex<Vec<Event>>>,
    ticks: Heard,
    rates: Heard,
    quiet: Heard,
}

/// What a subscription has told: numbers, and `None` for a gap of which nobody knows the size.
type Heard = Arc<Mutex<Vec<Option<u64>>>>;

impl Listener {
    async fn connect(url: &str) -> Self {
        let builder = Client::builder(url).transports([Transport::WebSocket]);
        let quick = builder.backoff(Duration::from_millis(20), Duration::from_millis(200));
        let client = quick.connect().await.unwrap();
        let events = Arc::<Mutex<Vec<Event>>>::default();
        let (mut stream, kept) = (client.events(), Arc::clone(&events));
        tokio::spawn(async move {
            while let Some(event) = stream.next().await {
                kept.lock().unwrap().push(event);
            }
        });
        let (all, latest) = (Mode::All, Mode::Latest);
        let ticks = hear(&client, TICKS, all).await;
        let (rates, quiet) =
            (hear(&client, RATES, latest).await, hear(&client, QUIET, latest).await);
        Self { client, events, ticks, rates, quiet }
    }

    /// The brokers that it has been on, one after the other.
    fn nodes(&self) -> Vec<String> {
        let node = |event: &Event| match event {
            Event::Connected { node, .. } => Some(node.clone()),
            _ => None,
        };
        self.events.lock().unwrap().iter().filter_map(node).collect()
    }

    /// With which codes its connections ended.
    fn ends(&self) -> Vec<Option<CloseCode>> {
        let end = |event: &Event| match event {
            Event::Disconnected { code, .. } => Some(*code),
            _ => None,
        };
        self.events.lock().unwrap().iter().filter_map(end).collect()
    }

    /// Has heard all there is: everything since its last gap, and everything before it.
    fn judge(&self, last: u64) {
        let restarts = self.ends().iter().filter(|code| code.is_some()).count();
        let told = format!("{:?}", self.events.lock().unwrap());
        for code in self.ends().into_iter().flatten() {
            assert_eq!(code, CloseCode::SERVICE_RESTART, "{told}");
        }
        let drains = told.matches("Draining").count();
        assert_eq!(drains, restarts, "told when to come back: {told}");

        let ticks = self.ticks.lock().unwrap();
        let lives: Vec<_> = ticks.split(Option::is_none).collect();
        assert_eq!(lives.len(), 1 + restarts, "a gap for each restart, and no other: {told}");
        for life in &lives {
            let heard: Vec<u64> = life.iter().copied().map(Option::unwrap).collect();
            let first = heard.first().copied().unwrap_or_default();
            let dense: Vec<u64> = (first..).take(heard.len()).collect();
            assert_eq!(heard, dense, "nothing lost, doubled or out of order: {told}");
        }
        assert_eq!(lives[restarts].last(), Some(&Some(last)));

        let rates = self.rates.lock().unwrap();
        assert_eq!(rates.split(Option::is_none).count(), 1 + restarts, "{told}");
        for life in rates.split(Option::is_none) {
            assert!(life.is_sorted_by(|before, after| before < after), "{life:?}");
        }
        assert_eq!(rates.last(), Some(&Some(last)), "the newest value in the end");

        // Nothing happens there, so all that comes after a restart is the value that the other has.
        let each = [Some(0), None].repeat(restarts + 1);
        assert_eq!(*self.quiet.lock().unwrap(), each[..2 * restarts + 1], "{told}");
    }
}

/// Subscribes and takes down what comes.
async fn hear(client: &Client, topic: &str, mode: Mode) -> Heard {
    let options = SubscribeOptions::new().mode(mode);
    let mut subscription = client.subscribe_with(topic, options).await.unwrap();
    let heard = Heard::default();
    let kept = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Some(update) = subscription.next().await {
            kept.lock().unwrap().push(match update {
                Update::Message(message) => {
                    Some(message.payload.as_text().unwrap().parse().unwrap())
                }
                Update::Gap(gap) if gap.missed == Missed::Unknown => None,
                other => panic!("{other:?}"),
            });
        }
    });
    heard
}

/// Everything there is.
struct Site {
    brokers: Vec<Broker>,
    nodes: Vec<String>,
    balancer: Balancer,
    feed: Feed,
    listeners: Vec<Listener>,
}

impl Site {
    async fn open() -> Self {
        let brokers = vec![broker(), broker()];
        let balancer = Balancer::before(&brokers).await;
        let (mut feed, mut nodes) = (Feed::start(), Vec::new());
        for (place, broker) in brokers.iter().enumerate() {
            nodes.push(feed.join(place, broker).await);
        }
        Self { brokers, nodes, balancer, feed, listeners: Vec::new() }
    }

    async fn welcome(&mut self, listeners: usize) {
        for _ in 0..listeners {
            self.listeners.push(Listener::connect(&self.balancer.url()).await);
        }
    }

    /// Restarts the broker at `place` while `CUT` of the clients of the other one come back to it.
    async fn restart(&mut self, place: usize) {
        let before: Vec<_> = self.listeners.iter().map(Listener::nodes).collect();
        let leave = |nodes: &[String]| nodes.last() == Some(&self.nodes[place]);
        let leaving = before.iter().filter(|nodes| leave(nodes)).count();
        assert!((COHORT..=before.len() - COHORT).contains(&leaving), "{before:?}");

        self.stop(place).await;
        let staying = &self.nodes[1 - place];
        let moved = |(listener, before): (&Listener, &Vec<String>)| {
            let now = listener.nodes();
            now.len() - before.len() == 1 && now.last() == Some(staying)
        };
        let count = || self.listeners.iter().zip(&before).filter(|each| moved(*each)).count();
        eventually("all are where they belong", || count() == leaving + CUT).await;

        let broker = broker();
        self.balancer.put(place, &broker);
        self.nodes[place] = self.feed.join(place, &broker).await;
        self.brokers.insert(place, broker);
    }

    /// Ends a broker as a supervisor does, and cuts clients of the other one meanwhile.
    async fn stop(&mut self, place: usize) {
        let mut broker = self.brokers.remove(place);
        let admin = broker.admin.parse().unwrap();
        broker.signal("TERM");
        while is_ready(admin).await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.balancer.cut(1 - place, CUT);
        let end = tokio::task::spawn_blocking(move || broker.child.wait().unwrap().code());
        let code = tokio::time::timeout(DRAIN_MAX, end).await.expect("an end in time").unwrap();
        assert_eq!(code, Some(0));
        self.feed.lanes[place].abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_two_brokers_behind_one_address_live_through_the_restart_of_both() {
    let mut site = Site::open().await;
    site.welcome(2 * COHORT).await;
    site.restart(0).await;
    // They go to the new broker, which has nobody yet.
    site.welcome(COHORT).await;
    site.restart(1).await;
    site.welcome(COHORT).await;
    let last = site.feed.stop().await;
    eventually("everybody has the last message", || {
        let ends = |heard: &Heard| heard.lock().unwrap().last() == Some(&Some(last));
        site.listeners.iter().all(|l| ends(&l.ticks) && ends(&l.rates))
    })
    .await;
    for listener in &site.listeners {
        listener.judge(last);
    }
    let restarted = |count: usize| {
        let ends = |l: &&Listener| l.ends().iter().flatten().count() == count;
        site.listeners.iter().filter(ends).count()
    };
    // The first ones saw both or one, those who came after the first restart none: they stayed.
    assert_eq!((restarted(2), restarted(1), restarted(0)), (COHORT, COHORT, 2 * COHORT));
    for listener in site.listeners {
        listener.client.close().await;
    }
}
