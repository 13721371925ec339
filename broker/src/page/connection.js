// The connection to the broker: opens it, notices when it dies, comes back with backoff, and
// checks by offset that no message is missing. Knows nothing of quotes or of the page.

const SUBPROTOCOL = 'fanfare.v1.json';
const BACKOFF_FIRST_MS = 500;
const BACKOFF_MAX_MS = 20_000;
const STABLE_AFTER_MS = 10_000;
const OPEN_TIMEOUT_MS = 10_000;
const CHECK_INTERVAL_MS = 1_000;
const SUBSCRIBES_PER_FRAME = 256;

const encoder = new TextEncoder();
const scratch = new Uint8Array(65_536);

function utf8Length(text) {
  const { read, written } = encoder.encodeInto(text, scratch);
  return read === text.length ? written : encoder.encode(text).length;
}

// RFC 6455 section 5.2: a frame from the broker is not masked.
function headerLength(payloadLength) {
  if (payloadLength < 126) return 2;
  return payloadLength < 65_536 ? 4 : 10;
}

// Codes of faults that a second attempt would repeat; the table of close codes in SPEC.md.
function isFinal(code) {
  const ruled = code === 1002 || code === 1003 || (code >= 1007 && code <= 1010);
  return ruled || (code >= 3500 && code <= 3999);
}

export class Connection {
  // What was received since the page was loaded.
  totals = { messages: 0, bytes: 0, framingBytes: 0, gaps: 0, repeats: 0, missedAway: 0 };

  #url;
  #onState;
  #onMessage;
  #socket = null;
  #isOpen = false;
  #attempt = 0;
  #timer = 0;
  #nextId = 1;
  #subscribing = new Map();
  #positions = new Map();
  #lastHeard = 0;
  #openedAt = 0;
  #silenceMax = Infinity;

  // `onState({ name, code, reason, wasOpen, retryAt })` hears of every change, where `name` is
  // connecting, open, waiting or closed; `onMessage(message)` gets every message.
  constructor(url, { onState, onMessage }) {
    this.#url = url;
    this.#onState = onState;
    this.#onMessage = onMessage;
    this.#watch();
    addEventListener('online', () => !this.#socket && this.connect());
  }

  // Connects now, whatever the backoff says.
  connect() {
    clearTimeout(this.#timer);
    this.#abandon();
    this.#onState({ name: 'connecting' });
    const socket = new WebSocket(this.#url, SUBPROTOCOL);
    this.#socket = socket;
    this.#silenceMax = OPEN_TIMEOUT_MS;
    this.#lastHeard = Date.now();
    socket.onopen = () => this.#send([{ id: this.#nextId++, connect: {} }]);
    socket.onmessage = ({ data }) => this.#receive(data);
    socket.onclose = ({ code, reason }) => this.#lost(code, reason);
  }

  // Subscribes to those of `topics` that are not held yet; they outlive every reconnect.
  subscribe(topics) {
    const fresh = topics.filter((topic) => !this.#positions.has(topic));
    for (const topic of fresh) this.#positions.set(topic, {});
    if (this.#isOpen) this.#sendSubscribes(fresh);
  }

  #sendSubscribes(topics) {
    for (let i = 0; i < topics.length; i += SUBSCRIBES_PER_FRAME) {
      this.#send(topics.slice(i, i + SUBSCRIBES_PER_FRAME).map((topic) => {
        const id = this.#nextId++;
        this.#subscribing.set(id, topic);
        return { id, subscribe: { topic } };
      }));
    }
  }

  #send(commands) {
    this.#socket.send(JSON.stringify(commands));
  }

  #receive(text) {
    this.#lastHeard = Date.now();
    const length = utf8Length(text);
    const header = headerLength(length);
    this.totals.bytes += header + length;
    const frame = JSON.parse(text);
    if (frame.topic !== undefined) {
      this.totals.messages += 1;
      const payloadAt = text.indexOf('"data":');
      if (payloadAt > 0) this.totals.framingBytes += header + payloadAt + '"data":}'.length;
      if (this.#inOrder(frame)) this.#onMessage(frame);
    } else if (frame.id !== undefined) {
      this.#answered(frame);
    }
  }

  #answered({ id, connect, subscribe, error }) {
    const topic = this.#subscribing.get(id);
    this.#subscribing.delete(id);
    if (connect) this.#opened(connect);
    if (topic && subscribe) this.#subscribed(topic, subscribe);
    if (error) console.warn(`${topic ?? 'connect'}: ${error.message} (${error.code})`);
  }

  #opened({ ping_interval_ms: pingInterval }) {
    this.#isOpen = true;
    this.#openedAt = Date.now();
    this.#silenceMax = 2 * pingInterval + 5_000;
    this.#onState({ name: 'open' });
    this.#sendSubscribes([...this.#positions.keys()]);
  }

  #subscribed(topic, { epoch, offset }) {
    const before = this.#positions.get(topic);
    if (before.epoch === epoch) this.totals.missedAway += Math.max(0, offset - before.offset);
    this.#positions.set(topic, { epoch, offset });
  }

  // Each message names the one before it: `prev`, or where that is left out `offset - 1`.
  #inOrder({ topic, offset, prev = offset - 1 }) {
    const position = this.#positions.get(topic);
    if (!position || position.offset === undefined) return true;
    if (offset <= position.offset) {
      this.totals.repeats += 1;
      return false;
    }
    if (prev !== position.offset) this.totals.gaps += 1;
    position.offset = offset;
    return true;
  }

  #abandon() {
    const socket = this.#socket;
    this.#socket = null;
    this.#isOpen = false;
    this.#subscribing.clear();
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  #lost(code, reason) {
    const wasOpen = this.#isOpen;
    if (wasOpen && Date.now() - this.#openedAt > STABLE_AFTER_MS) this.#attempt = 0;
    this.#abandon();
    if (isFinal(code)) {
      this.#onState({ name: 'closed', code, reason, wasOpen });
      return;
    }
    // Full jitter, so that a broker that restarts is not met by all its clients at once.
    const ceiling = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** this.#attempt++);
    const delay = Math.random() * ceiling;
    this.#timer = setTimeout(() => this.connect(), delay);
    this.#onState({ name: 'waiting', code, reason, wasOpen, retryAt: Date.now() + delay });
  }

  // A browser shows no WebSocket pings, so the broker's {"event":"ping"} is the sign of life.
  #watch() {
    let checked = Date.now();
    setInterval(() => {
      const now = Date.now();
      const slept = now - checked > 5 * CHECK_INTERVAL_MS;
      checked = now;
      // A page that was frozen has its frames still to read; it cannot judge the silence yet.
      if (slept) this.#lastHeard = now;
      const isSilent = now - this.#lastHeard > this.#silenceMax;
      if (this.#socket && isSilent) this.#lost(1006, 'no sign of life');
    }, CHECK_INTERVAL_MS);
  }
}
