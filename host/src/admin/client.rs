//! A client of the admin API, as the command line uses it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::UnixStream;

use super::stream::UploadBody;
use super::{MAX_BODY, REQUEST_TIMEOUT, SETTINGS_HEADER, SIGNATURE_HEADER};

/// Largest answer that is read, in bytes: what 4,096 peers with 1,024 protocols each would hardly fill.
const MAX_ANSWER: usize = 64 * MAX_BODY;

/// What the client waits beyond what the node allows itself, so that the node's own answer wins.
const MARGIN: Duration = Duration::from_secs(5);

/// What the API said instead of doing it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ApiFailure {
    /// A name for programs.
    pub code: String,
    /// For people.
    pub message: String,
    /// What else it said: `next_step` and `report` where a plugin failed.
    #[serde(flatten)]
    pub more: serde_json::Map<String, serde_json::Value>,
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no node runs in {}: start it with `weir run --dir {}`", folder(.0).display(), folder(.0).display())]
    NotRunning(PathBuf),
    /// Somebody listens, but not for us.
    #[error("cannot talk to the node through {}: {source}", socket.display())]
    Connect {
        /// Which socket.
        socket: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the node ended the connection before it answered ({0}): its log says more")]
    Broken(String),
    /// The answer is not what this API answers.
    #[error("the node answered something unexpected ({0}): is it of another version?")]
    Unexpected(String),
    /// No answer in time.
    #[error("the node did not answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// An error answer.
    #[error("{}", .0.message)]
    Refused(ApiFailure),
}

impl ClientError {
    /// A name for programs.
    pub fn code(&self) -> &str {
        match self {
            Self::NotRunning(_) => "not-running",
            Self::Connect { .. } => "not-reachable",
            Self::Broken(_) => "connection-lost",
            Self::Unexpected(_) => "unexpected-answer",
            Self::TimedOut(_) => "timed-out",
            Self::Refused(failure) => &failure.code,
        }
    }
}

fn folder(socket: &Path) -> &Path {
    socket.parent().unwrap_or(socket)
}

/// One request a connection; cheap to make.
#[derive(Debug, Clone)]
pub struct AdminClient {
    socket: PathBuf,
}

/// A request to be sent.
#[derive(Debug, Clone)]
pub struct AdminRequest {
    method: Method,
    path: String,
    body: Bytes,
    content_type: &'static str,
    settings: Option<String>,
    signature: Option<String>,
    timeout: Duration,
}

impl AdminRequest {
    fn new(method: Method, path: impl Into<String>) -> Self {
        let content_type = "application/json";
        let (path, body, settings, signature) = (path.into(), Bytes::new(), None, None);
        Self { method, path, body, content_type, settings, signature, timeout: REQUEST_TIMEOUT }
    }

    /// Reads.
    pub fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    /// Sends JSON.
    pub fn post(path: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..Self::new(Method::POST, path) }
    }

    /// Removes.
    pub fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path)
    }

    /// The body is a plugin, and these are its settings as JSON.
    #[must_use]
    pub fn wasm(self, settings: Option<String>) -> Self {
        Self { content_type: "application/wasm", settings, ..self }
    }

    /// The line in the `.sig` of the plugin in the body.
    #[must_use]
    pub fn signature(self, signature: Option<String>) -> Self {
        Self { signature, ..self }
    }

    /// Sends what `AdminClient::upload` is given.
    pub fn upload(path: impl Into<String>) -> Self {
        Self { content_type: "application/octet-stream", ..Self::new(Method::POST, path) }
    }

    /// How long the node itself may take.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }
}

