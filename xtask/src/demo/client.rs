//! A client of a node's admin API, as the demo uses it.

use std::path::Path;

use anyhow::{Result, bail};
use serde_json::Value;
use weir_wallet::api::{Api, ApiError};

/// Talks to one node.
#[derive(Clone, Debug)]
pub struct Client(Api);

/// What a plugin's command came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Answer(Value),
    /// The API's `{"error": {…}}`.
    Error(Value),
}

impl Client {
    pub fn new(directory: &Path) -> Self {
        Self(Api::new(directory))
    }

    /// The same as the wallet uses it.
    pub fn api(&self) -> &Api {
        &self.0
    }

    /// Runs a plugin's command. An error of the command is an outcome; an error here means that the node did not answer.
    pub fn try_call(&self, plugin: &str, command: &str, arguments: &Value) -> Result<Outcome> {
        match self.0.call(plugin, command, arguments) {
            Ok(answer) => Ok(Outcome::Answer(answer)),
            Err(ApiError::Refused(refusal)) => Ok(Outcome::Error(refusal.error)),
            Err(error) => Err(error.into()),
        }
    }

    /// Runs a plugin's command that has to succeed.
    pub fn call(&self, plugin: &str, command: &str, arguments: &Value) -> Result<Value> {
        match self.try_call(plugin, command, arguments)? {
            Outcome::Answer(answer) => Ok(answer),
            Outcome::Error(error) => bail!("command `{command}` of plugin `{plugin}` failed: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_is_not_there_is_named() {
        let error = Client::new(Path::new("/nowhere")).call("ping", "stats", &Value::Null).expect_err("nobody listens");
        assert!(format!("{error:#}").contains("/nowhere"));
    }
}
