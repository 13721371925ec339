//! The market of the demo: a seeded random walk over invented symbols, with the skew of a real
//! exchange (a few hot symbols, a long tail) and trades at random moments.
//!
//! Owns prices and the order of events, and no clock: it says how long to wait before each trade.

use std::fmt::Write as _;
use std::time::Duration;

use fastrand::Rng;

use super::symbols;

/// Trades a second over all symbols unless [`Market::with_rate`] says otherwise.
const TICKS_PER_SECOND: f64 = 400.0;

/// How far a price strays from its open, as a standard deviation over a long run.
const DEVIATION_USUAL: f64 = 0.03;

/// How far a price may ever be from its open; beyond it a real exchange would halt the symbol.
const DEVIATION_MAX: f64 = 0.2;

/// The relative move of the hottest symbol in one trade, as a standard deviation.
const STEP: f64 = 0.000_12;

/// The largest relative move of the quietest symbol in one trade, as a standard deviation.
const STEP_MAX: f64 = 0.002;

/// An amount of money in hundredths, so that no price ever shows the noise of binary fractions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cents(u64);

/// An endless sequence of trades, the same for the same seed.
#[derive(Debug)]
pub(crate) struct Market {
    rng: Rng,
    ticks_per_second: f64,
    symbols: Vec<Symbol>,
    /// For each symbol the chance that a trade is in it or in one before it; rises to 1.
    cumulative: Vec<f64>,
}

/// One trade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tick {
    /// The symbol's place in [`Market::names`].
    pub(crate) index: usize,
    /// The symbol's name.
    pub(crate) symbol: String,
    /// What was paid for one share; within `bid` and `ask`.
    pub(crate) price: Cents,
    /// How many shares changed hands.
    pub(crate) size: u64,
    /// The best price of a buyer, below `ask`.
    pub(crate) bid: Cents,
    /// The best price of a seller.
    pub(crate) ask: Cents,
    /// The day's first price.
    pub(crate) open: Cents,
    /// Shares traded so far, this trade included.
    pub(crate) volume: u64,
}

#[derive(Debug)]
struct Symbol {
    name: String,
    open: Cents,
    price: Cents,
    tick_size: u64,
    spread_ticks: u64,
    volume: u64,
    /// Where the fair price stands, relative to the open.
    deviation: f64,
    /// The standard deviation of one trade's move of `deviation`.
    step: f64,
}

impl Market {
    /// A market of `symbols` symbols (at least one) whose every event follows from `seed`.
    pub(crate) fn new(seed: u64, symbols: usize) -> Self {
        let mut rng = Rng::with_seed(seed);
        let symbols: Vec<Symbol> = symbols::names(symbols.max(1))
            .enumerate()
            .map(|(rank, name)| Symbol::listed(name, rank, &mut rng))
            .collect();
        let cumulative = zipf(symbols.len());
        Self { rng, ticks_per_second: TICKS_PER_SECOND, symbols, cumulative }
    }

    /// The same market at another pace: trades a second over all symbols, above 0.
    pub(crate) fn with_rate(mut self, ticks_per_second: f64) -> Self {
        self.ticks_per_second = ticks_per_second;
        self
    }