impl AdminClient {
    /// For the node that listens at `socket`.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// Sends the request and reads the whole answer, a JSON document.
    ///
    /// Cancel safe for reads. A change that was sent happens whether somebody waits for its answer or not.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn send(&self, request: AdminRequest) -> Result<Bytes, ClientError> {
        let limit = request.timeout + MARGIN;
        tokio::time::timeout(limit, self.exchange(request)).await.unwrap_or(Err(ClientError::TimedOut(limit)))
    }

    /// Sends the request with a body that is read while it is sent, and reads the whole answer.
    ///
    /// Cancel safe in that the node takes nothing of a body that it does not get whole.
    ///
    /// # Errors
    /// See [`ClientError`]; what cannot be read is [`ClientError::Broken`].
    pub async fn upload(&self, request: AdminRequest, from: UploadBody) -> Result<Bytes, ClientError> {
        let limit = request.timeout + MARGIN;
        let exchange = self.exchange_with(http_request(request, from), whole);
        tokio::time::timeout(limit, exchange).await.unwrap_or(Err(ClientError::TimedOut(limit)))
    }

    /// Sends the request and hands the answer on, piece by piece, with the value of one of its headers.
    ///
    /// # Errors
    /// See [`ClientError`]; what `take` says ends it, too.
    pub async fn download(
        &self,
        request: AdminRequest,
        header: &str,
        mut take: impl FnMut(&[u8], Option<u64>) -> Result<(), String>,
    ) -> Result<(), ClientError> {
        let limit = request.timeout + MARGIN;
        let body = Full::new(request.body.clone());
        let pieces = async |response: Response<Incoming>| {
            if !response.status().is_success() {
                return whole(response).await.map(drop);
            }
            let total = response.headers().get(header).and_then(|value| value.to_str().ok()?.parse().ok());
            let mut body = response.into_body();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| ClientError::Broken(error.to_string()))?;
                if let Ok(bytes) = frame.into_data() {
                    take(&bytes, total).map_err(ClientError::Broken)?;
                }
            }
            Ok(())
        };
        let exchange = self.exchange_with(http_request(request, body), pieces);
        tokio::time::timeout(limit, exchange).await.unwrap_or(Err(ClientError::TimedOut(limit)))
    }

    async fn exchange(&self, request: AdminRequest) -> Result<Bytes, ClientError> {
        let body = Full::new(request.body.clone());
        self.exchange_with(http_request(request, body), whole).await
    }

    async fn exchange_with<B, T>(
        &self,
        request: Result<Request<B>, ClientError>,
        read: impl AsyncFnOnce(Response<Incoming>) -> Result<T, ClientError>,
    ) -> Result<T, ClientError>
    where
        B: Body<Data = Bytes, Error: std::error::Error + Send + Sync> + 'static,
    {
        let broken = |error: hyper::Error| {
            // Why a body could not be sent is what its reader said.
            let source = std::error::Error::source(&error).map(ToString::to_string);
            ClientError::Broken(source.unwrap_or_else(|| error.to_string()))
        };
        let stream = self.connect().await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let exchange = async { read(sender.send_request(request?).await.map_err(broken)?).await };
        let mut exchange = std::pin::pin!(exchange);
        // The connection is driven here and dies with this future: no task is left behind.
        tokio::select! {
            biased;
            answer = &mut exchange => answer,
            _ = connection => exchange.await,
        }
    }

    async fn connect(&self) -> Result<UnixStream, ClientError> {
        UnixStream::connect(&self.socket).await.map_err(|source| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::NotRunning(self.socket.clone()),
            _ => ClientError::Connect { socket: self.socket.clone(), source },
        })
    }
}

/// Reads an answer that fits memory: a document, or the error that it carries.
async fn whole(response: Response<Incoming>) -> Result<Bytes, ClientError> {
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
    let body = body.map_err(|error| ClientError::Broken(error.to_string()))?.to_bytes();
    if status.is_success() { Ok(body) } else { Err(refusal(status, &body)) }
}

fn http_request<B>(request: AdminRequest, body: B) -> Result<Request<B>, ClientError> {
    let mut builder = Request::builder()
        .method(request.method)
        .uri(request.path)
        .header(header::HOST, "weir")
        .header(header::CONTENT_TYPE, request.content_type);
    if let Some(settings) = request.settings {
        builder = builder.header(SETTINGS_HEADER, settings.into_bytes());
    }
    if let Some(signature) = request.signature {
        // A file that is no signature is for the node to refuse, whatever bytes it has.
        let words: Vec<_> = signature.split_ascii_whitespace().take(4).collect();
        let line: String = words.join(" ").chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(512).collect();
        builder = builder.header(SIGNATURE_HEADER, line.into_bytes());
    }
    builder.body(body).map_err(|error| ClientError::Unexpected(error.to_string()))
}

fn refusal(status: hyper::StatusCode, body: &[u8]) -> ClientError {
    #[derive(Deserialize)]
    struct Envelope {
        error: ApiFailure,
    }
    match serde_json::from_slice::<Envelope>(body) {
        Ok(envelope) => ClientError::Refused(envelope.error),
        Err(_) => ClientError::Unexpected(format!("status {status}")),
    }
}
