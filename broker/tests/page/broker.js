// A real broker with the demo market in it. It is ready once `start` has resolved, and ended by
// the process that was started.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

const READY_TIMEOUT_MS = 30_000;
const STOP_TIMEOUT_MS = 10_000;
const LISTENING = 'fanfare: listening on ';

export class Broker {
  #options;
  #child = null;
  #port = 0;

  // `options` are those of `fanfare demo`.
  constructor(...options) {
    this.#options = options;
  }

  get origin() {
    return `http://127.0.0.1:${this.#port}`;
  }

  // Starts the broker on a free port; if it had one before, on the same.
  async start() {
    const { FANFARE: program } = process.env;
    if (!program) throw new Error('FANFARE must name the broker: cargo xtask test --only page');
    const listen = ['--listen', `127.0.0.1:${this.#port}`, '--admin-listen', '127.0.0.1:0'];
    const child = spawn(program, ['demo', ...listen, ...this.#options], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.#child = child;
    this.#port = Number(new URL(await address(child)).port);
  }

  async stop() {
    const child = this.#child;
    this.#child = null;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
    await ended;
    clearTimeout(timer);
  }
}

// What the broker says that it listens on.
function address(child) {
  return new Promise((resolve, reject) => {
    const late = () => reject(new Error('the broker was not ready in time'));
    const timer = setTimeout(late, READY_TIMEOUT_MS);
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`the broker ended with ${code}`)));
    // Read to the end: a full pipe would stop the broker.
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (!line.startsWith(LISTENING)) return;
      clearTimeout(timer);
      resolve(line.slice(LISTENING.length));
    });
  });
}