    /// The names of all symbols, the most traded first.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.symbols.iter().map(|symbol| symbol.name.as_str())
    }

    /// The next trade and how long after the one before it comes (Poisson arrivals).
    pub(crate) fn next_tick(&mut self) -> (Duration, Tick) {
        let delay_s = -(1.0 - self.rng.f64()).ln() / self.ticks_per_second;
        let drawn = self.rng.f64();
        let index = self.cumulative.partition_point(|&c| c <= drawn).min(self.symbols.len() - 1);
        let tick = self.symbols[index].trade(index, &mut self.rng);
        (Duration::from_secs_f64(delay_s), tick)
    }

    /// Every symbol as of its last trade, in the letters of [`Tick::to_json`] and the most traded
    /// first: `{"symbols":[{"s":…},…]}`. A page that opens needs it to show a table at once.
    pub(crate) fn directory_json(&self) -> String {
        let mut json = String::from(r#"{"symbols":["#);
        for (i, symbol) in self.symbols.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            let Symbol { name, price, open, volume, .. } = symbol;
            let (bid, ask) = symbol.quote();
            let _ = write!(json, r#"{comma}{{"s":"{name}","p":{price},"b":{bid},"a":{ask},"#);
            let _ = write!(json, r#""o":{open},"v":{volume}}}"#);
        }
        json.push_str("]}");
        json
    }
}

impl Tick {
    /// The trade as it is published, stamped with `time_ms`, milliseconds since the Unix epoch:
    /// `s`ymbol, `p`rice, si`z`e, `b`id, `a`sk, `o`pen, `v`olume, `t`ime.
    pub(crate) fn to_json(&self, time_ms: u64) -> String {
        let Self { symbol, price, size, bid, ask, open, volume, .. } = self;
        format!(
            "{{\"s\":\"{symbol}\",\"p\":{price},\"z\":{size},\"b\":{bid},\"a\":{ask},\
             \"o\":{open},\"v\":{volume},\"t\":{time_ms}}}"
        )
    }
}

impl Symbol {
    /// A symbol that has traded for a while: not all prices stand at their open.
    fn listed(name: String, rank: usize, rng: &mut Rng) -> Self {
        let open = (400.0 * 200f64.powf(rng.f64())) as u64;
        let tick_size = if open < 50_000 { 1 } else { 5 };
        let open = Cents(open - open % tick_size);
        // Quiet symbols move further in each of their fewer trades and have wider spreads.
        let step = (STEP * ((rank + 1) as f64).sqrt()).min(STEP_MAX);
        let spread_ticks = 1 + (open.0 as f64 * step * 0.5) as u64 / tick_size;
        let deviation = (0.5 * DEVIATION_USUAL * normal(rng)).clamp(-DEVIATION_MAX, DEVIATION_MAX);
        let volume = 40_000_000 / (rank as u64 + 1) + rng.u64(0..100_000);
        let mut symbol =
            Self { name, open, price: open, tick_size, spread_ticks, volume, deviation, step };
        symbol.price = symbol.quote().0;
        symbol
    }

    fn trade(&mut self, index: usize, rng: &mut Rng) -> Tick {
        self.walk(rng);
        let (bid, ask) = self.quote();
        self.price = if rng.bool() { bid } else { ask };
        let size = trade_size(rng);
        self.volume += size;
        Tick {
            index,
            symbol: self.name.clone(),
            price: self.price,
            size,
            bid,
            ask,
            open: self.open,
            volume: self.volume,
        }
    }

    /// One step of an Ornstein-Uhlenbeck walk: random, but drawn back to the open just so much
    /// that in the long run the price strays by [`DEVIATION_USUAL`].
    fn walk(&mut self, rng: &mut Rng) {
        let pull = (self.step / DEVIATION_USUAL).powi(2) / 2.0;
        let moved = self.deviation * (1.0 - pull) + self.step * normal(rng);
        self.deviation = moved.clamp(-DEVIATION_MAX, DEVIATION_MAX);
    }

    /// The best bid and ask around the fair price, both whole multiples of the tick size.
    fn quote(&self) -> (Cents, Cents) {
        let fair = self.open.0 as f64 * (1.0 + self.deviation);
        let spread = self.spread_ticks * self.tick_size;
        let bid = (fair - spread as f64 / 2.0).max(0.0) as u64 / self.tick_size * self.tick_size;
        let bid = bid.max(self.tick_size);
        (Cents(bid), Cents(bid + spread))
    }
}

impl std::fmt::Display for Cents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

/// Chances by Zipf's law with exponent 1, summed up: the second symbol trades half as often as
/// the first, the third a third as often.
fn zipf(count: usize) -> Vec<f64> {
    let total: f64 = (1..=count).map(|rank| 1.0 / rank as f64).sum();
    let mut sum = 0.0;
    (1..=count)
        .map(|rank| {
            sum += 1.0 / rank as f64 / total;
            sum
        })
        .collect()
}

/// Roughly normal with mean 0 and variance 1, never beyond ±3.5: the sum of four uniforms.
fn normal(rng: &mut Rng) -> f64 {
    let sum: f64 = (0..4).map(|_| rng.f64()).sum();
    (sum - 2.0) * 3f64.sqrt()
}

/// Mostly odd lots and single round lots, now and then a block.
fn trade_size(rng: &mut Rng) -> u64 {
    if rng.f64() < 0.4 {
        return rng.u64(1..100);
    }
    let round_lots = 1.0 - 2.5 * (1.0 - rng.f64()).ln();
    100 * round_lots as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(seed: u64, symbols: usize, count: usize) -> Vec<(Duration, Tick)> {
        let mut market = Market::new(seed, symbols);
        (0..count).map(|_| market.next_tick()).collect()
    }

    #[test]
    fn a_seed_decides_everything() {
        assert_eq!(ticks(7, 300, 2_000), ticks(7, 300, 2_000));
        assert_ne!(ticks(7, 300, 2_000), ticks(8, 300, 2_000));
        assert_eq!(Market::new(7, 300).directory_json(), Market::new(7, 300).directory_json());
    }

    #[test]
    fn few_symbols_carry_most_of_the_trades() {
        let mut counts = vec![0u32; 300];
        for (_, tick) in ticks(1, 300, 60_000) {
            counts[tick.index] += 1;
        }
        let share =
            |range: std::ops::Range<usize>| f64::from(counts[range].iter().sum::<u32>()) / 60_000.0;
        assert!((0.14..0.18).contains(&share(0..1)), "the hottest has {}", share(0..1));
        assert!((0.42..0.51).contains(&share(0..10)), "the ten hottest have {}", share(0..10));
        assert!(counts.iter().all(|&count| count > 0), "the tail trades too");
    }

    #[test]
    fn prices_stay_near_their_open_and_between_bid_and_ask() {
        for (_, tick) in ticks(3, 50, 300_000) {
            assert!(tick.bid.0 > 0 && tick.bid < tick.ask, "{tick:?}");
            assert!(tick.bid <= tick.price && tick.price <= tick.ask, "{tick:?}");
            assert!(tick.price.0 * 10 > tick.open.0 * 7, "{tick:?}");
            assert!(tick.price.0 * 10 < tick.open.0 * 13, "{tick:?}");
            assert!(tick.size > 0);
        }
    }

    #[test]
    fn prices_move_both_ways() {
        let (mut up, mut down) = (0, 0);
        let mut last = vec![None; 20];
        for (_, tick) in ticks(5, 20, 20_000) {
            match last[tick.index].replace(tick.price) {
                Some(before) if tick.price > before => up += 1,
                Some(before) if tick.price < before => down += 1,
                _ => {}
            }
        }
        assert!(up > 3_000 && down > 3_000, "{up} up, {down} down");
    }

    #[test]
    fn trades_arrive_at_the_rate_asked_for_and_irregularly() {
        let mut market = Market::new(9, 300).with_rate(1_000.0);
        let delays: Vec<f64> =
            (0..50_000).map(|_| market.next_tick().0.as_secs_f64() * 1_000.0).collect();
        let mean = delays.iter().sum::<f64>() / 50_000.0;
        let variance = delays.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / 50_000.0;
        // Exponential delays have a standard deviation as large as their mean.
        assert!((0.97..1.03).contains(&mean), "{mean} ms");
        assert!((0.9..1.1).contains(&variance), "{variance}");
    }

    #[test]
    fn a_tick_is_compact_json_with_two_decimals() {
        let (_, tick) = Market::new(2, 300).next_tick();
        let tick = Tick {
            symbol: "ACME".into(),
            price: Cents(18_705),
            size: 300,
            bid: Cents(18_704),
            ask: Cents(18_710),
            open: Cents(50),
            volume: 9_000,
            ..tick
        };
        assert_eq!(
            tick.to_json(1_700_000_000_000),
            concat!(
                r#"{"s":"ACME","p":187.05,"z":300,"b":187.04,"a":187.10,"#,
                r#""o":0.50,"v":9000,"t":1700000000000}"#
            )
        );
    }

    #[test]
    fn the_directory_lists_every_symbol_in_little_space() {
        let market = Market::new(11, 300);
        let json = market.directory_json();
        assert!(json.len() < 30 * 1_024, "{} bytes", json.len());
        let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
        let listed: Vec<&str> = parsed["symbols"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| {
                assert!(entry["p"].as_f64().unwrap() > 0.0 && entry["o"].as_f64().unwrap() > 0.0);
                entry["s"].as_str().unwrap()
            })
            .collect();
        assert_eq!(listed, market.names().collect::<Vec<_>>());
    }

    #[test]
    fn a_market_has_at_least_one_symbol() {
        assert_eq!(Market::new(1, 0).names().count(), 1);
    }
}
