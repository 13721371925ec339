//! Makes sure that a transport works before a session relies on it: something between may refuse
//! it, or hold back what should come at once.

use std::sync::Arc;
use std::time::Duration;

use fanfare_protocol::{Codec, Connected};

use super::HttpLink;
use super::http::{Caller, Dialer, HttpConnection};
use super::long_poll::{self, Answered};
use super::sse::{NotOpened, OpenStream};
use super::url::Url;
use crate::backoff::retry_after;
use crate::error::Error;
use crate::link::Loss;
use crate::proxy::Route;
use crate::transport::Transport;

/// Something nobody publishes to; asked for to see whether the transport works.
const PROBE: &str = "fanfare.probe";

/// What a link needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) transport: Transport,
    pub(crate) codec: Codec,
    pub(crate) dialer: Arc<Dialer>,
    /// How much longer than it should the broker may be silent.
    pub(crate) grace: Duration,
    /// How long an answer to a publish or a question may take.
    pub(crate) answer_timeout: Duration,
    /// How long the broker shall hold a poll.
    pub(crate) poll_wait: Duration,
}

impl HttpLink {
    /// Makes sure that the transport works, on a way that is open.
    pub(crate) async fn open(plan: Plan, route: Route) -> Result<(Self, Connected), Error> {
        let connection = plan.dialer.begin(route).await?;
        let base = Url::of_topics(&plan.dialer.topics);
        let lane_caller = match plan.transport {
            Transport::LongPoll => {
                let url = base.with("topic", PROBE).with("limit", "1");
                let mut caller = Caller::new(plan.dialer.clone(), Some(connection));
                let answered = long_poll::probe(&mut caller, &url, plan.answer_timeout).await;
                answered.map_err(|answered| plan.unusable(answered))?;
                caller
            }
            _ => {
                let url = base.with("topic", &format!("{PROBE}.>"));
                plan.probe_stream(connection, &url).await.map_err(|error| match error {
                    NotOpened::Refused(answer) => plan.unusable(Answered::Otherwise(answer)),
                    NotOpened::Lost(loss) => plan.unusable(Answered::Not(loss)),
                })?;
                Caller::new(plan.dialer.clone(), None)
            }
        };
        // Nobody names a connection that is not there, nor a longest message.
        let connected = Connected {
            connection: String::new(),
            node: String::new(),
            ping_interval_ms: u64::MAX,
            message_bytes_max: u64::MAX,
        };
        Ok((Self::new(plan, lane_caller), connected))
    }
}

impl Plan {
    /// Opens a stream and waits for its first event, which something between may hold back.
    async fn probe_stream(&self, connection: HttpConnection, url: &Url) -> Result<(), NotOpened> {
        let mut stream = OpenStream::open(&self.dialer, connection, url.as_str()).await?;
        let event = stream.next(self.answer_timeout).await?;
        if event.name != "subscribed" {
            return Err(
                Loss::without_code(format!("the stream begins with {:?}", event.name)).into()
            );
        }
        Ok(())
    }

    fn unusable(&self, answered: Answered) -> Error {
        let address = self.dialer.address.host_port.clone();
        let transport = self.transport;
        match answered {
            Answered::Not(loss) => {
                Error::NotABroker { address, detail: format!("over {transport}: {}", loss.reason) }
            }
            Answered::Otherwise(answer) if answer.status.is_success() => Error::NotABroker {
                address,
                detail: format!("the answer is not what {transport} needs"),
            },
            Answered::Otherwise(answer) => {
                let retry_after = retry_after(answer.status, &answer.headers);
                let (status, detail) = (answer.status.as_u16(), answer.detail());
                Error::UpgradeRefused { address, status, detail, retry_after }
            }
        }
    }
}
