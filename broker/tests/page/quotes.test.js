// The quotes, the chart and the connection of the live page, as a person meets them.

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';

import { Broker } from './broker.js';
import {
  barriers, launch, numberAt, open, until, untilChanged, untilLive, untilMore,
} from './browser.js';

const PHONE = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true };

// In the page: the share of the chart that is drawn on, and a number that tells drawings apart.
function chartInk() {
  const chart = document.querySelector('#chart');
  const { width, height } = chart;
  // A copy made for reading: the chart's own canvas is made for drawing.
  const copy = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });
  copy.drawImage(chart, 0, 0);
  const { data } = copy.getImageData(0, 0, width, height);
  const pixels = new Uint32Array(data.buffer);
  let inked = 0;
  let hash = 0;
  for (const pixel of pixels) {
    inked += pixel === 0 ? 0 : 1;
    hash = (Math.imul(hash, 31) + pixel) | 0;
  }
  return { share: inked / pixels.length, hash };
}

// Red, green and blue as the eye weighs them, 0 to 1.
function luminance(color) {
  const [red, green, blue] = color.match(/[\d.]+/g).map(Number);
  return (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255;
}

describe('the live page', () => {
  const broker = new Broker();
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

  // A test on the page once it is live, in which nothing may go wrong unseen.
  function onPage(name, options, check) {
    test(name, async () => {
      page = await open(browser, broker.origin, options);
      await untilLive(page);
      await check();
      assert.deepEqual(page.faults, []);
      assert.deepEqual(page.strangers, []);
    });
  }

  const untilChartIsDrawn = () => until(async () => (await page.evaluate(chartInk)).share > 0.02);

  onPage('quotes move', {}, async () => {
    const last = '#rows tr[data-symbol=ACME] td';
    await untilChanged(page, last);
    assert.match(await page.textContent(last), /^[\d,]+\.\d\d$/);
    await untilChanged(page, last);
    await until(async () => (await page.locator('#tape tr').count()) >= 10);
  });

  onPage('messages are counted, and none is missing', {}, async () => {
    await untilMore(page, '#messages', await numberAt(page, '#messages') + 200);
    assert.equal(await page.textContent('#gaps'), '0');
    assert.ok(await numberAt(page, '#messages-rate') > 0);
  });

  onPage('the chart draws, and draws on', {}, async () => {
    await untilChartIsDrawn();
    const { hash } = await page.evaluate(chartInk);
    await until(async () => (await page.evaluate(chartInk)).hash !== hash);
    assert.match(await page.getAttribute('#chart', 'aria-label'), /ACME/);
  });

  onPage('a symbol is chosen by mouse or keyboard', {}, async () => {
    const row = '#rows tr[data-symbol=NOVA]';
    await page.click(row);
    assert.equal(await page.textContent('#chosen-symbol'), 'NOVA');
    assert.equal(await page.getAttribute(row, 'aria-current'), 'true');
    await page.getByText('A–Z').click();
    await page.focus(`${row} button`);
    await page.keyboard.press('Home');
    const first = await page.getAttribute('#rows tr:first-child', 'data-symbol');
    assert.notEqual(first, 'NOVA');
    assert.equal(await page.textContent('#chosen-symbol'), first);
    assert.equal(await page.evaluate(() => document.activeElement.textContent), first);
  });

  onPage('the filter is reached by / and leaves what matches', {}, async () => {
    await page.keyboard.press('/');
    await page.keyboard.type('acm');
    const shown = await page.$$eval('#rows tr:not([hidden])', (rows) =>
      rows.map((row) => row.dataset.symbol));
    assert.ok(shown.includes('ACME'));
    assert.deepEqual(shown.filter((symbol) => !symbol.includes('ACM')), []);
  });

  onPage('it comes back after the broker restarts on the same port', {}, async () => {
    await broker.stop();
    await page.waitForSelector('body[data-state=waiting]');
    assert.equal(await page.textContent('#connection-state'), 'Reconnecting');
    assert.ok(await page.isVisible('#connection-retry'));
    await broker.start();
    await page.waitForSelector('body[data-state=open]');
    assert.ok(!(await page.isVisible('#connection-retry')));
    await untilMore(page, '#messages', await numberAt(page, '#messages') + 50);
    await untilChanged(page, '#rows tr[data-symbol=ACME] td');
  });

  onPage('it fits a phone', PHONE, async () => {
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(overflow <= 0, `${overflow} pixels too wide`);
    await untilChartIsDrawn();
    await page.tap('#rows tr[data-symbol=NOVA]');
    assert.equal(await page.textContent('#chosen-symbol'), 'NOVA');
  });

  onPage('dark and light follow the system', { colorScheme: 'light' }, async () => {
    const body = (property) =>
      page.evaluate((name) => getComputedStyle(document.body)[name], property).then(luminance);
    assert.ok(await body('backgroundColor') > 0.8 && await body('color') < 0.2);
    await page.emulateMedia({ colorScheme: 'dark' });
    assert.ok(await body('backgroundColor') < 0.1 && await body('color') > 0.7);
    await untilChartIsDrawn();
  });

  for (const colorScheme of ['light', 'dark']) {
    for (const [device, options] of Object.entries({ desk: {}, phone: PHONE })) {
      const name = `nobody is barred: ${colorScheme}, ${device}`;
      // Without motion, as cells that flash are between two colours.
      onPage(name, { ...options, colorScheme, reducedMotion: 'reduce' }, async () => {
        await untilMore(page, '#messages', 100);
        assert.deepEqual(await barriers(page), []);
      });
    }
  }

  onPage('every control has a name, and radio buttons a legend', {}, async () => {
    const controls = await page.$$eval('button, input, select, a[href]', (elements) =>
      elements.map((element) => {
        const label = element.labels?.[0]?.textContent ?? element.textContent;
        return {
          html: element.outerHTML.slice(0, 100),
          name: (element.getAttribute('aria-label') ?? label).trim(),
          legend: element.closest('fieldset')?.querySelector('legend')?.textContent,
          isRadio: element.type === 'radio',
        };
      }));
    assert.ok(controls.length > 10);
    for (const { html, name, legend, isRadio } of controls) {
      assert.ok(name, html);
      assert.ok(legend || !isRadio, html);
    }
  });

  onPage('what can be clicked is a button, and what changes is told', {}, async () => {
    const clickable = await page.$$eval('[onclick], [role=button], button:not([type])', (all) =>
      all.map((element) => element.outerHTML));
    assert.deepEqual(clickable, []);
    assert.equal(await page.locator('h1').count(), 1);
    assert.equal(await page.getAttribute('html', 'lang'), 'en');
    assert.equal(await page.getAttribute('#connection-state', 'role'), 'status');
  });

  onPage('Tab goes through the controls, and shows where it is', {}, async () => {
    const focused = () => page.evaluate(() => ({
      name: document.activeElement.id || document.activeElement.className,
      outline: getComputedStyle(document.activeElement).outlineStyle,
    }));
    await page.keyboard.press('Tab');
    assert.equal((await focused()).name, 'skip');
    await page.keyboard.press('Tab');
    assert.deepEqual(await focused(), { name: 'filter', outline: 'solid' });
  });
});
