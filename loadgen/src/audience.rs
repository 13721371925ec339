//! Who subscribes to what, as the command line says it: names of topics, and what cannot be.

use anyhow::{Result, ensure};
use fanfare_protocol::TopicName;

use crate::cli::{AudienceArgs, PayloadArgs, TopicArgs};
use crate::feed::PAYLOAD_BYTES_MIN;
use crate::plan::{Shape, Transport};
use crate::stamp::MARK;

impl AudienceArgs {
    /// The shape of this many connections with these topics.
    ///
    /// # Errors
    /// If a topic cannot be named or carried so, or a connection cannot have so many.
    pub(crate) fn shape_of(&self, connections: u32) -> Result<Shape> {
        ensure!(
            self.topics.transport != Transport::Raw || self.topics_per_connection == 1,
            "a raw stream carries one topic; use --topics-per-connection 1"
        );
        let shape = Shape {
            connections,
            topics: self.topics.names()?,
            topics_per_connection: self.topics_per_connection,
        };
        shape.check()?;
        Ok(shape)
    }

    /// The shape of all connections, in which every topic has a subscriber.
    ///
    /// # Errors
    /// As [`Self::shape_of`], and if a topic has none.
    pub(crate) fn covering_shape(&self) -> Result<Shape> {
        let shape = self.shape_of(self.connections)?;
        let subscriptions = u64::from(self.connections) * u64::from(self.topics_per_connection);
        ensure!(
            subscriptions >= u64::from(self.topics.topics),
            "{subscriptions} subscriptions leave some of {} topics without a subscriber",
            self.topics.topics
        );
        Ok(shape)
    }
}

impl TopicArgs {
    /// `PREFIX0000` and so on.
    ///
    /// # Errors
    /// If that is no topic name, or holds the mark of a stamp.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        topic_names(&self.topic_prefix, self.topics)
    }
}

impl PayloadArgs {
    /// The size of each payload in bytes.
    ///
    /// # Errors
    /// If the stamp does not fit.
    pub(crate) fn bytes(&self) -> Result<usize> {
        ensure!(
            self.size >= PAYLOAD_BYTES_MIN,
            "--size {} is too small for the stamp; at least {PAYLOAD_BYTES_MIN} bytes are needed",
            self.size
        );
        Ok(self.size)
    }
}

fn topic_names(prefix: &str, topics: u32) -> Result<Vec<String>> {
    ensure!(
        !prefix.as_bytes().contains(&MARK),
        "--topic-prefix must not hold {}, which marks a stamp",
        char::from(MARK)
    );
    let names: Vec<String> = (0..topics).map(|topic| format!("{prefix}{topic:04}")).collect();
    names.iter().try_for_each(|name| TopicName::check(name))?;
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_numbered_behind_the_prefix() {
        assert_eq!(topic_names("load.", 2).unwrap(), ["load.0000", "load.0001"]);
        assert!(topic_names("a~b.", 1).unwrap_err().to_string().contains("marks a stamp"));
        assert!(topic_names("a b", 1).is_err());
    }
}
