// The ways to follow one topic that the meter puts side by side, each as a browser does it with
// nothing but what it brings. A feed counts what arrives until it is stopped, and comes back by
// itself after its connection was lost. What the bytes around a message cost is not its business.

const RETRY_MS = 1_000;
// All that there is in one answer, however many messages came meanwhile.
const LONG_POLL = 'wait=25s&limit=1000';

// What is told of each transport, in the order in which they are offered. The names are those of
// the broker's counters.
export const TRANSPORTS = {
  raw: 'WebSocket',
  sdk: 'SDK WebSocket',
  sse: 'SSE',
  long_poll: 'Long polling',
  poll: 'Polling',
};

// Starts to follow `topic`. `totals` are those of the page's own SDK connection, `intervalMs` is
// the time between two polls.
export function startFeed(transport, topic, { totals, intervalMs }) {
  const path = `/v1/topics/${encodeURIComponent(topic)}`;
  switch (transport) {
    case 'raw': return new RawFeed(path);
    case 'sdk': return new SdkFeed(totals);
    case 'sse': return new EventFeed(path);
    case 'long_poll': return new LongPollFeed(path);
    case 'poll': return new PollFeed(path, intervalMs);
    default: throw new RangeError(`no transport ${transport}`);
  }
}

// The base of those that are told where in its topic a message stands.
class Feed {
  received = 0;
  missed = 0;
  #epoch = '';
  #offset = 0;

  // This page is served by the one node that it follows, and on one node offsets are dense: the
  // difference of two is the number of messages.
  heard(epoch, offset) {
    const isKnown = epoch === this.#epoch;
    if (isKnown && offset <= this.#offset) return;
    if (isKnown) this.missed += offset - this.#offset - 1;
    this.#epoch = epoch;
    this.#offset = offset;
    this.received += 1;
  }
}

// Bare payloads: a raw stream carries no offsets, so nothing can be said of missed messages.
class RawFeed {
  received = 0;
  missed = null;
  #url;
  #socket = null;
  #timer = 0;

  constructor(path) {
    this.#url = `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}${path}`;
    this.#connect();
  }

  #connect() {
    this.#socket = new WebSocket(this.#url);
    this.#socket.onmessage = () => (this.received += 1);
    this.#socket.onclose = () => {
      this.#timer = setTimeout(() => this.#connect(), RETRY_MS);
    };
  }

  stop() {
    clearTimeout(this.#timer);
    this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
  }
}

// The connection that the page has anyway: every quote on it, not one topic alone. Its gaps are
// those that the connection found by `prev`.
class SdkFeed {
  #totals;
  #from;

  constructor(totals) {
    this.#totals = totals;
    this.#from = { ...totals };
  }

  get received() {
    return this.#totals.messages - this.#from.messages;
  }

  get missed() {
    return this.#totals.gaps - this.#from.gaps;
  }

  stop() {
    const { messages, gaps } = this.#totals;
    this.#totals = { messages, gaps };
  }
}

class EventFeed extends Feed {
  #path;
  #source = null;
  #timer = 0;

  constructor(path) {
    super();
    this.#path = path;
    this.#connect();
  }

  #connect() {
    this.#source = new EventSource(this.#path);
    this.#source.onmessage = ({ lastEventId }) => {
      const [epoch, offset] = lastEventId.split(':');
      this.heard(epoch, Number(offset));
    };
    // A browser comes back by itself, but not after an answer that was no stream.
    this.#source.onerror = () => {
      if (this.#source.readyState !== EventSource.CLOSED) return;
      this.#timer = setTimeout(() => this.#connect(), RETRY_MS);
    };
  }

  stop() {
    clearTimeout(this.#timer);
    this.#source.close();
  }
}

// The base of those that ask again and again; `request(signal)` is one question.
class AskingFeed extends Feed {
  #abort = new AbortController();

  async run(request, pauseMs) {
    const { signal } = this.#abort;
    while (!signal.aborted) {
      const due = performance.now() + pauseMs;
      const isAnswered = await request(signal).catch(() => false);
      const pause = isAnswered ? due - performance.now() : Math.max(pauseMs, RETRY_MS);
      if (pause > 0 && !signal.aborted) await sleep(pause);
    }
  }

  stop() {
    this.#abort.abort();
  }
}

class LongPollFeed extends AskingFeed {
  #path;
  #after = '';

  constructor(path) {
    super();
    this.#path = path;
    this.run((signal) => this.#ask(signal), 0);
  }

  async #ask(signal) {
    // A cached answer would be asked for again by its ETag, and not be waited for.
    const options = { cache: 'no-store', signal };
    const response = await fetch(`${this.#path}?${LONG_POLL}${this.#after}`, options);
    if (!response.ok) return false;
    const { epoch, offset, messages } = await response.json();
    for (const message of messages) this.heard(epoch, message.offset);
    // What was not sent yet is behind the last message, or behind the head if there was none.
    this.#after = `&after=${epoch}:${messages.at(-1)?.offset ?? offset}`;
    return true;
  }
}

// Asks for the newest message. What the browser has cached it asks for by ETag, all by itself.
class PollFeed extends AskingFeed {
  #path;

  constructor(path, intervalMs) {
    super();
    this.#path = path;
    this.run((signal) => this.#ask(signal), intervalMs);
  }

  async #ask(signal) {
    const response = await fetch(`${this.#path}?limit=1`, { signal });
    if (!response.ok) return false;
    const { epoch, messages } = await response.json();
    for (const { offset } of messages) this.heard(epoch, offset);
    return true;
  }
}

function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
