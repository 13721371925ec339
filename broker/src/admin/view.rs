//! What the views have in common: which parameters they take, and that they are JSON.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use fanfare_protocol::TopicName;
use serde::Serialize;

use super::problem::problem;
use crate::http::parameters;

/// Rows shown unless another number is asked for, and at most.
const LIMIT_DEFAULT: usize = 20;
pub(crate) const LIMIT_MAX: usize = 1_000;

/// What a view may be asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parameters<K: 'static> {
    /// What it can be sorted by, by name; the first is the usual one.
    pub(super) orders: &'static [(K, &'static str)],
    /// Whether it can be of one topic.
    pub(super) takes_topic: bool,
}

/// What a view is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked<K> {
    pub(super) order: K,
    pub(super) limit: usize,
    pub(super) topic: Option<TopicName>,
}

impl<K: Copy> Parameters<K> {
    /// What `query` asks for.
    ///
    /// # Errors
    /// A response that says what is wrong and what is allowed.
    pub(super) fn read(self, query: Option<&str>) -> Result<Asked<K>, Box<Response>> {
        self.parse(query).map_err(|wrong| {
            let detail = format!("{wrong}; {}", self.allowed());
            Box::new(problem(StatusCode::BAD_REQUEST, &detail))
        })
    }

    fn parse(self, query: Option<&str>) -> Result<Asked<K>, String> {
        let order = self.orders[0].0;
        let mut asked = Asked { order, limit: LIMIT_DEFAULT, topic: None };
        let mut seen: Vec<String> = Vec::new();
        for (name, value) in parameters(query)? {
            if seen.contains(&name) {
                return Err(format!("{name} stands twice"));
            }
            match name.as_str() {
                "sort" => asked.order = self.order(&value)?,
                "limit" => asked.limit = limit(&value)?,
                "topic" if self.takes_topic => {
                    asked.topic = Some(TopicName::new(&value).map_err(|error| error.to_string())?);
                }
                _ => return Err(format!("there is no parameter {name:?}")),
            }
            seen.push(name);
        }
        Ok(asked)
    }

    fn order(self, value: &str) -> Result<K, String> {
        let known = self.orders.iter().find(|(_, name)| *name == value);
        known.map(|(order, _)| *order).ok_or_else(|| format!("nothing is sorted by {value:?}"))
    }

    fn allowed(self) -> String {
        let names: Vec<&str> = self.orders.iter().map(|(_, name)| *name).collect();
        let topic = if self.takes_topic { ", and topic, the name of one" } else { "" };
        let names = names.join(", ");
        format!("this takes sort, one of {names}, limit, from 1 to {LIMIT_MAX}{topic}")
    }
}

fn limit(value: &str) -> Result<usize, String> {
    let limit = value.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
    limit.ok_or_else(|| format!("{value:?} is no limit"))
}

/// A view as JSON, for people too.
pub(super) fn json(view: &impl Serialize) -> Response {
    match serde_json::to_string_pretty(view) {
        Ok(text) => {
            let content_type = [(header::CONTENT_TYPE, "application/json")];
            (content_type, format!("{text}\n")).into_response()
        }
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIEW: Parameters<u8> =
        Parameters { orders: &[(1, "one"), (2, "two")], takes_topic: true };

    #[test]
    fn what_is_not_said_is_as_usual() {
        let usual = Asked { order: 1, limit: 20, topic: None };
        assert_eq!(VIEW.parse(None), Ok(usual.clone()));
        assert_eq!(VIEW.parse(Some("")), Ok(usual));
        let topic = Some(TopicName::new("a=b").unwrap());
        let asked = Asked { order: 2, limit: 1_000, topic };
        assert_eq!(VIEW.parse(Some("limit=1000&sort=two&topic=a%3Db")), Ok(asked));
    }

    #[test]
    fn what_is_unknown_twice_or_out_of_range_is_refused() {
        for wrong in [
            "limit=0",
            "limit=1001",
            "limit=x",
            "limit=",
            "limit=5&limit=6",
            "sort=three",
            "sort",
            "topic=a&topic=b",
            "topic=a..b",
            "n=5",
            "limit=%ff",
        ] {
            assert!(VIEW.parse(Some(wrong)).is_err(), "{wrong}");
        }
        let without_topic = Parameters { takes_topic: false, ..VIEW };
        assert!(without_topic.parse(Some("topic=a")).is_err());
        assert_eq!(
            without_topic.allowed(),
            "this takes sort, one of one, two, limit, from 1 to 1000"
        );
    }
}
