// How figures are written for a person, the same everywhere on the page.

const MISSING = '–';
const two = new Intl.NumberFormat('en', { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const short = new Intl.NumberFormat('en', {
  notation: 'compact',
  minimumSignificantDigits: 3,
  maximumSignificantDigits: 3,
});
const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const clock = new Intl.DateTimeFormat('en', { timeStyle: 'medium', hourCycle: 'h23' });

export const price = (value) => (Number.isFinite(value) ? two.format(value) : MISSING);

export const compact = (value) => (Number.isFinite(value) ? short.format(value) : MISSING);

export const count = (value) => whole.format(value);

export const time = (ms) => clock.format(ms);

// With a sign, and with a true minus so that columns line up.
export function signed(value) {
  if (!Number.isFinite(value)) return MISSING;
  const text = two.format(Math.abs(value));
  if (text === '0.00') return text;
  return (value > 0 ? '+' : '\u2212') + text;
}

export function bytes(value) {
  if (value < 1_000) return `${whole.format(value)} B`;
  const [divisor, unit] = value < 1_000_000 ? [1_000, 'kB'] : [1_000_000, 'MB'];
  const scaled = value / divisor;
  return `${scaled.toFixed(scaled < 100 ? 1 : 0)} ${unit}`;
}

// With one digit behind the point where it matters.
export function figure(value) {
  if (!Number.isFinite(value)) return MISSING;
  return value < 9.95 ? value.toFixed(1) : whole.format(value);
}
