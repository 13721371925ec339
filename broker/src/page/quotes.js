// The quotes: what is known of each symbol, and the table that shows it. Messages only mark a
// quote as changed; the table is brought up to date once per frame of the screen.

import { compact, count, price, signed } from './format.js';

// Together the longest window of the chart.
const BUCKET_MS = 250;
const BUCKETS_MAX = 1_200;
const TAPE_MAX = 40;
const PACE_WINDOW_S = 20;
const FLASH_TIMING = { duration: 700, easing: 'ease-out' };

// How a cell shows that its value has moved; each fades to how the cell usually looks.
const FILLED = {
  up: { backgroundColor: ['var(--flash-up)', 'transparent'] },
  down: { backgroundColor: ['var(--flash-down)', 'transparent'] },
};
const COLORED = {
  up: { color: ['var(--up)', 'var(--muted)'] },
  down: { color: ['var(--down)', 'var(--muted)'] },
};

// One symbol: its last trade, and what the chart and the tape need of its past.
export class Quote {
  tape = [];
  buckets = [];
  firstOffset = Infinity;
  hasHistory = false;
  #pace = 0;
  #pacedAt = performance.now();
  #since = performance.now();

  constructor({ s, p, b, a, o, v }) {
    this.symbol = s;
    this.last = p;
    this.bid = b;
    this.ask = a;
    this.open = o;
    this.volume = v ?? 0;
    this.side = 0;
  }

  get change() {
    return this.last - this.open;
  }

  get changeRatio() {
    return this.open > 0 ? this.last / this.open - 1 : 0;
  }

  // A live trade.
  trade(data, offset) {
    this.firstOffset = Math.min(this.firstOffset, offset);
    this.#decay();
    this.#pace += 60 / PACE_WINDOW_S;
    this.side = Math.sign(data.p - this.last) || this.side;
    this.last = data.p;
    this.open = data.o ?? this.open;
    this.bid = data.b;
    this.ask = data.a;
    this.volume = data.v ?? this.volume + (data.z ?? 0);
    this.tape.unshift({ ...data, side: this.side });
    if (this.tape.length > TAPE_MAX) this.tape.pop();
    addToBuckets(this.buckets, data);
    if (this.buckets.length > BUCKETS_MAX) this.buckets.shift();
  }

  // Trades from before the first live one, oldest first.
  addHistory(messages) {
    this.hasHistory = true;
    const isOlder = ({ data, offset }) =>
      isTick(data) && Number.isFinite(data.t) && offset < this.firstOffset;
    const older = messages.filter(isOlder);
    const buckets = [];
    let side = 0;
    const tape = older.map(({ data }, i) => {
      addToBuckets(buckets, data);
      side = Math.sign(data.p - (older[i - 1]?.data.p ?? data.p)) || side;
      return { ...data, side };
    });
    if (buckets.length > 0 && buckets.at(-1).start === this.buckets[0]?.start) {
      this.buckets[0].volume += buckets.pop().volume;
    }
    this.buckets = [...buckets, ...this.buckets].slice(-BUCKETS_MAX);
    this.tape = [...this.tape, ...tape.reverse()].slice(0, TAPE_MAX);
  }

  // Trades a minute of late: a mean that forgets, corrected for the time it had to fill.
  get pace() {
    this.#decay();
    const age = (performance.now() - this.#since) / 1_000;
    return this.#pace / (1 - Math.exp(-Math.max(age, 1) / PACE_WINDOW_S));
  }

  #decay() {
    const now = performance.now();
    this.#pace *= Math.exp((this.#pacedAt - now) / 1_000 / PACE_WINDOW_S);
    this.#pacedAt = now;
  }
}

export function isTick(data) {
  return typeof data?.s === 'string' && Number.isFinite(data.p);
}

function addToBuckets(buckets, { p, z = 0, t }) {
  const start = Math.floor(t / BUCKET_MS) * BUCKET_MS;
  const newest = buckets.at(-1);
  if (newest && newest.start >= start) {
    newest.close = p;
    newest.volume += z;
  } else {
    buckets.push({ start, close: p, volume: z });
  }
}

const ORDERS = {
  active: (a, b) => b.quote.pace - a.quote.pace || a.listed - b.listed,
  symbol: (a, b) => a.quote.symbol.localeCompare(b.quote.symbol),
  gainers: (a, b) => b.quote.changeRatio - a.quote.changeRatio,
  losers: (a, b) => a.quote.changeRatio - b.quote.changeRatio,
};

// The table of quotes. `onChoose(quote)` hears which row a person chose.
export class QuoteTable {
  #body;
  #empty;
  #onChoose;
  #rows = new Map();
  #dirty = new Set();
  #order = 'active';
  #filter = '';
  #chosen = null;
  #still = matchMedia('(prefers-reduced-motion: reduce)');

