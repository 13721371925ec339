// Renews the picture of the live page: `cargo xtask screenshot`, or `node screenshot.js FILE
// [light|dark] [WIDTH]` for a look at it in other circumstances.

import { setTimeout } from 'node:timers/promises';

import { Broker } from './broker.js';
import { launch, open, untilLive } from './browser.js';

// Long enough that the chart has something to show.
const SETTLE_MS = 20_000;

const [file, colorScheme = 'light', width = '1280'] = process.argv.slice(2);
const broker = new Broker();
await broker.start();
try {
  const browser = await launch();
  try {
    const viewport = { width: Number(width), height: 800 };
    const page = await open(browser, broker.origin, { colorScheme, viewport });
    await untilLive(page);
    await setTimeout(SETTLE_MS);
    await page.screenshot({ path: file, fullPage: viewport.width < 960 });
  } finally {
    await browser.close();
  }
} finally {
  await broker.stop();
}
