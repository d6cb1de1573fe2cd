//! `/v1/call/{plugin}/{command}`: a command of a plugin.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::error::ApiError;
use super::peers::read_body;
use super::{DEFAULT_CALL_TIMEOUT, MAX_CALL_TIMEOUT};
use crate::config::parse_duration;
use crate::node::Node;
use crate::plugin::Caller;

/// What a command gets when the caller sends nothing.
const NO_ARGUMENTS: Bytes = Bytes::from_static(b"{}");

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CallQuery {
    timeout: Option<String>,
}

pub(super) async fn call(
    State(node): State<Arc<Node>>,
    Path((plugin, command)): Path<(String, String)>,
    query: Result<Query<CallQuery>, QueryRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<impl IntoResponse, ApiError> {
    let Query(query) = query.map_err(|e| ApiError::bad_request(e.body_text()))?;
    let timeout = timeout_of(query.timeout.as_deref(), DEFAULT_CALL_TIMEOUT)?;
    let body = Some(read_body(body)?).filter(|body| !body.trim_ascii().is_empty()).unwrap_or(NO_ARGUMENTS);
    serde_json::from_slice::<IgnoredAny>(&body)
        .map_err(|e| ApiError::bad_request(format!("the body is no JSON: {e}")))?;
    // `local`: whoever may open the socket is the operator.
    let caller = Caller::Operator("local".to_owned());
    let answered = node.host().plugins().call(&plugin, &command, body, caller, timeout).await;
    let answer = answered.map_err(|error| ApiError::of_call(&plugin, &error))?;
    if serde_json::from_slice::<IgnoredAny>(&answer).is_err() {
        let message = format!("plugin {plugin} answered {command} with something that is no JSON: tell its author");
        return Err(ApiError::new(StatusCode::BAD_GATEWAY, "invalid-answer", message));
    }
    Ok(([(header::CONTENT_TYPE, "application/json")], answer))
}

/// What the query says, within what a call may take.
pub(super) fn timeout_of(text: Option<&str>, default: Duration) -> Result<Duration, ApiError> {
    let Some(text) = text else { return Ok(default) };
    let timeout = parse_duration(text).map_err(|e| ApiError::bad_request(format!("timeout: {e}")))?;
    if timeout.is_zero() || timeout > MAX_CALL_TIMEOUT {
        let message = format!("timeout: {text} is outside 1ms to {} s", MAX_CALL_TIMEOUT.as_secs());
        return Err(ApiError::bad_request(message));
    }
    Ok(timeout)
}
