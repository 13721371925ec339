// Renews the picture of the live page: `cargo xtask screenshot`. With FANFARE and CHROMIUM set,
// `node screenshot.js FILE [light|dark] [WIDTH]` takes one in other circumstances.

import { setTimeout } from 'node:timers/promises';

import { Broker } from './broker.js';
import { launch, open, untilLive } from './browser.js';

// Long enough that the chart has something to show, and each transport's figures have settled.
const SETTLE_MS = 8_000;
const PHONE_WIDTH_MAX = 620;

async function takePicture(page, file) {
  await untilLive(page);
  await setTimeout(SETTLE_MS);
  for (const transport of ['sdk', 'sse', 'long_poll', 'poll']) {
    await page.locator(`#transport label:has(input[value=${transport}])`).click();
    await setTimeout(SETTLE_MS);
  }
  await page.screenshot({ path: file, fullPage: page.viewportSize().width <= PHONE_WIDTH_MAX });
}

const [file, colorScheme = 'light', width = '1280'] = process.argv.slice(2);
const viewport = { width: Number(width), height: 800 };
const broker = new Broker();
let browser;
try {
  await broker.start();
  browser = await launch();
  await takePicture(await open(browser, broker.origin, { colorScheme, viewport }), file);
} finally {
  await browser?.close();
  await broker.stop();
}