  constructor(body, empty, onChoose) {
    this.#body = body;
    this.#empty = empty;
    this.#onChoose = onChoose;
    body.addEventListener('click', ({ target }) => this.#chooseRow(target.closest('tr')));
    body.addEventListener('keydown', (event) => this.#keyPressed(event));
  }

  add(quote) {
    const row = new Row(quote, this.#rows.size);
    this.#rows.set(quote.symbol, row);
    this.#body.append(row.element);
    row.draw(false);
  }

  mark(quote) {
    this.#dirty.add(quote.symbol);
  }

  // Draws what has changed since the last call.
  draw() {
    const flashes = !this.#still.matches;
    for (const symbol of this.#dirty) this.#rows.get(symbol).draw(flashes);
    this.#dirty.clear();
  }

  drawPaces() {
    const rows = [...this.#rows.values()];
    const most = Math.max(60, ...rows.map((row) => row.quote.pace));
    for (const row of rows) row.drawPace(most);
  }

  orderBy(order) {
    this.#order = order;
    this.arrange();
  }

  // Shows the symbols that begin with or hold `text`.
  filterBy(text) {
    this.#filter = text.trim().toUpperCase();
    this.arrange();
  }

  // Sorts anew, unless someone is about to click or moves through the rows by keyboard.
  settle() {
    const isBusy = this.#body.matches(':hover') || this.#body.contains(document.activeElement);
    if (!isBusy) this.arrange();
  }

  arrange() {
    const rows = [...this.#rows.values()].sort(ORDERS[this.#order]);
    for (const row of rows) row.element.hidden = !row.quote.symbol.includes(this.#filter);
    const isSorted = rows.every((row, i) => this.#body.children[i] === row.element);
    if (!isSorted) this.#body.append(...rows.map((row) => row.element));
    const shown = rows.filter((row) => !row.element.hidden).length;
    this.#empty.hidden = shown > 0;
    const { size } = this.#rows;
    const none = `No symbol has “${this.#filter}” in it.`;
    this.#empty.textContent = size > 0 ? none : 'Loading the symbols…';
  }

  choose(quote) {
    this.#rows.get(this.#chosen?.symbol)?.mark(false);
    this.#chosen = quote;
    this.#rows.get(quote.symbol).mark(true);
    this.#onChoose(quote);
  }

  #chooseRow(element, moveFocus = false) {
    const row = element && this.#rows.get(element.dataset.symbol);
    if (!row) return;
    this.choose(row.quote);
    if (moveFocus) row.focus();
  }

  #keyPressed(event) {
    const shown = [...this.#body.children].filter((element) => !element.hidden);
    const at = shown.indexOf(event.target.closest('tr'));
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: shown.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.#chooseRow(shown[Math.max(0, Math.min(to, shown.length - 1))], true);
  }
}

// The cells of a row after its symbol, and the class of each.
const COLUMNS = {
  last: '',
  change: 'wide',
  ratio: '',
  bid: 'wide',
  ask: 'wide',
  volume: 'wide',
  pace: 'pace',
};

class Row {
  #cells = {};
  #button;

  constructor(quote, listed) {
    this.quote = quote;
    this.listed = listed;
    this.element = document.createElement('tr');
    this.element.dataset.symbol = quote.symbol;
    const head = document.createElement('th');
    head.scope = 'row';
    this.#button = document.createElement('button');
    this.#button.type = 'button';
    this.#button.tabIndex = -1;
    this.#button.textContent = quote.symbol;
    head.append(this.#button);
    this.element.append(head);
    for (const [name, className] of Object.entries(COLUMNS)) {
      const cell = document.createElement('td');
      cell.className = `number ${className}`;
      this.element.append(cell);
      this.#cells[name] = { element: cell, text: '', value: undefined, flash: null };
    }
    this.bar = document.createElement('i');
    this.paceText = document.createElement('span');
    this.#cells.pace.element.append(this.bar, this.paceText);
  }

  draw(flashes) {
    const { last, open, change, changeRatio, bid, ask, volume } = this.quote;
    this.#set('last', last, price(last), flashes && FILLED);
    this.#set('bid', bid, price(bid), flashes && COLORED);
    this.#set('ask', ask, price(ask), flashes && COLORED);
    this.#set('change', change, signed(change));
    this.#set('ratio', changeRatio, `${signed(changeRatio * 100)} %`);
    this.#set('volume', volume, compact(volume));
    this.element.dataset.trend = Math.sign(last - open);
  }

  drawPace(most) {
    const pace = Math.round(this.quote.pace);
    const text = count(pace);
    if (this.paceText.textContent === text) return;
    this.paceText.textContent = text;
    // By the square root, or the hottest symbol would leave nothing to see of the others.
    this.bar.style.transform = `scaleX(${Math.sqrt(pace / most).toFixed(3)})`;
  }

  mark(isChosen) {
    this.#button.tabIndex = isChosen ? 0 : -1;
    if (isChosen) this.element.setAttribute('aria-current', 'true');
    else this.element.removeAttribute('aria-current');
  }

  focus() {
    this.#button.focus({ preventScroll: true });
    this.element.scrollIntoView({ block: 'nearest' });
  }

  #set(name, value, text, flash) {
    const cell = this.#cells[name];
    const moved = Math.sign(value - cell.value);
    cell.value = value;
    if (cell.text === text) return;
    cell.text = text;
    cell.element.textContent = text;
    if (!flash || !moved) return;
    cell.flash?.cancel();
    cell.flash = cell.element.animate(moved > 0 ? flash.up : flash.down, FLASH_TIMING);
  }
}
