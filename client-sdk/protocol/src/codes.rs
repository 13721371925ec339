//! The one table of close codes and error codes. The ranges carry the rule whether to reconnect.

use serde::{Deserialize, Serialize};

/// A WebSocket close code (RFC 6455 section 7.4) as Fanfare uses it.
///
/// 3000 to 3499 tell a client to reconnect, 3500 to 3999 tell it not to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CloseCode(pub u16);

macro_rules! close_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $label:literal;)*) => {
        impl CloseCode {
            $($(#[$doc])* pub const $name: Self = Self($code);)*

            /// Every code that the broker itself sends, with its name in metrics and logs.
            pub const ALL: &'static [(Self, &'static str)] = &[$((Self($code), $label),)*];
        }
    };
}

close_codes! {
    /// The peer is done.
    NORMAL = 1000, "normal";
    /// The peer's page or process goes away.
    GOING_AWAY = 1001, "going_away";
    /// The peer broke RFC 6455.
    PROTOCOL_ERROR = 1002, "protocol_error";
    /// A binary frame on a JSON connection, or a text frame on a MessagePack one.
    UNSUPPORTED_DATA = 1003, "unsupported_data";
    /// A text message that is not UTF-8.
    INVALID_PAYLOAD = 1007, "invalid_payload";
    /// A flood of control frames or of empty fragments.
    POLICY_VIOLATION = 1008, "policy_violation";
    /// A message over the broker's message limit.
    MESSAGE_TOO_BIG = 1009, "message_too_big";
    /// The broker failed; its fault.
    INTERNAL_ERROR = 1011, "internal_error";
    /// The broker restarts or drains; come back.
    SERVICE_RESTART = 1012, "service_restart";
    /// The broker is over a limit of its own; come back later.
    TRY_AGAIN_LATER = 1013, "try_again_later";
    /// The connection did not take its messages and passed the hard limit.
    SLOW_CONSUMER = 3000, "slow_consumer";
    /// Nothing was heard from the peer after a ping.
    NO_PONG = 3001, "no_pong";
    /// A message was begun and not finished in time.
    MESSAGE_TIMEOUT = 3002, "message_timeout";
    /// No `connect` command came in time.
    CONNECT_TIMEOUT = 3003, "connect_timeout";
    /// An operator closed the connection; come back.
    DISCONNECTED = 3004, "disconnected";
    /// A frame that is no command: broken JSON or MessagePack.
    BAD_COMMAND = 3500, "bad_command";
    /// The first command was not `connect`.
    CONNECT_REQUIRED = 3501, "connect_required";
    /// A raw stream asked for a position that cannot be recovered; come back without it.
    NOT_RECOVERABLE = 3502, "not_recoverable";
    /// An operator closed the connection; do not come back.
    DISCONNECTED_FOR_GOOD = 3503, "disconnected_for_good";
}

impl CloseCode {
    /// Whether a client should come back after this code (with backoff).
    ///
    /// Codes of faults that a second attempt would repeat say no; everything else, a connection
    /// lost without a close frame included, says yes.
    #[must_use]
    pub fn reconnects(self) -> bool {
        !matches!(self.0, 1002 | 1003 | 1007..=1010 | 3500..=3999)
    }

    /// Whether a peer may send this code on the wire (RFC 6455 section 7.4).
    #[must_use]
    pub fn is_valid_on_wire(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }

    /// The code's name in metrics and logs; `other` for one that is not Fanfare's.
    #[must_use]
    pub fn label(self) -> &'static str {
        Self::ALL.iter().find(|(code, _)| *code == self).map_or("other", |(_, label)| label)
    }
}

impl std::fmt::Display for CloseCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What went wrong with one command; the connection lives on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorCode {
    /// The command's fields are wrong.
    BadRequest,
    /// There is no such command.
    UnknownCommand,
    /// The topic's name breaks the rules of a topic name.
    BadTopic,
    /// `connect` was sent twice.
    AlreadyConnected,
    /// The connection holds this subscription already.
    AlreadySubscribed,
    /// The connection does not hold this subscription.
    NotSubscribed,
    /// The topic's namespace does not have what is asked for.
    NotEnabled,
    /// There is no topic of this name.
    UnknownTopic,
    /// A limit of the broker is reached; the message says which.
    LimitExceeded,
    /// The broker cannot do it now; try again.
    Unavailable,
    /// A code that this version of the protocol does not know.
    #[serde(other)]
    Unknown,
}

impl ErrorCode {
    /// Whether the same command may succeed later.
    #[must_use]
    pub fn retry(self) -> bool {
        matches!(self, Self::LimitExceeded | Self::Unavailable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_carry_the_reconnect_rule() {
        assert!((3000..=3499).all(|code| CloseCode(code).reconnects()));
        assert!((3500..=3999).all(|code| !CloseCode(code).reconnects()));
        assert!(CloseCode::SERVICE_RESTART.reconnects());
        assert!(CloseCode::TRY_AGAIN_LATER.reconnects());
        assert!(!CloseCode::PROTOCOL_ERROR.reconnects());
        assert!(!CloseCode::MESSAGE_TOO_BIG.reconnects());
    }

    #[test]
    fn codes_reserved_for_reporting_never_travel() {
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535] {
            assert!(!CloseCode(code).is_valid_on_wire(), "{code}");
        }
        assert!(CloseCode::ALL.iter().all(|(code, _)| code.is_valid_on_wire()));
    }

    #[test]
    fn every_code_has_its_own_number_and_label() {
        for (i, (code, label)) in CloseCode::ALL.iter().enumerate() {
            assert!(CloseCode::ALL[..i].iter().all(|(c, l)| c != code && l != label));
            assert_eq!(code.label(), *label);
        }
        assert_eq!(CloseCode(4000).label(), "other");
    }
}
