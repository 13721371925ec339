//! Numbers as people read them, in at most nine characters.

/// Bytes in binary units, as `1.5 KiB`.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1_024 {
        return format!("{bytes} B");
    }
    let mut amount = bytes as f64 / 1_024.0;
    let mut unit = 0;
    // What would be rounded up to the next unit is told in it.
    while amount >= 1_023.95 && unit + 1 < UNITS.len() {
        amount /= 1_024.0;
        unit += 1;
    }
    format!("{amount:.1} {}", UNITS[unit])
}

/// A number that need not be exact, as `1.25 M`.
pub(super) fn amount(amount: f64) -> String {
    match amount {
        n if n >= 999_950_000.0 => format!("{:.2} G", n / 1e9),
        n if n >= 999_950.0 => format!("{:.2} M", n / 1e6),
        n if n >= 9_999.5 => format!("{:.1} k", n / 1e3),
        n if n >= 99.95 || n.fract() == 0.0 => format!("{n:.0}"),
        n => format!("{n:.1}"),
    }
}

/// A time, as `12 ms`, `3.4 s`, `5m 12s` or `3d 4h`.
pub(super) fn time_ms(ms: u64) -> String {
    let seconds = ms / 1_000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match seconds {
        0 => format!("{ms} ms"),
        1..60 => format!("{}.{} s", seconds, ms % 1_000 / 100),
        60..3_600 => format!("{minutes}m {:02}s", seconds % 60),
        3_600..86_400 => format!("{hours}h {:02}m", minutes % 60),
        _ => format!("{days}d {:02}h", hours % 24),
    }
}

/// A time of which seconds are known.
pub(super) fn time_s(seconds: u32) -> String {
    if seconds < 60 { format!("{seconds} s") } else { time_ms(u64::from(seconds) * 1_000) }
}

/// A part of a whole, as `12 %`.
pub(super) fn percent(ratio: f64) -> String {
    format!("{:.0} %", ratio * 100.0)
}

/// What may not be known.
pub(super) fn or_dash<T>(value: Option<T>, write: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), write)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_grow_with_the_number() {
        for (number, text) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.0 KiB"),
            (1_048_575, "1.0 MiB"),
            (1_572_864, "1.5 MiB"),
            (u64::MAX, "16384.0 PiB"),
        ] {
            assert_eq!(bytes(number), text);
        }
        for (number, text) in [
            (0.0, "0"),
            (0.25, "0.2"),
            (99.94, "99.9"),
            (99.96, "100"),
            (9_999.4, "9999"),
            (9_999.6, "10.0 k"),
            (2_700_000.0, "2.70 M"),
            (3e9, "3.00 G"),
        ] {
            assert_eq!(amount(number), text);
        }
        for (number, text) in [
            (999, "999 ms"),
            (1_000, "1.0 s"),
            (59_999, "59.9 s"),
            (61_000, "1m 01s"),
            (7_500_000, "2h 05m"),
            (90_000_000, "1d 01h"),
        ] {
            assert_eq!(time_ms(number), text);
        }
        assert_eq!((time_s(59), time_s(61)), ("59 s".to_owned(), "1m 01s".to_owned()));
        assert_eq!(
            (percent(0.256), or_dash(None::<u64>, bytes)),
            ("26 %".to_owned(), "-".to_owned())
        );
    }
}
