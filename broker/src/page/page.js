// The live page: reads the directory of symbols, subscribes to all of them over one plain
// WebSocket, and puts what arrives onto the screen.

import { Chart } from './chart.js';
import { Connection } from './connection.js';
import { bytes, compact, count, price, signed, time } from './format.js';
import { MeterPanel } from './meter_panel.js';
import { isTick, Quote, QuoteTable } from './quotes.js';
import { snippet } from './snippets.js';

const DIRECTORY = 'demo.symbols';
const DIRECTORY_RETRY_MS = 3_000;
// What a broker keeps of a topic unless it is told otherwise.
const HISTORY_LIMIT = 100;
const FIGURES_INTERVAL_MS = 500;
const RATE_WINDOW = 4;
const SPARK_POINTS = 60;
const SETTLE_EVERY = 6;
const CHART_INTERVAL_MS = 50;

const byId = (id) => document.getElementById(id);
const quotes = new Map();
const table = new QuoteTable(byId('rows'), byId('empty'), choose);
const chart = new Chart(byId('chart'));
const socketUrl = `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/v1/ws`;
const connection = new Connection(socketUrl, { onState: showState, onMessage: receive });
const meter = new MeterPanel(connection.totals);

let chosen = null;
let chosenChanged = false;
let chartDrawnAt = 0;
let frameRequested = false;
let directoryTimer = 0;
let retryAt = 0;
// By how much this machine's clock is ahead of the publisher's, at least.
let clockAhead = Infinity;

/* ---- Directory and messages ---- */

async function newest(topic, limit) {
  const response = await fetch(`/v1/topics/${encodeURIComponent(topic)}?limit=${limit}`, {
    cache: 'no-store',
  });
  if (response.status === 404) return [];
  if (!response.ok) throw new Error(`GET ${topic}: ${response.status}`);
  const { messages } = await response.json();
  return messages.sort((a, b) => a.offset - b.offset);
}

// Asks until there is a market; a broker without a feed gets a hint instead of an empty table.
async function loadDirectory() {
  const messages = await newest(DIRECTORY, 1).catch(() => null);
  const listed = messages?.at(-1)?.data?.symbols;
  if (Array.isArray(listed)) {
    showMarket(listed);
    return;
  }
  const hasFeed = quotes.size > 0;
  byId('hint').hidden = messages === null || hasFeed;
  byId('desk').classList.toggle('is-idle', !byId('hint').hidden);
  clearTimeout(directoryTimer);
  directoryTimer = setTimeout(loadDirectory, DIRECTORY_RETRY_MS);
}

function showMarket(listed) {
  clearTimeout(directoryTimer);
  byId('hint').hidden = true;
  byId('desk').classList.remove('is-idle');
  for (const entry of listed.filter(isTick)) {
    if (quotes.has(entry.s)) continue;
    const quote = new Quote(entry);
    quotes.set(entry.s, quote);
    table.add(quote);
  }
  table.arrange();
  connection.subscribe([...quotes.keys()].map((symbol) => `ticks.${symbol}`));
  if (!chosen && quotes.size > 0) table.choose(quotes.values().next().value);
}

function receive({ topic, offset, data }) {
  const quote = quotes.get(topic.slice('ticks.'.length));
  if (!quote || !isTick(data)) return;
  const now = Date.now();
  if (!Number.isFinite(data.t)) data.t = now;
  clockAhead = Math.min(clockAhead, now - data.t);
  quote.trade(data, offset);
  table.mark(quote);
  chosenChanged ||= quote === chosen;
  requestDrawing();
}

/* ---- Chosen symbol ---- */

function choose(quote) {
  chosen = quote;
  byId('chosen-symbol').textContent = quote.symbol;
  showSnippet();
  redrawChosen();
  // The history is read by a GET, which would count as a poll.
  loadHistory(quote).finally(() => quote === chosen && meter.follow(`ticks.${quote.symbol}`));
}

async function loadHistory(quote) {
  if (quote.hasHistory) return;
  const messages = await newest(`ticks.${quote.symbol}`, HISTORY_LIMIT).catch(() => null);
  if (!messages || quote.hasHistory) return;
  quote.addHistory(messages);
  table.mark(quote);
  redrawChosen();
}

function redrawChosen() {
  chosenChanged = true;
  chartDrawnAt = 0;
  requestDrawing();
}

function drawChosen() {
  const { last, open, change, changeRatio, bid, ask, volume, tape } = chosen;
  byId('chosen-last').textContent = price(last);
  byId('chosen-change').textContent = `${signed(change)} (${signed(changeRatio * 100)} %)`;
  byId('chosen-change').dataset.trend = Math.sign(change);
  byId('chosen-bid').textContent = price(bid);
  byId('chosen-ask').textContent = price(ask);
  byId('chosen-open').textContent = price(open);
  byId('chosen-volume').textContent = compact(volume);
  document.title = `${chosen.symbol} ${price(last)} · Fanfare`;
  byId('tape').replaceChildren(...tape.map(tapeRow));
}

function tapeRow({ t, p, z, side }) {
  const row = document.createElement('tr');
  row.dataset.trend = side;
  for (const text of [time(t), price(p), count(z ?? 0)]) row.insertCell().textContent = text;
  return row;
}

