// A real Chromium, and pages that remember what went wrong in them.

import { setTimeout } from 'node:timers/promises';

import axe from 'axe-core';
import { chromium } from 'playwright-core';

// Nothing but the broker is to be reached.
const ARGUMENTS = [
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-quic',
  '--disable-sync',
  '--no-first-run',
];

const TIMEOUT_MS = 30_000;
const POLL_INTERVAL_MS = 50;

// What a lost connection makes the browser itself write to the console.
const CONNECTION_LOST = /net::ERR_|WebSocket connection to .* failed/;

export function launch() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ARGUMENTS,
    // The sandbox of Chromium does not start for root.
    chromiumSandbox: process.getuid() !== 0,
  });
}

// Opens `url` in a profile of its own, with these `options` of Playwright's contexts.
// `page.faults` collects every error and warning of scripts and console but those of a lost
// connection, `page.strangers` every request to another host.
export async function open(browser, url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(TIMEOUT_MS);
  page.faults = [];
  page.strangers = [];
  page.on('pageerror', (error) => page.faults.push(String(error.stack ?? error)));
  page.on('console', (message) => {
    const isFault = ['error', 'warning'].includes(message.type());
    if (isFault && !CONNECTION_LOST.test(message.text())) page.faults.push(message.text());
  });
  page.on('request', (request) => {
    if (new URL(request.url()).host !== new URL(url).host) page.strangers.push(request.url());
  });
  await page.goto(url);
  return page;
}

// Waits until the page is connected and its table is filled.
export async function untilLive(page) {
  await page.waitForSelector('body[data-state=open]');
  await page.waitForFunction(() => document.querySelectorAll('#rows tr').length > 100);
}

// Waits until `check` resolves to something true.
export async function until(check) {
  const deadline = Date.now() + TIMEOUT_MS;
  while (!(await check())) {
    if (Date.now() > deadline) throw new Error(`never came true: ${check}`);
    await setTimeout(POLL_INTERVAL_MS);
  }
}

// The number that stands in the element of this selector.
export async function numberAt(page, selector) {
  return Number.parseFloat((await page.textContent(selector)).replaceAll(',', ''));
}

// Waits until the number that stands there is greater than `least`.
export function untilMore(page, selector, least) {
  return until(async () => (await numberAt(page, selector)) > least);
}

// Waits until another text stands there than now.
export async function untilChanged(page, selector) {
  const before = await page.textContent(selector);
  await until(async () => (await page.textContent(selector)) !== before);
}

// What of the page breaks a rule of accessibility, as axe sees it.
export async function barriers(page) {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(' ')}`);
}
