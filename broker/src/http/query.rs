//! The parameters behind the `?` of a topic's URL: what each may be, one definition for all
//! transports. Which topics several of them select together is in `selection`.

use std::time::Duration;

use fanfare_engine::StreamOptions;
use fanfare_protocol::limits::{HISTORY_MESSAGES_MAX, MAX_RATES, WAIT_MS_MAX};
use fanfare_protocol::{Mode, Position};
use percent_encoding::percent_decode_str;

/// What a raw stream may ask for: `since=EPOCH:OFFSET`, `mode`, `max_rate` and `snapshot`.
///
/// # Errors
/// A sentence that says which parameter is wrong and what is allowed.
pub(super) fn stream(query: Option<&str>) -> Result<(Option<Position>, StreamOptions), String> {
    let (mut since, mut options) = (None, StreamOptions::default());
    for (name, value) in parameters(query)? {
        match name.as_str() {
            "since" => since = Some(position("since", &value)?),
            _ if option(&mut options, &name, &value)? => {}
            _ => {
                let known = "since, mode, max_rate and snapshot";
                return Err(format!("the raw stream takes the parameters {known}"));
            }
        }
    }
    check(options)?;
    Ok((since, options))
}

/// Takes a parameter that all streams have; whether it is one.
pub(super) fn option(options: &mut StreamOptions, name: &str, value: &str) -> Result<bool, String> {
    match name {
        "mode" => options.mode = Some(mode(value)?),
        "max_rate" => options.max_rate = Some(max_rate(value)?),
        "snapshot" => options.snapshot = Some(flag("snapshot", value)?),
        _ => return Ok(false),
    }
    Ok(true)
}

/// Whether the options of a stream go together.
pub(super) fn check(options: StreamOptions) -> Result<(), String> {
    if options.max_rate.is_some() && options.mode == Some(Mode::All) {
        return Err("max_rate passes messages over, so it does not go with mode=all".to_owned());
    }
    Ok(())
}

/// Names and values in their order. None but `topic` may stand twice.
pub(crate) fn parameters(query: Option<&str>) -> Result<Vec<(String, String)>, String> {
    let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let decoded = |text: &str| {
        let text = percent_decode_str(text).decode_utf8();
        text.map(String::from).map_err(|_| "the query is not UTF-8".to_owned())
    };
    let mut parameters: Vec<(String, String)> = Vec::new();
    for pair in pairs {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decoded(name)?, decoded(value)?);
        if name != "topic" && parameters.iter().any(|(known, _)| *known == name) {
            return Err(format!("{name} stands twice; give it once"));
        }
        parameters.push((name, value));
    }
    Ok(parameters)
}

/// The positions `value` holds, one for each of `count` topics: joined by `,`, and `-` where
/// there is none.
pub(super) fn positions(
    name: &str,
    value: &str,
    count: usize,
) -> Result<Vec<Option<Position>>, String> {
    let one = |text: &str| match text {
        "-" => Ok(None),
        _ => position(name, text).map(Some),
    };
    let positions: Vec<_> = value.split(',').map(one).collect::<Result<_, _>>()?;
    if positions.len() != count {
        return Err(format!(
            "{name} has {} positions for {count} topics; it needs one for each, joined by `,`, \
             and `-` where there is none",
            positions.len()
        ));
    }
    Ok(positions)
}

fn position(name: &str, value: &str) -> Result<Position, String> {
    let parts = value.split_once(':').filter(|(epoch, _)| !epoch.is_empty());
    let position = parts.and_then(|(epoch, offset)| {
        Some(Position { epoch: epoch.to_owned(), offset: offset.parse().ok()? })
    });
    position.ok_or_else(|| format!("{name} is written EPOCH:OFFSET"))
}

fn mode(value: &str) -> Result<Mode, String> {
    Mode::from_name(value).ok_or_else(|| format!("mode is {}", Mode::NAMES.join(" or ")))
}

fn max_rate(value: &str) -> Result<u32, String> {
    let rate = value.parse().ok().filter(|rate| MAX_RATES.contains(rate));
    rate.ok_or_else(|| format!("max_rate is one of {MAX_RATES:?}, in messages per second"))
}

pub(super) fn limit(value: &str) -> Result<usize, String> {
    let most = HISTORY_MESSAGES_MAX as usize;
    let limit = value.parse().ok().filter(|limit| (1..=most).contains(limit));
    limit.ok_or_else(|| format!("limit is a number from 1 to {most}"))
}

/// How long a request may be held: a duration such as `25s`.
pub(super) fn wait(value: &str) -> Result<Duration, String> {
    let wait = humantime::parse_duration(value).ok().filter(|wait| wait <= &WAIT_MAX);
    wait.ok_or_else(|| format!("wait is a duration such as 25s, at most {} s", WAIT_MAX.as_secs()))
}

const WAIT_MAX: Duration = Duration::from_millis(WAIT_MS_MAX);

fn flag(name: &str, value: &str) -> Result<bool, String> {
    value.parse().map_err(|_| format!("{name} is true or false"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parameters_of_a_raw_stream_are_checked() {
        let position = Position { epoch: "k3".to_owned(), offset: 41 };
        assert_eq!(stream(None), Ok((None, StreamOptions::default())));
        let options =
            StreamOptions { mode: Some(Mode::Latest), max_rate: Some(5), snapshot: Some(false) };
        assert_eq!(
            stream(Some("since=k3%3A41&mode=latest&max_rate=5&snapshot=false")),
            Ok((Some(position), options))
        );
        for wrong in [
            "since=41",
            "since=k3:",
            "since=:1",
            "since=k3:-1",
            "mode=newest",
            "sense=1",
            "x",
            "max_rate=3",
            "max_rate=5&mode=all",
            "snapshot=1",
            "since=%ff",
            "mode=all&mode=all",
        ] {
            assert!(stream(Some(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_are_bounded() {
        assert_eq!(wait("1500ms"), Ok(Duration::from_millis(1_500)));
        assert_eq!(wait("60s"), Ok(WAIT_MAX));
        for wrong in ["", "61s", "1h", "-1s", "25", "soon"] {
            assert!(wait(wrong).unwrap_err().contains("at most 60 s"), "{wrong}");
        }
    }
}
