// The panel of the meter: lets a person pick a transport, and shows what each one tried so far
// costs for a message, as figures and as a bar.

import { count, figure } from './format.js';
import { Meter, PARTS, REFERENCE } from './meter.js';
import { TRANSPORTS } from './transports.js';

const byId = (id) => document.getElementById(id);

export class MeterPanel {
  #meter;
  #rows = new Map();
  #topic = null;

  // `totals` are those of the page's SDK connection.
  constructor(totals) {
    this.#meter = new Meter(totals, () => this.#draw());
    byId('transport').append(...Object.entries(TRANSPORTS).map(choice));
    byId('transport').addEventListener('change', () => this.#pick());
    byId('poll-interval').addEventListener('change', () => this.#pick());
    byId('meter').addEventListener('toggle', () => this.#followIfOpen());
    // A page that is left does not keep a broker busy.
    addEventListener('pagehide', () => this.#meter.stop());
    addEventListener('pageshow', ({ persisted }) => persisted && this.#followIfOpen());
  }

  // Measures on this topic, as long as the panel is open.
  follow(topic) {
    this.#topic = topic;
    byId('meter-topic').textContent = topic;
    this.#followIfOpen();
  }

  #followIfOpen() {
    if (byId('meter').open && this.#topic) this.#meter.follow(this.#topic);
    else this.#meter.stop();
  }

  #pick() {
    const { value } = document.querySelector('input[name=transport]:checked');
    byId('poll-every').hidden = value !== 'poll';
    this.#meter.pick(value, Number(byId('poll-interval').value));
  }

  #draw() {
    const { accounts, fault, picked } = this.#meter;
    for (const [transport, row] of this.#rows) {
      if (!accounts.has(transport)) {
        row.element.remove();
        this.#rows.delete(transport);
      }
    }
    const overheads = [...accounts.values()].map((account) => account.overhead || 0);
    const most = Math.max(1, ...overheads);
    const reference = accounts.get(REFERENCE)?.overhead;
    for (const transport of Object.keys(TRANSPORTS)) {
      const account = accounts.get(transport);
      if (account) this.#row(transport).draw(account, { most, reference, picked });
    }
    byId('meter-note').textContent = fault || this.#note(accounts);
  }

  // The rows stand in the order in which transports are offered, not in that of the picks.
  #row(transport) {
    if (!this.#rows.has(transport)) {
      this.#rows.set(transport, new AccountRow(transport));
      const shown = Object.keys(TRANSPORTS).filter((name) => this.#rows.has(name));
      byId('accounts').replaceChildren(...shown.map((name) => this.#rows.get(name).element));
    }
    return this.#rows.get(transport);
  }

  #note(accounts) {
    const isShared = [...accounts.values()].some(({ counted, received }) =>
      counted.messages > 1.2 * received + 50);
    return isShared
      ? 'Others read from this broker too: these are means over all of them.'
      : 'Bytes per message, both ways, as this broker counts them.';
  }
}

function choice([transport, name]) {
  const label = document.createElement('label');
  const input = document.createElement('input');
  Object.assign(input, { type: 'radio', name: 'transport', value: transport });
  input.defaultChecked = transport === REFERENCE;
  const text = document.createElement('span');
  text.textContent = name;
  label.append(input, text);
  return label;
}

const COLUMNS = ['cost', ...PARTS, 'overhead', 'ratio', 'received', 'missed'];

class AccountRow {
  #cells = {};
  #segments = {};

  constructor(transport) {
    this.element = document.createElement('tr');
    this.element.dataset.transport = transport;
    const head = document.createElement('th');
    head.scope = 'row';
    head.textContent = TRANSPORTS[transport];
    if (transport === 'sdk') head.title = 'The connection of this page, with all of its quotes';
    this.element.append(head);
    for (const name of COLUMNS) {
      const cell = this.element.insertCell();
      cell.className = name === 'cost' ? name : `number ${PARTS.includes(name) ? 'part' : name}`;
      this.#cells[name] = cell;
    }
    const bar = document.createElement('div');
    for (const part of PARTS) {
      this.#segments[part] = document.createElement('i');
      this.#segments[part].className = part;
      bar.append(this.#segments[part]);
    }
    this.#cells.cost.append(bar);
  }

  // `most` is the overhead that fills the bar, `reference` that of the raw WebSocket.
  draw(account, { most, reference, picked }) {
    for (const part of PARTS) {
      const bytes = account.perMessage(part);
      this.#cells[part].textContent = figure(bytes);
      this.#segments[part].hidden = !(bytes > 0);
      this.#segments[part].style.width = `${(bytes / most) * 100}%`;
    }
    const ratio = account.overhead / reference;
    this.#cells.overhead.textContent = figure(account.overhead);
    this.#cells.ratio.textContent = Number.isFinite(ratio) ? `× ${figure(ratio)}` : '–';
    this.#cells.received.textContent = count(account.received);
    this.#cells.missed.textContent = account.missed === null ? '–' : count(account.missed);
    if (account.transport === picked) this.element.setAttribute('aria-current', 'true');
    else this.element.removeAttribute('aria-current');
  }
}
