//! What the admin API answers when it does not do what was asked: a status and `{"error": {"code", "message"}}`.

use std::borrow::Cow;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::node::OperateError;
use crate::plugin::{CallError, PluginError};

/// An error answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    pub(super) code: Cow<'static, str>,
    pub(super) message: String,
    /// `next_step` where there is one, and `report` where a plugin crashed.
    more: Vec<(&'static str, Value)>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { status, code: code.into(), message: message.into(), more: Vec::new() }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", message)
    }

    /// An error of a lower layer. Its code decides the status, so that each cause has one place.
    pub(super) fn coded(code: &str, message: String) -> Self {
        Self::new(status_of(code), code.to_owned(), message)
    }

    /// A command that this plugin did not answer.
    pub(super) fn of_call(plugin: &str, error: &CallError) -> Self {
        let more = error.next_step(plugin).map(|step| ("next_step", json!(step))).into_iter().collect();
        Self { more, ..Self::coded(error.code(), error.told_of(plugin)) }
    }
}

fn status_of(code: &str) -> StatusCode {
    match code {
        "unknown-plugin"
        | "unknown-peer"
        | "unknown-entry"
        | "unknown-command"
        | "unknown-group"
        | "unknown-store"
        | "not-found"
        | "unknown-dead-letter" => StatusCode::NOT_FOUND,
        "bad-request" => StatusCode::BAD_REQUEST,
        "timed-out" | "timeout" => StatusCode::GATEWAY_TIMEOUT,
        "busy" | "gone" => StatusCode::SERVICE_UNAVAILABLE,
        "too-large" => StatusCode::PAYLOAD_TOO_LARGE,
        "too-many-plugins" | "too-many-peers" | "too-many-entries" | "too-many-groups" | "too-many-members" => {
            StatusCode::CONFLICT
        }
        "folder-unusable" | "not-saved" | "internal" => StatusCode::INTERNAL_SERVER_ERROR,
        "plugin-loaded" | "store-not-empty" => StatusCode::CONFLICT,
        code if code.starts_with("already-") => StatusCode::CONFLICT,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

impl From<OperateError> for ApiError {
    fn from(error: OperateError) -> Self {
        match error {
            OperateError::Plugin(error) => error.into(),
            error => {
                let more = vec![("next_step", json!(error.next_step()))];
                Self { more, ..Self::coded(error.code(), error.to_string()) }
            }
        }
    }
}

impl From<PluginError> for ApiError {
    fn from(error: PluginError) -> Self {
        let mut more = vec![("next_step", json!(error.next_step()))];
        more.extend(error.report().map(|report| ("report", json!(report))));
        Self { more, ..Self::coded(error.code(), error.to_string()) }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut error = json!({"code": self.code, "message": self.message});
        if let Some(keys) = error.as_object_mut() {
            keys.extend(self.more.into_iter().map(|(key, value)| (key.to_owned(), value)));
        }
        (self.status, Json(json!({"error": error}))).into_response()
    }
}
