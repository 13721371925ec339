// The meter of the live page: what each transport costs, by the counters of a real broker.

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';

import { Broker } from './broker.js';
import { launch, numberAt, open, until, untilLive, untilMore } from './browser.js';

const MESSAGES = 300;
const PHONE = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true };
const COLUMNS = ['head', 'framing', 'envelope', 'overhead', 'ratio', 'received', 'missed'];

const row = (transport) => `#accounts tr[data-transport=${transport}]`;
const cell = (transport, column) =>
  `${row(transport)} td:nth-child(${COLUMNS.indexOf(column) + 3})`;

describe('the meter', () => {
  // Quick, so that handshakes soon weigh little and polls miss much.
  const broker = new Broker('--rate', '2000');
  let browser;
  let page;

  before(async () => {
    await broker.start();
    browser = await launch();
  });
  afterEach(async () => {
    await page?.context().close();
    page = null;
  });
  after(async () => {
    await browser?.close();
    await broker.stop();
  });

  function onPage(name, options, check) {
    test(name, async () => {
      page = await open(browser, broker.origin, { reducedMotion: 'reduce', ...options });
      await untilLive(page);
      await check();
      assert.deepEqual(page.faults, []);
      assert.deepEqual(page.strangers, []);
    });
  }

  const pick = (transport) =>
    page.locator(`#transport label:has(input[value=${transport}])`).click();
  const read = async (transport, column) => {
    const text = await page.textContent(cell(transport, column));
    return Number.parseFloat(text.replace(/[×,\s]/g, ''));
  };
  const untilReceived = (transport, least) =>
    untilMore(page, cell(transport, 'received'), least);

  // Figures of one drawing: between two of them the meter goes on.
  const figures = (transport) => page.$$eval(`${row(transport)} td`, (cells) =>
    cells.slice(1).map((cell) => Number.parseFloat(cell.textContent.replace(/[×,\s]/g, ''))))
    .then((values) => Object.fromEntries(COLUMNS.map((column, i) => [column, values[i]])));

  onPage('a raw WebSocket runs from the start, at two to four bytes a message', {}, async () => {
    assert.equal(await page.textContent('#meter-topic'), 'ticks.ACME');
    assert.ok(await page.isChecked('input[value=raw]'));
    await untilReceived('raw', MESSAGES);
    // The handshake is shared by ever more messages.
    await until(async () => (await read('raw', 'overhead')) <= 4);
    const { framing, envelope, overhead, ratio } = await figures('raw');
    assert.ok(framing >= 2 && framing <= 4, `${framing}`);
    assert.equal(envelope, 0);
    assert.ok(overhead >= framing);
    assert.equal(ratio, 1);
  });

  onPage('the counters of the broker agree with what the page got', {}, async () => {
    await untilReceived('raw', MESSAGES);
    const counted = async () => {
      const response = await page.request.get(`${broker.origin}/v1/meter`);
      return (await response.json()).transports.raw;
    };
    const first = await counted();
    const received = await read('raw', 'received');
    await untilReceived('raw', received + 5 * MESSAGES);
    const last = await counted();
    const got = (await read('raw', 'received')) - received;
    const sent = last.messages - first.messages;
    // Drawn each half second, so some messages are on either side.
    assert.ok(sent > 0.7 * got && sent < 1.4 * got, `${sent} sent, ${got} received`);
    assert.equal(last.out.framing - first.out.framing, 2 * sent);
  });

  onPage('the SDK adds its envelope', {}, async () => {
    await pick('sdk');
    await untilReceived('sdk', MESSAGES);
    const { framing, envelope, ratio } = await figures('sdk');
    assert.ok(framing >= 2 && framing <= 4, `${framing}`);
    assert.ok(envelope > 20 && envelope <= 60, `${envelope}`);
    assert.ok(ratio > 1);
  });

  onPage('server-sent events cost field names and positions', {}, async () => {
    await pick('sse');
    await untilReceived('sse', MESSAGES);
    await until(async () => (await read('sse', 'head')) < (await read('sse', 'framing')));
    const { framing, envelope, ratio, missed } = await figures('sse');
    assert.ok(framing >= 10 && framing < 30, `${framing}`);
    assert.ok(envelope > 2 && envelope < 40, `${envelope}`);
    assert.ok(ratio > 1);
    assert.equal(missed, 0);
  });

  onPage('long polls cost a head for each answer', {}, async () => {
    await pick('long_poll');
    await untilReceived('long_poll', MESSAGES);
    const { head, envelope, ratio } = await figures('long_poll');
    assert.ok(head > 5 && envelope > 10, `${head} and ${envelope}`);
    assert.ok(ratio > 1, `${ratio}`);
  });

  onPage('of a slow topic, long polls cost a head for each message and miss none', {}, async () => {
    await until(async () => (await numberAt(page, '#rows tr:last-child .pace span')) > 0);
    await page.click('#rows tr:last-child');
    await pick('long_poll');
    await untilReceived('long_poll', 5);
    const { head, missed } = await figures('long_poll');
    assert.ok(head >= 200, `${head}`);
    assert.equal(missed, 0);
  });

  onPage('polls cost hundreds of bytes, and miss what passes between them', {}, async () => {
    await pick('poll');
    assert.ok(await page.isVisible('#poll-interval'));
    await page.selectOption('#poll-interval', '500');
    await untilReceived('poll', 4);
    await until(async () => (await read('raw', 'overhead')) <= 4);
    const { head, overhead, ratio, missed } = await figures('poll');
    assert.ok(head >= 200 && overhead > head, `${head} of ${overhead}`);
    assert.ok(ratio > 10, `${ratio}`);
    assert.ok(missed > 0);
  });

  onPage('each transport tried has a bar as long as it costs', {}, async () => {
    for (const transport of ['sse', 'poll']) {
      await pick(transport);
      await untilReceived(transport, 2);
    }
    await pick('raw');
    await until(async () => (await read('raw', 'overhead')) <= 4);
    const bars = await page.$$eval('#accounts tr', (rows) => rows.map((row) => {
      const segments = [...row.querySelectorAll('.cost i:not([hidden])')];
      const width = segments.reduce((sum, i) => sum + i.getBoundingClientRect().width, 0);
      return [row.dataset.transport, width];
    }));
    assert.deepEqual(bars.map(([transport]) => transport), ['raw', 'sse', 'poll']);
    const { raw, sse, poll } = Object.fromEntries(bars);
    assert.ok(raw >= 1 && raw < 5 && sse < poll / 2 && poll > 50, JSON.stringify(bars));
    assert.equal(await page.getAttribute(row('raw'), 'aria-current'), 'true');
    assert.equal(await page.getAttribute(row('poll'), 'aria-current'), null);
  });

  onPage('another symbol begins new accounts', {}, async () => {
    await pick('sse');
    await untilReceived('sse', MESSAGES);
    await page.click('#rows tr[data-symbol=NOVA]');
    await until(async () => (await read('sse', 'received')) < MESSAGES);
    assert.equal(await page.textContent('#meter-topic'), 'ticks.NOVA');
    await untilReceived('sse', 50);
  });

  onPage('a panel that is folded reads nothing', {}, async () => {
    await untilReceived('raw', 50);
    await page.click('#meter summary');
    let requests = 0;
    page.on('request', (request) => (requests += request.url().includes('/v1/meter') ? 1 : 0));
    const sockets = () => page.request.get(`${broker.origin}/v1/meter`)
      .then((response) => response.json()).then(({ transports }) => transports.raw.messages);
    // What was under way when it was folded may still arrive.
    await until(async () => {
      const before = await sockets();
      await page.waitForTimeout(200);
      return before === await sockets();
    });
    const before = requests;
    await untilMore(page, '#messages', (await numberAt(page, '#messages')) + 4_000);
    assert.ok(requests - before === 0, `${requests - before} readings`);
    await page.click('#meter summary');
    await untilReceived('raw', 50);
  });

  onPage('it says so when others read too', {}, async () => {
    assert.match(await page.textContent('#meter-note'), /as this broker counts/);
    const other = await page.context().newPage();
    await other.goto(broker.origin);
    await until(async () => /Others read/.test(await page.textContent('#meter-note')));
  });

  onPage('every transport comes back after the broker restarts', {}, async () => {
    await pick('sse');
    await untilReceived('sse', MESSAGES);
    await broker.stop();
    await page.waitForSelector('body[data-state=waiting]');
    await broker.start();
    await page.waitForSelector('body[data-state=open]');
    for (const transport of ['raw', 'sse']) {
      await untilReceived(transport, (await read(transport, 'received')) + MESSAGES);
    }
    for (const transport of ['long_poll', 'poll']) {
      await pick(transport);
      await untilReceived(transport, 1);
      await broker.stop();
      await broker.start();
      await untilReceived(transport, (await read(transport, 'received')) + 1);
    }
    const { framing } = await figures('raw');
    assert.ok(framing >= 2 && framing <= 4, `${framing}`);
  });

  onPage('a transport is picked by keyboard, and all of it fits a phone', PHONE, async () => {
    await page.focus('input[name=transport]:checked');
    await page.keyboard.press('ArrowRight');
    await page.keyboard.press('ArrowRight');
    assert.ok(await page.isChecked('input[value=sse]'));
    await untilReceived('sse', 50);
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(overflow <= 0, `${overflow} pixels too wide`);
    for (const column of ['overhead', 'ratio']) {
      const { x, width } = await page.locator(cell('sse', column)).boundingBox();
      assert.ok(x >= 0 && x + width <= 390, column);
    }
  });
});
