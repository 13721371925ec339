//! Fields of commands, read so that nothing is taken for what it is not and errors tell what is
//! allowed.

use std::fmt;

use serde::de::{self, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

use crate::limits::{HISTORY_MESSAGES_MAX, MAX_RATES, PRESENCE_MEMBERS_MAX};
use crate::reply::Position;

/// Reads a [`Position`] as strictly as everything in a command; in a reply unknown fields are
/// passed over.
pub(super) fn position<'de, D>(deserializer: D) -> Result<Option<Position>, D::Error>
where
    D: Deserializer<'de>,
{
    Ok(Option::<StrictPosition>::deserialize(deserializer)?.map(|strict| strict.0))
}

struct StrictPosition(Position);

impl<'de> Deserialize<'de> for StrictPosition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PositionVisitor;

        impl<'de> Visitor<'de> for PositionVisitor {
            type Value = StrictPosition;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with `epoch` and `offset`")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<StrictPosition, A::Error> {
                let (mut epoch, mut offset) = (None, None);
                while let Some(key) = map.next_key::<String>()? {
                    let twice = match key.as_str() {
                        "epoch" => epoch.replace(map.next_value()?).is_some(),
                        "offset" => offset.replace(map.next_value()?).is_some(),
                        _ => return Err(de::Error::unknown_field(&key, &["epoch", "offset"])),
                    };
                    if twice {
                        return Err(de::Error::custom(format_args!("`{key}` stands twice")));
                    }
                }
                let epoch = epoch.ok_or_else(|| de::Error::missing_field("epoch"))?;
                let offset = offset.ok_or_else(|| de::Error::missing_field("offset"))?;
                Ok(StrictPosition(Position { epoch, offset }))
            }
        }

        deserializer.deserialize_map(PositionVisitor)
    }
}

/// Reads one of [`MAX_RATES`].
pub(super) fn max_rate<'de, D>(deserializer: D) -> Result<Option<u32>, D::Error>
where
    D: Deserializer<'de>,
{
    let rates = MAX_RATES.map(|rate| rate.to_string()).join(", ");
    deserializer.deserialize_option(Integer {
        expected: format!("one of {rates} messages per second"),
        is_allowed: |rate| MAX_RATES.contains(&rate),
    })
}

/// Reads the length of a page of history.
pub(super) fn history_limit<'de, D>(deserializer: D) -> Result<Option<u32>, D::Error>
where
    D: Deserializer<'de>,
{
    deserializer.deserialize_option(Integer {
        expected: format!("1 to {HISTORY_MESSAGES_MAX} messages"),
        is_allowed: |limit| (1..=HISTORY_MESSAGES_MAX).contains(&limit),
    })
}

/// Reads the length of a list of who is present.
pub(super) fn presence_limit<'de, D>(deserializer: D) -> Result<Option<u32>, D::Error>
where
    D: Deserializer<'de>,
{
    deserializer.deserialize_option(Integer {
        expected: format!("1 to {PRESENCE_MEMBERS_MAX} members"),
        is_allowed: |limit| (1..=PRESENCE_MEMBERS_MAX).contains(&limit),
    })
}

/// Reads an integer, or `null` for none.
struct Integer {
    /// What is allowed, for the error.
    expected: String,
    is_allowed: fn(u32) -> bool,
}

impl<'de> Visitor<'de> for Integer {
    type Value = Option<u32>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.expected)
    }

    fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
        match u32::try_from(value) {
            Ok(value) if (self.is_allowed)(value) => Ok(Some(value)),
            _ => Err(E::invalid_value(Unexpected::Unsigned(value), &self)),
        }
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
        match u64::try_from(value) {
            Ok(value) => self.visit_u64(value),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(value), &self)),
        }
    }
}
