//! A client of a node's admin API over its Unix socket, in plain std: any program can be one.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::http;

/// Longer than any command of the demo takes, so that only a node that hangs runs into it.
const ANSWER: Duration = Duration::from_secs(60);

/// Talks to one node.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

/// What a plugin's command came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Answer(Value),
    /// The API's `{"error": {…}}`, or the whole body where it has another shape.
    Error(Value),
}

impl Client {
    pub fn new(directory: &Path) -> Self {
        Self { socket: directory.join("weir.sock") }
    }

    /// Runs a plugin's command. An error of the command is an outcome; an error here means that the node did not answer.
    pub fn try_call(&self, plugin: &str, command: &str, arguments: &Value) -> Result<Outcome> {
        let path = format!("/v1/call/{plugin}/{command}");
        let answer = self.exchange("POST", &path, arguments.to_string().as_bytes())?;
        let body = value(&answer.body);
        Ok(match (answer.status, body) {
            (200..=299, body) => Outcome::Answer(body),
            (_, mut body) => Outcome::Error(match body.get_mut("error") {
                Some(error) => error.take(),
                None => body,
            }),
        })
    }

    /// Runs a plugin's command that has to succeed.
    pub fn call(&self, plugin: &str, command: &str, arguments: &Value) -> Result<Value> {
        match self.try_call(plugin, command, arguments)? {
            Outcome::Answer(answer) => Ok(answer),
            Outcome::Error(error) => bail!("command `{command}` of plugin `{plugin}` failed: {error}"),
        }
    }

    fn exchange(&self, method: &str, path: &str, body: &[u8]) -> Result<http::Answer> {
        let talk = || -> std::io::Result<Vec<u8>> {
            let mut stream = UnixStream::connect(&self.socket)?;
            stream.set_read_timeout(Some(ANSWER))?;
            stream.set_write_timeout(Some(ANSWER))?;
            stream.write_all(&http::request(method, path, body))?;
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = talk().with_context(|| format!("{method} {path} at {}", self.socket.display()))?;
        http::answer(&bytes).with_context(|| format!("read the answer to {method} {path}"))
    }
}

fn value(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use std::thread;

    fn served(answer: &'static str) -> Result<Outcome> {
        let folder = tempfile::tempdir()?;
        let listener = UnixListener::bind(folder.path().join("weir.sock"))?;
        let server = thread::spawn(move || -> std::io::Result<()> {
            let (mut stream, _) = listener.accept()?;
            let mut read = [0; 4096];
            let _request = stream.read(&mut read)?;
            stream.write_all(answer.as_bytes())
        });
        let outcome = Client::new(folder.path()).try_call("ping", "stats", &Value::Null);
        server.join().expect("the server does not panic")?;
        outcome
    }

    #[test]
    fn an_answer_and_an_error_are_told_apart() {
        let answer = served("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n{\"n\": 1}").expect("it answers");
        assert_eq!(answer, Outcome::Answer(serde_json::json!({"n": 1})));
        let error =
            served("HTTP/1.1 409 Conflict\r\n\r\n{\"error\": {\"code\": \"unsupported\"}}").expect("it answers");
        assert_eq!(error, Outcome::Error(serde_json::json!({"code": "unsupported"})));
    }

    #[test]
    fn a_node_that_is_not_there_is_named() {
        let error = Client::new(Path::new("/nowhere")).call("ping", "stats", &Value::Null).expect_err("nobody listens");
        assert!(format!("{error:#}").contains("/nowhere/weir.sock"));
    }
}
