//! Why a command did not do what it should, for people and for programs.

use serde::Serialize;

use crate::admin::ClientError;
use crate::config::ConfigError;
use crate::folder::FolderError;
use crate::identity::KeyError;
use crate::node::StartError;

/// What is printed as `{"error": {...}}`, or as one paragraph.
#[derive(Debug, Serialize)]
pub(super) struct Failure {
    pub(super) code: String,
    pub(super) message: String,
    /// What the node said beside it.
    #[serde(flatten)]
    more: serde_json::Map<String, serde_json::Value>,
}

impl Failure {
    pub(super) fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), more: serde_json::Map::new() }
    }
}

impl From<FolderError> for Failure {
    fn from(error: FolderError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        StartError::from(error).into()
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused(failure) => Self { code: failure.code, message: failure.message, more: failure.more },
            error => Self::new(error.code(), error.to_string()),
        }
    }
}
