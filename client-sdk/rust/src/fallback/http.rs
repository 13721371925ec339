//! HTTP/1.1 to the broker: requests one after the other on a connection that is kept, and answers
//! as the broker means them. What is asked is none of its business.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfare_protocol::{ErrorCode, ErrorReply};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, PROXY_AUTHORIZATION,
    USER_AGENT,
};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::address::Address;
use crate::backoff::retry_after;
use crate::error::Error;
use crate::link::Loss;
use crate::proxy::{self, Proxy};

/// A connection that was not used for this long is not used again: something between may have
/// forgotten it, and a request that meets its end has an unknown outcome.
const IDLE_MAX: Duration = Duration::from_secs(20);

/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Where the broker is and what each request says of the client.
#[derive(Debug)]
pub(crate) struct Dialer {
    pub(crate) address: Arc<Address>,
    pub(crate) proxy: Option<Proxy>,
    /// The token, as a header.
    pub(crate) authorization: Option<HeaderValue>,
    /// The path of all topics.
    pub(crate) topics: String,
}

/// What is asked.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) method: Method,
    pub(super) target: String,
    pub(super) accept: &'static str,
    /// Content type and content.
    pub(super) body: Option<(&'static str, Bytes)>,
    /// Names what is published.
    pub(super) key: Option<HeaderValue>,
}

impl Question {
    pub(super) fn get(target: &str, accept: &'static str) -> Self {
        let target = target.to_owned();
        Self { method: Method::GET, target, accept, body: None, key: None }
    }
}

/// A connection on which one request at a time is made.
#[derive(Debug)]
pub(super) struct HttpConnection {
    sender: SendRequest<Full<Bytes>>,
    is_forwarded: bool,
    used_at: Instant,
    /// Reads and writes; ends with this.
    task: JoinHandle<()>,
}

impl Drop for HttpConnection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Dialer {
    /// Opens a connection.
    ///
    /// # Errors
    /// [`Error::Unreachable`] or [`Error::ProxyRefused`].
    pub(super) async fn open(&self) -> Result<HttpConnection, Error> {
        let route = proxy::connect(&self.address, self.proxy.as_ref(), true).await?;
        self.begin(route).await
    }

    /// Speaks HTTP on a way that is open.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub(super) async fn begin(&self, route: proxy::Route) -> Result<HttpConnection, Error> {
        let io = TokioIo::new(route.stream);
        let (sender, connection) = http1::handshake(io).await.map_err(|error| {
            let address = self.address.host_port.clone();
            Error::Unreachable { address, detail: error.to_string() }
        })?;
        // How it ends, the requests on it tell.
        let task = tokio::spawn(async move { drop(connection.await) });
        let is_forwarded = route.is_forwarded;
        Ok(HttpConnection { sender, is_forwarded, used_at: Instant::now(), task })
    }

    fn request(
        &self,
        question: &Question,
        is_forwarded: bool,
    ) -> Result<Request<Full<Bytes>>, Loss> {
        let Question { method, target, accept, body, key } = question.clone();
        let authority = self.address.uri.authority().map_or("", |authority| authority.as_str());
        let uri = if is_forwarded { format!("http://{authority}{target}") } else { target };
        let mut request = Request::builder().method(method).uri(uri);
        let headers = request.headers_mut();
        if let Some(headers) = headers {
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            headers.insert(USER_AGENT, HeaderValue::from_static(USER_AGENT_TEXT));
            headers.extend(HeaderValue::try_from(authority).ok().map(|host| (HOST, host)));
            headers.extend(self.authorization.clone().map(|value| (AUTHORIZATION, value)));
            headers.extend(self.forward_authorization(is_forwarded));
            headers.extend(key.map(|key| (IDEMPOTENCY_KEY, key)));
            headers.extend(
                body.as_ref().map(|(content_type, _)| {
                    (CONTENT_TYPE, HeaderValue::from_static(content_type))
                }),
            );
        }
        let content = body.map(|(_, content)| content).unwrap_or_default();
        request.body(Full::new(content)).map_err(|error| Loss::without_code(error.to_string()))
    }

    fn forward_authorization(
        &self,
        is_forwarded: bool,
    ) -> Option<(hyper::header::HeaderName, HeaderValue)> {
        let secret = self.proxy.as_ref()?.authorization.as_ref().filter(|_| is_forwarded)?;
        Some((PROXY_AUTHORIZATION, HeaderValue::try_from(&secret.0).ok()?))
    }
}

const USER_AGENT_TEXT: &str = concat!("fanfare-client/", env!("CARGO_PKG_VERSION"));

const IDEMPOTENCY_KEY: hyper::header::HeaderName =
    hyper::header::HeaderName::from_static("idempotency-key");

impl HttpConnection {
    /// Whether another request may be made on it.
    pub(super) fn is_usable(&self) -> bool {
        !self.sender.is_closed() && self.used_at.elapsed() < IDLE_MAX
    }

