// A price chart on a canvas: line, area, volume bars, both axes, and a cross hair. Draws whatever
// quote it is given; where the prices come from is not its business.

import { compact, price, time } from './format.js';

const WINDOW_MIN_MS = 15_000;
const WINDOW_MAX_MS = 300_000;
const AXIS_WIDTH = 62;
const AXIS_HEIGHT = 24;
const TOP = 14;
const VOLUME_SHARE = 0.18;
const BAR_WIDTH_MIN = 7;
const FONT = '11px system-ui, sans-serif';

export class Chart {
  #canvas;
  #context;
  #pointerX = null;
  #colors = null;
  #drawn = null;
  #width = 0;
  #height = 0;

  constructor(canvas) {
    this.#canvas = canvas;
    this.#context = canvas.getContext('2d');
    new ResizeObserver(() => this.#resize()).observe(canvas);
    const scheme = matchMedia('(prefers-color-scheme: dark)');
    scheme.addEventListener('change', () => {
      this.#colors = null;
      this.#redraw();
    });
    canvas.addEventListener('pointermove', ({ offsetX }) => this.#pointAt(offsetX));
    canvas.addEventListener('pointerleave', () => this.#pointAt(null));
  }

  // Draws `quote` as it stands at `now`, in milliseconds of the publisher's clock.
  draw(quote, now) {
    this.#drawn = [quote, now];
    if (!this.#width) return;
    this.#colors ??= readColors(this.#canvas);
    this.#context.clearRect(0, 0, this.#width, this.#height);
    const { buckets } = quote;
    if (buckets.length === 0) {
      this.#text('Waiting for the first trade…', this.#width / 2, this.#height / 2, 'center');
      return;
    }
    const scale = this.#scale(buckets, quote, now);
    const color = quote.change >= 0 ? this.#colors.up : this.#colors.down;
    this.#drawGrid(scale, quote.last);
    this.#drawVolume(scale);
    this.#drawLine(scale, color);
    this.#drawOpen(scale, quote.open);
    this.#drawLast(scale, quote.last, color);
    if (this.#pointerX !== null) this.#drawCrossHair(scale);
    this.#describe(quote, scale);
  }

  #redraw() {
    if (this.#drawn) this.draw(...this.#drawn);
  }

  #pointAt(x) {
    this.#pointerX = x;
    this.#redraw();
  }

  #resize() {
    const ratio = devicePixelRatio || 1;
    this.#width = this.#canvas.clientWidth;
    this.#height = this.#canvas.clientHeight;
    this.#canvas.width = Math.round(this.#width * ratio);
    this.#canvas.height = Math.round(this.#height * ratio);
    this.#context.setTransform(ratio, 0, 0, ratio, 0, 0);
    // A canvas that gets a new size is blank; draw before the screen shows it.
    this.#redraw();
  }

  // Where times and prices stand on the canvas. The window widens with what is known.
  #scale(buckets, { last }, now) {
    const age = now - buckets[0].start;
    const end = Math.max(now, buckets.at(-1).start);
    const start = end - Math.min(WINDOW_MAX_MS, Math.max(WINDOW_MIN_MS, age));
    const first = buckets.findIndex((bucket) => bucket.start >= start);
    // One bucket from before the window, so that the line comes in from the edge.
    const shown = first < 0 ? buckets.slice(-1) : buckets.slice(Math.max(0, first - 1));
    const closes = shown.map((bucket) => bucket.close);
    const low = Math.min(last, ...closes);
    const high = Math.max(last, ...closes);
    const pad = Math.max((high - low) * 0.12, last * 0.000_5, 0.01);
    const right = this.#width - AXIS_WIDTH;
    const bottom = this.#height - AXIS_HEIGHT;
    const floor = bottom - (bottom - TOP) * VOLUME_SHARE;
    const x = (t) => ((t - start) / (end - start)) * right;
    const y = (p) => floor - ((p - low + pad) / (high - low + 2 * pad)) * (floor - TOP);
    return { shown, start, end, low: low - pad, high: high + pad, right, bottom, floor, x, y };
  }

  #drawGrid({ start, end, low, high, right, bottom, x, y }, last) {
    const step = niceStep((high - low) / Math.max(3, bottom / 70));
    for (let p = Math.ceil(low / step) * step; p <= high; p += step) {
      this.#line(0, y(p), right, y(p), this.#colors.grid);
      const isCovered = Math.abs(y(p) - y(last)) < 15;
      if (!isCovered) this.#text(price(p), this.#width - 6, y(p) + 4, 'right');
    }
    const stride = timeStep((end - start) / Math.max(2, right / 110));
    for (let t = Math.ceil(start / stride) * stride; t <= end; t += stride) {
      this.#line(x(t), TOP, x(t), bottom, this.#colors.grid);
      if (x(t) > 30 && x(t) < right - 30) this.#text(time(t), x(t), this.#height - 7, 'center');
    }
    this.#line(0, bottom, this.#width, bottom, this.#colors.border);
    this.#line(right, 0, right, bottom, this.#colors.border);
  }

  #drawVolume({ shown, start, end, right, bottom, floor, x }) {
    const span = timeStep(((end - start) / right) * BAR_WIDTH_MIN);
    const bars = new Map();
    for (const { start: t, volume } of shown) {
      const from = Math.floor(t / span) * span;
      bars.set(from, (bars.get(from) ?? 0) + volume);
    }
    const most = Math.max(...bars.values());
    const width = x(start + span) - 1;
    this.#context.fillStyle = this.#colors.volume;
    for (const [from, volume] of bars) {
      const height = (volume / most) * (bottom - floor - 4) || 0;
      this.#context.fillRect(x(from), bottom - height, Math.min(width, right - x(from)), height);
    }
  }

