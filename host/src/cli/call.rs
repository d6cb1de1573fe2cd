//! `weir call`: a command of a plugin.

use std::io::Read as _;

use clap::Args;
use serde::de::IgnoredAny;

use super::client::{ask_raw, segment};
use super::failure::Failure;
use super::output::Output;
use crate::admin::{AdminRequest, DEFAULT_CALL_TIMEOUT, MAX_BODY};
use crate::config::parse_duration;
use crate::folder::Folder;

#[derive(Debug, Args)]
pub(super) struct Call {
    /// Whose command
    plugin: String,
    /// Which command
    command: String,
    #[arg(value_name = "JSON")]
    /// Its arguments; `-` reads them from stdin [default: {}]
    json_arguments: Option<String>,
    /// How long the plugin may take, for instance 500ms or 5m [default: 30s]
    #[arg(long, value_name = "DURATION")]
    timeout: Option<String>,
}

impl Call {
    /// Prints the plugin's answer as it is, with and without `--json`: it is a JSON document in both cases.
    pub(super) async fn execute(self, folder: &Folder, output: &Output) -> Result<(), Failure> {
        let usage = |message: String| Failure::new("usage", message);
        let mut path = format!("/v1/call/{}/{}", segment(&self.plugin), segment(&self.command));
        let timeout = self.timeout.as_deref().map(parse_duration).transpose().map_err(usage)?;
        if let Some(timeout) = timeout {
            path.push_str(&format!("?timeout={}ms", timeout.as_millis()));
        }
        let arguments = arguments(self.json_arguments)?;
        if let Err(error) = serde_json::from_str::<IgnoredAny>(&arguments) {
            let message =
                format!("the arguments are no JSON ({error}): write for instance '{{\"count\": 3}}' in quotes");
            return Err(usage(message));
        }
        let request = AdminRequest::post(path, arguments).timeout(timeout.unwrap_or(DEFAULT_CALL_TIMEOUT));
        output.verbatim(&ask_raw(folder, request).await?);
        Ok(())
    }
}

fn arguments(text: Option<String>) -> Result<String, Failure> {
    match text.as_deref() {
        None => Ok("{}".to_owned()),
        Some("-") => {
            let mut text = String::new();
            let read = std::io::stdin().take(MAX_BODY as u64 + 1).read_to_string(&mut text);
            read.map_err(|e| Failure::new("usage", format!("cannot read the arguments from stdin: {e}")))?;
            Ok(text)
        }
        Some(_) => Ok(text.unwrap_or_default()),
    }
}