    /// Sends a request and waits for the head of the answer.
    pub(super) async fn ask(
        &mut self,
        dialer: &Dialer,
        question: &Question,
    ) -> Result<Response<Incoming>, Unanswered> {
        let request = dialer.request(question, self.is_forwarded).map_err(Unanswered::Lost)?;
        if self.sender.ready().await.is_err() {
            return Err(Unanswered::NotSent);
        }
        let answer = self.sender.try_send_request(request).await;
        self.used_at = Instant::now();
        answer.map_err(|mut error| match error.take_message() {
            Some(_) => Unanswered::NotSent,
            None => Unanswered::Lost(Loss::without_code(reason(error.error()))),
        })
    }
}

/// What an error says, with what lies under it.
fn reason(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// A request without an answer.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// The connection was closed before anything of the request was written.
    NotSent,
    /// Whether it was carried out is unknown.
    Lost(Loss),
}

/// The connection that a task keeps for its requests.
#[derive(Debug)]
pub(super) struct Caller {
    dialer: Arc<Dialer>,
    connection: Option<HttpConnection>,
}

impl Caller {
    pub(super) fn new(dialer: Arc<Dialer>, connection: Option<HttpConnection>) -> Self {
        Self { dialer, connection }
    }

    /// Asks and reads the whole answer, which must come within `limit`.
    pub(super) async fn ask(
        &mut self,
        question: &Question,
        limit: Duration,
    ) -> Result<Answer, Loss> {
        match timeout(limit, self.ask_without_limit(question)).await {
            Ok(answer) => answer,
            Err(_) => {
                self.connection = None;
                Err(Loss::without_code(format!("no answer came within {limit:?}")))
            }
        }
    }

    async fn ask_without_limit(&mut self, question: &Question) -> Result<Answer, Loss> {
        let kept = self.connection.take().filter(HttpConnection::is_usable);
        let answer = match kept {
            Some(connection) => self.ask_on(connection, question).await,
            None => Err(Unanswered::NotSent),
        };
        match answer {
            Ok(answer) => Ok(answer),
            Err(Unanswered::Lost(loss)) => Err(loss),
            Err(Unanswered::NotSent) => {
                let opened = self.dialer.open().await.map_err(Loss::from)?;
                self.ask_on(opened, question).await.map_err(|unanswered| match unanswered {
                    Unanswered::NotSent => Loss::without_code("the connection was closed at once"),
                    Unanswered::Lost(loss) => loss,
                })
            }
        }
    }

    async fn ask_on(
        &mut self,
        mut connection: HttpConnection,
        question: &Question,
    ) -> Result<Answer, Unanswered> {
        let response = connection.ask(&self.dialer, question).await?;
        let answer = Answer::read(response).await.map_err(Unanswered::Lost)?;
        self.connection = Some(connection);
        Ok(answer)
    }
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) async fn read(response: Response<Incoming>) -> Result<Self, Loss> {
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| Loss::without_code(error.to_string()))?.to_bytes();
        Ok(Self { status: parts.status, headers: parts.headers, body })
    }

    /// Its content, if the broker has carried out what was asked.
    pub(super) fn json(&self) -> Option<&[u8]> {
        let is_json = content_type(&self.headers) == "application/json";
        (self.status.is_success() && is_json).then_some(&*self.body)
    }

    /// How long to wait before asking the same again, if the broker is too busy now.
    pub(super) fn busy_for(&self) -> Option<Duration> {
        let is_busy =
            matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        if !is_busy || !self.is_problem() {
            return None;
        }
        Some(retry_after(self.status, &self.headers).unwrap_or(Duration::from_secs(1)))
    }

    /// The broker's refusal, or the loss that any other answer is.
    pub(super) fn refusal(&self) -> Result<ErrorReply, Loss> {
        let status = self.status;
        if !self.is_problem() || status == StatusCode::INTERNAL_SERVER_ERROR {
            return Err(Loss::without_code(format!("the answer is {status}, not the broker's")));
        }
        let code = match status.as_u16() {
            404 => ErrorCode::UnknownTopic,
            429 | 507 => ErrorCode::LimitExceeded,
            503 => ErrorCode::Unavailable,
            _ => ErrorCode::BadRequest,
        };
        Ok(ErrorReply::new(code, self.detail()))
    }

    /// What the answer says to a person.
    pub(super) fn detail(&self) -> String {
        let detail = crate::connection::refusal_detail(&self.body);
        if detail.is_empty() { self.status.to_string() } else { detail }
    }

    fn is_problem(&self) -> bool {
        content_type(&self.headers) == "application/problem+json"
    }
}

/// The type of the content, without its parameters.
pub(super) fn content_type(headers: &HeaderMap) -> &str {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.and_then(|value| value.split(';').next()).unwrap_or_default().trim()
}
