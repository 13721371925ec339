//! Values on the command line as people write them: times, sizes, speeds and shares.

use std::time::Duration;

/// `10s`, `500ms`, `1m 30s`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write 10s, 500ms or 2m"))
}

/// As [`duration`], and more than nothing.
pub(super) fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration(text)?;
    if interval.is_zero() {
        Err("write more than nothing, such as 1s".to_owned())
    } else {
        Ok(interval)
    }
}

/// `128`, `4KiB`.
pub(super) fn size(text: &str) -> Result<usize, String> {
    let size: bytesize::ByteSize = text.parse()?;
    usize::try_from(size.as_u64()).map_err(|error| error.to_string())
}

/// `20x`, `0.5`.
pub(super) fn speed(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('x').unwrap_or(text);
    positive(number).map_err(|_| "write a positive number such as 20x, 1x or 0.5x".to_owned())
}

/// `10%`, as a part of one.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let percent = text.strip_suffix('%').and_then(|percent| positive(percent).ok());
    percent.map(|percent| percent / 100.0).ok_or_else(|| "write a share such as 10%".to_owned())
}

/// Anything per second.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    positive(text).map_err(|_| "write a positive number such as 2 or 20000".to_owned())
}

fn positive(text: &str) -> Result<f64, ()> {
    let number = text.parse::<f64>().map_err(drop)?;
    if number.is_finite() && number > 0.0 { Ok(number) } else { Err(()) }
}

/// Some of a number of things.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Portion {
    /// So many of a hundred.
    Percent(f64),
    /// So many.
    Count(u32),
}

impl Portion {
    /// How many of `all` that is, rounded; at most all.
    #[must_use]
    pub(crate) fn of(self, all: u32) -> u32 {
        match self {
            Self::Percent(percent) => (f64::from(all) * percent / 100.0).round() as u32,
            Self::Count(count) => count,
        }
        .min(all)
    }
}

/// `1%`, `0.5%`, `100`.
pub(super) fn portion(text: &str) -> Result<Portion, String> {
    let portion = match text.strip_suffix('%') {
        Some(percent) => positive(percent).ok().filter(|p| *p <= 100.0).map(Portion::Percent),
        None => text.parse().ok().filter(|count| *count > 0).map(Portion::Count),
    };
    portion.ok_or_else(|| "write a share such as 1% or a number such as 100".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_units_that_people_write() {
        assert_eq!(size("128"), Ok(128));
        assert_eq!(size("4KiB"), Ok(4_096));
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(interval("1s"), Ok(Duration::from_secs(1)));
        assert!(interval("0s").is_err());
        assert_eq!(speed("20x"), Ok(20.0));
        assert_eq!(speed("0.5"), Ok(0.5));
        assert_eq!(rate("0.5"), Ok(0.5));
        for bad in ["0x", "-1x", "x", "inf", "fast"] {
            assert!(speed(bad).is_err(), "{bad}");
        }
        assert_eq!(share("5%"), Ok(0.05));
        assert!(share("5").is_err() && share("-5%").is_err());
        assert!(rate("0").is_err() && rate("2x").is_err());
    }

    #[test]
    fn a_portion_is_a_share_or_a_number() {
        assert_eq!(portion("1%").map(|p| p.of(10_000)), Ok(100));
        assert_eq!(portion("0.5%").map(|p| p.of(1_000)), Ok(5));
        assert_eq!(portion("7").map(|p| p.of(10_000)), Ok(7));
        assert_eq!(portion("7").map(|p| p.of(5)), Ok(5));
        for bad in ["0%", "101%", "0", "-1", "some", "1.5"] {
            assert!(portion(bad).is_err(), "{bad}");
        }
    }
}
