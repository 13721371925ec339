// What each transport costs: takes the broker's counters again and again, and keeps for every
// transport that was picked what was added to them meanwhile. A raw WebSocket on the same topic
// runs all the time, as what the others are held against.
//
// The counters are of all that the broker does, so figures are per message of all its readers:
// exact with one viewer, a mean with several.

import { startFeed } from './transports.js';

export const PARTS = ['head', 'framing', 'envelope'];
export const REFERENCE = 'raw';
const COUNTERS = '/v1/meter';
const SAMPLE_INTERVAL_MS = 500;
const RETRY_INTERVAL_MS = 2_000;
const ANSWER_TIMEOUT_MS = 5_000;

// One transport's account since it was first picked.
export class Account {
  // Bytes of each part, both ways, and messages, as the broker counted them.
  counted = { head: 0, framing: 0, envelope: 0, messages: 0 };
  #feed = null;
  #earlier = { received: 0, missed: 0 };

  constructor(transport) {
    this.transport = transport;
  }

  // Messages that this page got.
  get received() {
    return this.#earlier.received + (this.#feed?.received ?? 0);
  }

  // Messages that passed by; null if the transport does not tell.
  get missed() {
    if (this.#earlier.missed === null || this.#feed?.missed === null) return null;
    return this.#earlier.missed + (this.#feed?.missed ?? 0);
  }

  get isRunning() {
    return this.#feed !== null;
  }

  // Bytes of `part` for each message; NaN before the first one.
  perMessage(part) {
    return this.counted.messages > 0 ? this.counted[part] / this.counted.messages : NaN;
  }

  // Bytes for each message that are no payload.
  get overhead() {
    return PARTS.reduce((sum, part) => sum + this.perMessage(part), 0);
  }

  start(feed) {
    this.#feed = feed;
  }

  stop() {
    this.#feed?.stop();
    this.#earlier = { received: this.received, missed: this.missed };
    this.#feed = null;
  }

  // Takes what was added between two readings of the counters.
  add(before, now) {
    for (const name of Object.keys(this.counted)) {
      // A counter that fell began anew, with the broker.
      const added = now[name] - before[name];
      this.counted[name] += added >= 0 ? added : now[name];
    }
  }
}

export class Meter {
  accounts = new Map();
  topic = null;
  picked = REFERENCE;
  // Why there are no figures; empty as long as there are.
  fault = '';
  #totals;
  #onChange;
  #intervalMs = 1_000;
  #before = null;
  #timer = 0;
  #queue = Promise.resolve();

  // `totals` are those of the page's SDK connection; `onChange()` hears that there is news.
  constructor(totals, onChange) {
    this.#totals = totals;
    this.#onChange = onChange;
  }

  // Begins with new accounts: those of another topic are not comparable.
  follow(topic) {
    this.#enqueue(async () => {
      this.#stop();
      this.accounts.clear();
      this.topic = topic;
      this.#before = null;
      await this.#sample();
      this.#startPicked();
      this.#sampleLater();
    });
  }

  // Puts `transport` beside the reference; polls ask each `intervalMs`.
  pick(transport, intervalMs) {
    this.#enqueue(async () => {
      if (this.topic !== null) await this.#sample();
      if (this.picked !== REFERENCE) this.accounts.get(this.picked)?.stop();
      if (intervalMs !== this.#intervalMs) this.accounts.delete('poll');
      this.picked = transport;
      this.#intervalMs = intervalMs;
      if (this.topic !== null) this.#startPicked();
      this.#onChange();
    });
  }

  // Ends every feed, and asks for no more counters.
  stop() {
    this.#enqueue(() => {
      this.#stop();
      this.topic = null;
    });
  }

  // One thing after the other: a reading of the counters belongs to the feeds that ran meanwhile.
  #enqueue(step) {
    this.#queue = this.#queue.then(step).catch((error) => console.error(error));
  }

  #startPicked() {
    for (const transport of [REFERENCE, this.picked]) {
      const account = this.accounts.get(transport) ?? new Account(transport);
      this.accounts.set(transport, account);
      if (account.isRunning) continue;
      const options = { totals: this.#totals, intervalMs: this.#intervalMs };
      account.start(startFeed(transport, this.topic, options));
    }
  }

  #stop() {
    clearTimeout(this.#timer);
    for (const account of this.accounts.values()) if (account.isRunning) account.stop();
  }

  #sampleLater() {
    this.#timer = setTimeout(() => {
      this.#enqueue(async () => {
        await this.#sample();
        if (this.topic !== null) this.#sampleLater();
      });
    }, this.fault ? RETRY_INTERVAL_MS : SAMPLE_INTERVAL_MS);
  }

  async #sample() {
    const now = await readCounters().catch(() => null);
    this.fault = now ? '' : 'The broker does not tell its counters now.';
    if (now && this.#before) {
      for (const account of this.accounts.values()) {
        const { transport, isRunning } = account;
        if (isRunning) account.add(this.#before[transport], now[transport]);
      }
    }
    if (now) this.#before = now;
    this.#onChange();
  }
}

// The broker's counters by transport: bytes of each part, both ways, and messages.
async function readCounters() {
  const signal = AbortSignal.timeout(ANSWER_TIMEOUT_MS);
  const response = await fetch(COUNTERS, { cache: 'no-store', signal });
  if (!response.ok) throw new Error(`GET ${COUNTERS}: ${response.status}`);
  const { transports } = await response.json();
  const entries = Object.entries(transports).map(([transport, { messages, in: up, out: down }]) => {
    const parts = PARTS.map((part) => [part, up[part] + down[part]]);
    return [transport, { messages, ...Object.fromEntries(parts) }];
  });
  return Object.fromEntries(entries);
}
