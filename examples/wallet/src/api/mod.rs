//! One request to a node's admin API over its Unix socket, in plain std: any program can be an app.

pub mod http;

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value};

/// How long a command may take at the node.
const CALL: Duration = Duration::from_secs(30);
/// What is waited beyond that, so that the node's own answer wins.
const MARGIN: Duration = Duration::from_secs(5);
/// Largest answer that is read: a thousand accounts are a tenth of it.
const MAX_ANSWER: u64 = 16 << 20;

/// What a node said in place of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The status of HTTP.
    pub status: u16,
    /// A name for programs.
    pub code: String,
    /// For people.
    pub message: String,
    /// The whole of it.
    pub error: Value,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Nobody listens.
    #[error("no node runs in {}: start it with `weir run --dir {}`, or name its folder with --dir", .0.display(), .0.display())]
    NotRunning(PathBuf),
    /// The node cannot be talked to, or the talk broke off: whether it did what it was asked is not known.
    #[error("failed to ask the node through {}: {source}", socket.display())]
    Broken {
        /// Which socket.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The answer is not one of this API.
    #[error("the node answered something unexpected ({0}): is it of another version?")]
    Unexpected(String),
    /// An error answer.
    #[error("{}", .0.message)]
    Refused(Refusal),
}

impl ApiError {
    /// A name for programs.
    pub fn code(&self) -> &str {
        match self {
            Self::NotRunning(_) => "not-running",
            Self::Broken { .. } => "connection-lost",
            Self::Unexpected(_) => "unexpected-answer",
            Self::Refused(refusal) => &refusal.code,
        }
    }

    /// Whether the node has no plugin of the name that was asked for.
    pub fn is_unknown_plugin(&self) -> bool {
        self.code() == "unknown-plugin"
    }
}

/// Talks to the node of one data folder.
#[derive(Debug, Clone)]
pub struct Api {
    folder: PathBuf,
    socket: PathBuf,
}

impl Api {
    /// For the node whose data folder this is.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), socket: folder.join("weir.sock") }
    }

    /// Runs a command of a plugin.
    pub fn call(&self, plugin: &str, command: &str, arguments: &Value) -> Result<Value, ApiError> {
        let path = format!("/v1/call/{plugin}/{command}?timeout={}s", CALL.as_secs());
        self.ask("POST", &path, arguments.to_string().as_bytes(), CALL)
    }

    /// Sends a request and reads its answer, for which the node itself may take `timeout`.
    pub fn ask(&self, method: &str, path: &str, body: &[u8], timeout: Duration) -> Result<Value, ApiError> {
        let bytes = self.exchange(&http::request(method, path, body), timeout + MARGIN)?;
        let answer = http::answer(&bytes).map_err(|error| ApiError::Unexpected(error.to_string()))?;
        let document: Value = serde_json::from_slice(&answer.body)
            .map_err(|_| ApiError::Unexpected(format!("status {} without JSON", answer.status)))?;
        if (200..300).contains(&answer.status) {
            return Ok(document);
        }
        let error = document.get("error").cloned().unwrap_or(Value::Object(Map::new()));
        let text = |key: &str| error[key].as_str().unwrap_or("unknown").to_owned();
        Err(ApiError::Refused(Refusal { status: answer.status, code: text("code"), message: text("message"), error }))
    }

    fn exchange(&self, request: &[u8], patience: Duration) -> Result<Vec<u8>, ApiError> {
        let broken = |source: io::Error| ApiError::Broken { socket: self.socket.clone(), source };
        let mut stream = UnixStream::connect(&self.socket).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ApiError::NotRunning(self.folder.clone()),
            _ => broken(source),
        })?;
        let mut talk = || -> io::Result<Vec<u8>> {
            stream.set_read_timeout(Some(patience))?;
            stream.set_write_timeout(Some(patience))?;
            stream.write_all(request)?;
            let mut bytes = Vec::new();
            (&stream).take(MAX_ANSWER).read_to_end(&mut bytes)?;
            if bytes.is_empty() {
                let text = "the node ended the connection before it answered, its log says more";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
            }
            Ok(bytes)
        };
        talk().map_err(broken)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    fn served(answer: &'static str) -> Result<Value, ApiError> {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = UnixListener::bind(folder.path().join("weir.sock")).expect("a socket");
        let server = thread::spawn(move || -> io::Result<()> {
            let (mut stream, _) = listener.accept()?;
            let mut read = [0; 4096];
            let _request = stream.read(&mut read)?;
            stream.write_all(answer.as_bytes())
        });
        let outcome = Api::new(folder.path()).call("staking", "root", &Value::Null);
        server.join().expect("no panic").expect("it answers");
        outcome
    }

    #[test]
    fn an_answer_and_an_error_are_told_apart() {
        let answer = served("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n{\"n\": 1}").expect("an answer");
        assert_eq!(answer, serde_json::json!({"n": 1}));
        let error = served(
            "HTTP/1.1 422 Unprocessable\r\n\r\n{\"error\": {\"code\": \"no-mint\", \"message\": \"the account has no mint\"}}",
        );
        let error = error.expect_err("an error");
        assert_eq!((error.code(), error.to_string().as_str()), ("no-mint", "the account has no mint"));
        assert_eq!(served("HTTP/1.1 200 OK\r\n\r\nhello").expect_err("no JSON").code(), "unexpected-answer");
        assert_eq!(served("").expect_err("nothing").code(), "connection-lost");
    }

    #[test]
    fn a_node_that_is_not_there_is_named() {
        let error = Api::new(Path::new("/nowhere")).call("staking", "root", &Value::Null).expect_err("nobody listens");
        assert!(matches!(&error, ApiError::NotRunning(_)) && error.to_string().contains("weir run --dir /nowhere"));
    }
}