  #drawOpen({ low, high, right, y }, open) {
    if (open < low || open > high) return;
    this.#line(0, y(open), right, y(open), this.#colors.muted, [2, 4]);
    // On a halo of the ground's colour, to be readable across the price line.
    this.#context.strokeStyle = this.#colors.panel;
    this.#context.lineWidth = 4;
    this.#context.font = FONT;
    this.#context.textAlign = 'left';
    this.#context.strokeText('open', 6, y(open) - 5);
    this.#text('open', 6, y(open) - 5, 'left');
  }

  #drawLine({ shown, end, right, floor, x, y }, color) {
    const context = this.#context;
    const points = shown.map(({ start, close }) => [x(start), y(close)]);
    points.push([x(end), y(shown.at(-1).close)]);
    context.save();
    context.beginPath();
    context.rect(0, 0, right, this.#height);
    context.clip();
    context.beginPath();
    for (const [px, py] of points) context.lineTo(px, py);
    context.strokeStyle = color;
    context.lineWidth = 1.75;
    context.lineJoin = 'round';
    context.stroke();
    context.lineTo(points.at(-1)[0], floor);
    context.lineTo(points[0][0], floor);
    const fade = context.createLinearGradient(0, TOP, 0, floor);
    fade.addColorStop(0, color);
    // The same colour without opacity; `transparent` would be black and grey on the way.
    fade.addColorStop(1, `${color}00`);
    context.globalAlpha = 0.22;
    context.fillStyle = fade;
    context.fill();
    context.restore();
  }

  #drawLast({ right, y }, last, color) {
    const context = this.#context;
    const at = y(last);
    this.#line(0, at, right, at, color, [4, 4]);
    context.fillStyle = color;
    context.beginPath();
    context.arc(right, at, 3.5, 0, 2 * Math.PI);
    context.fill();
    this.#tag(price(last), at, color, this.#colors.onColor);
  }

  #drawCrossHair({ shown, right, bottom, x, y }) {
    if (this.#pointerX > right) return;
    const distance = ({ start }) => Math.abs(x(start) - this.#pointerX);
    const nearest = shown.reduce((a, b) => (distance(b) < distance(a) ? b : a));
    const at = Math.max(0, x(nearest.start));
    this.#line(at, TOP, at, bottom, this.#colors.muted);
    this.#line(0, y(nearest.close), right, y(nearest.close), this.#colors.muted);
    this.#tag(price(nearest.close), y(nearest.close), this.#colors.text, this.#colors.panel);
    const volume = `vol ${compact(nearest.volume)}`;
    const label = [time(nearest.start), price(nearest.close), volume].join('   ');
    this.#text(label, right - 10, TOP + 6, 'right', this.#colors.text);
  }

  #tag(text, at, background, color) {
    const context = this.#context;
    context.fillStyle = background;
    context.beginPath();
    context.roundRect(this.#width - AXIS_WIDTH + 4, at - 9, AXIS_WIDTH - 4, 18, 3);
    context.fill();
    this.#text(text, this.#width - 6, at + 4, 'right', color);
  }

  #line(x1, y1, x2, y2, color, dash = []) {
    const context = this.#context;
    // A line of one pixel is crisp only along the middle of a pixel.
    const crisp = (value) => Math.round(value) + 0.5;
    context.beginPath();
    context.moveTo(crisp(x1), crisp(y1));
    context.lineTo(crisp(x2), crisp(y2));
    context.strokeStyle = color;
    context.lineWidth = 1;
    context.setLineDash(dash);
    context.stroke();
    context.setLineDash([]);
  }

  #text(text, x, y, align, color = this.#colors.muted) {
    this.#context.font = FONT;
    this.#context.textAlign = align;
    this.#context.fillStyle = color;
    this.#context.fillText(text, x, y);
  }

  #describe({ symbol, last }, { shown }) {
    const closes = shown.map((bucket) => bucket.close);
    const range = `${price(Math.min(...closes))} to ${price(Math.max(...closes))}`;
    const label = `Price chart of ${symbol}: last ${price(last)}, range ${range}`;
    this.#canvas.setAttribute('aria-label', label);
  }
}

function readColors(element) {
  const style = getComputedStyle(element);
  const names = ['up', 'down', 'grid', 'border', 'muted', 'text', 'panel', 'volume', 'on-color'];
  const entries = names.map((name) => [
    name.replace('-c', 'C'),
    style.getPropertyValue(`--${name}`).trim(),
  ]);
  return Object.fromEntries(entries);
}

// The smallest of 1, 2 and 5 times a power of ten that is at least `wanted`, and at least a cent.
function niceStep(wanted) {
  const power = 10 ** Math.floor(Math.log10(wanted));
  const factor = [1, 2, 5, 10].find((candidate) => candidate * power >= wanted);
  return Math.max(0.01, factor * power);
}

function timeStep(wanted) {
  const steps = [500, 1_000, 2_000, 5_000, 10_000, 15_000, 30_000, 60_000, 120_000];
  return steps.find((step) => step >= wanted) ?? 300_000;
}
