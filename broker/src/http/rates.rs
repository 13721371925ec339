//! How often one client may ask: requests on topics per second and address.

use std::collections::HashMap;
use std::net::IpAddr;

use fanfare_engine::Now;
use parking_lot::Mutex;

/// Addresses told apart in one second. Those beyond share one count.
const ADDRESSES_MAX: usize = 65_536;

/// Counts the requests of this second, for all shards. What is kept is of this second alone.
#[derive(Debug)]
pub(crate) struct RequestRates {
    /// 0: everything is allowed, and nothing is counted.
    per_second: u32,
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    second: u64,
    counts: HashMap<IpAddr, u32>,
    others: u32,
}

impl RequestRates {
    pub(crate) fn new(per_second: u32) -> Self {
        Self { per_second, window: Mutex::default() }
    }

    pub(super) fn per_second(&self) -> u32 {
        self.per_second
    }

    /// Counts one request; whether it is allowed.
    pub(super) fn admit(&self, address: IpAddr, now: Now) -> bool {
        if self.per_second == 0 {
            return true;
        }
        let second = now.ms() / 1_000;
        let mut window = self.window.lock();
        if window.second != second {
            *window = Window { second, ..Window::default() };
        }
        let has_room = window.counts.len() < ADDRESSES_MAX;
        let client = client_of(address);
        let Window { counts, others, .. } = &mut *window;
        let count = match counts.get_mut(&client) {
            Some(count) => count,
            None if has_room => counts.entry(client).or_default(),
            None => others,
        };
        *count = count.saturating_add(1);
        *count <= self.per_second
    }
}

/// An IPv6 client has a network of 64 bits, so the rest of its address does not tell it apart.
fn client_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_client_over_its_rate_waits_for_the_next_second_and_others_do_not() {
        let rates = RequestRates::new(2);
        let admit = |text: &str, ms| rates.admit(address(text), Now::from_ms(ms));
        assert!(admit("10.0.0.1", 1_000) && admit("10.0.0.1", 1_100));
        assert!(!admit("10.0.0.1", 1_999) && !admit("::ffff:10.0.0.1", 1_999));
        assert!(admit("10.0.0.2", 1_999) && admit("10.0.0.1", 2_000));
        assert!(admit("2001:db8::1", 2_000) && admit("2001:db8::2", 2_000));
        assert!(!admit("2001:db8::3", 2_000) && admit("2001:db8:0:1::3", 2_000));
    }

    #[test]
    fn without_a_rate_nothing_is_kept_and_with_one_little_is() {
        let rates = RequestRates::new(0);
        assert!((0..10).all(|_| rates.admit(address("10.0.0.1"), Now::default())));
        assert!(rates.window.lock().counts.is_empty());
        let rates = RequestRates::new(1);
        for i in 0..=ADDRESSES_MAX as u32 + 1 {
            let admitted = rates.admit(IpAddr::V4(i.into()), Now::default());
            assert_eq!(admitted, i <= ADDRESSES_MAX as u32, "{i}");
        }
        assert_eq!(rates.window.lock().counts.len(), ADDRESSES_MAX);
    }
}