/* ---- Drawing: once per frame of the screen, however many messages came ---- */

function requestDrawing() {
  if (frameRequested) return;
  frameRequested = true;
  requestAnimationFrame(draw);
}

function draw(now) {
  frameRequested = false;
  table.draw();
  if (!chosen) return;
  if (now - chartDrawnAt < CHART_INTERVAL_MS) {
    requestDrawing();
    return;
  }
  chartDrawnAt = now;
  if (chosenChanged) drawChosen();
  chosenChanged = false;
  chart.draw(chosen, Date.now() - (Number.isFinite(clockAhead) ? clockAhead : 0));
}

/* ---- Figures ---- */

const samples = [];
const spark = [];
let beat = 0;

function showFigures() {
  const { messages, bytes: received, framingBytes, gaps, repeats, missedAway } = connection.totals;
  samples.push({ at: performance.now(), messages, received });
  if (samples.length > RATE_WINDOW + 1) samples.shift();
  const [first, latest] = [samples[0], samples.at(-1)];
  const seconds = (latest.at - first.at) / 1_000 || 1;
  const rate = (latest.messages - first.messages) / seconds;
  byId('messages-rate').textContent = count(rate);
  byId('bytes-rate').textContent = bytes((latest.received - first.received) / seconds);
  byId('messages').textContent = count(messages);
  byId('framing').textContent = messages ? `${(framingBytes / messages).toFixed(0)} B` : '–';
  byId('gaps').textContent = count(gaps);
  byId('gaps').dataset.trend = gaps > 0 ? -1 : 0;
  byId('gaps').parentElement.title =
    `${count(gaps)} gaps and ${count(repeats)} repeats while connected; ` +
    `${count(missedAway)} messages passed while the connection was down`;
  if (samples.length > 1) showSpark(rate);
  showCountdown();
  beat += 1;
  if (beat % 2 === 0) table.drawPaces();
  if (beat % SETTLE_EVERY === 0) table.settle();
  requestDrawing();
}

function showSpark(rate) {
  spark.push(rate);
  if (spark.length > SPARK_POINTS) spark.shift();
  const most = Math.max(1, ...spark);
  const left = SPARK_POINTS - spark.length;
  const points = spark.map((value, i) => `${left + i},${(19 - (value / most) * 18).toFixed(1)}`);
  byId('spark').firstElementChild.setAttribute('points', points.join(' '));
}

/* ---- State of the connection ---- */

const STATES = {
  connecting: 'Connecting',
  open: 'Live',
  waiting: 'Reconnecting',
  closed: 'Closed',
};

function showState({ name, code, reason, wasOpen, retryAt: at = 0 }) {
  retryAt = at;
  document.body.dataset.state = name;
  byId('connection-state').textContent = STATES[name];
  byId('connection-retry').hidden = name !== 'waiting' && name !== 'closed';
  const detail = byId('connection-detail');
  if (name === 'open') detail.textContent = `${socketUrl} · fanfare.v1.json`;
  // Why the connection ended stays in view while attempts to come back fail.
  if (code !== undefined && (wasOpen || !detail.textContent)) {
    // 1006 is the browser's word for a connection that ended without a close frame.
    const why = reason || (code === 1006 ? 'connection lost' : '');
    detail.textContent = `close code ${code}${why && `: ${why}`}`;
  }
  showCountdown();
  if (name === 'open') loadDirectory();
}

function showCountdown() {
  const left = retryAt - Date.now();
  byId('connection-countdown').textContent = left > 0 ? `in ${(left / 1_000).toFixed(1)} s` : '';
}

/* ---- Controls ---- */

function showSnippet() {
  const kind = document.querySelector('input[name=how]:checked').value;
  const symbol = chosen?.symbol ?? 'ACME';
  const { origin } = location;
  byId('snippet').textContent = snippet(kind, { topic: `ticks.${symbol}`, socketUrl, origin });
}

function listen() {
  byId('tools').addEventListener('submit', (event) => event.preventDefault());
  byId('filter').addEventListener('input', ({ target }) => table.filterBy(target.value));
  byId('tools').addEventListener('change', ({ target }) => {
    if (target.name === 'order') table.orderBy(target.value);
  });
  byId('how').addEventListener('change', showSnippet);
  byId('connection-retry').addEventListener('click', () => connection.connect());
  byId('copy').hidden = !navigator.clipboard;
  byId('copy').addEventListener('click', async ({ target }) => {
    await navigator.clipboard.writeText(byId('snippet').textContent);
    target.textContent = 'Copied';
    setTimeout(() => (target.textContent = 'Copy'), 1_500);
  });
  addEventListener('keydown', (event) => {
    const isTyping = event.target.matches('input[type=search]');
    if (event.key === '/' && !isTyping) {
      event.preventDefault();
      byId('filter').focus();
    }
  });
  // Nothing is drawn while the tab is hidden; the messages are counted all the same.
  document.addEventListener('visibilitychange', requestDrawing);
  // A page that the browser kept aside comes back without its socket.
  addEventListener('pageshow', ({ persisted }) => persisted && connection.connect());
}

listen();
showSnippet();
byId('hint-publish').textContent = snippet('market', { origin: location.origin });
setInterval(showFigures, FIGURES_INTERVAL_MS);
loadDirectory();
connection.connect();
