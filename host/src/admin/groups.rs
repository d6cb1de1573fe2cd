//! `/v1/groups`: named groups of peers, and sending to them.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::call::timeout_of;
use super::error::ApiError;
use super::guard::to_the_end;
use super::peers::read_body;
use crate::node::Node;
use crate::peer::PeerId;
use crate::protocol::{GroupError, GroupName, ProtocolId, SendError};

/// How long members with full lanes are tried, unless the query says otherwise.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetGroup {
    name: GroupName,
    peers: Vec<PeerId>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SendQuery {
    protocol: ProtocolId,
    #[serde(default)]
    timeout: Option<String>,
    #[serde(default = "yes")]
    wait: bool,
}

fn yes() -> bool {
    true
}

pub(super) async fn list(State(node): State<Arc<Node>>) -> Json<Value> {
    Json(json!({"groups": node.host().groups().list()}))
}

pub(super) async fn set(
    State(node): State<Arc<Node>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, ApiError> {
    let SetGroup { name, peers } = serde_json::from_slice(&read_body(body)?)
        .map_err(|e| ApiError::bad_request(format!("the body must be {{\"name\", \"peers\"}}: {e}")))?;
    let group = name.clone();
    let peers = to_the_end(async move { Ok(node.set_group(group, peers).await?) }).await?;
    Ok(Json(json!({"name": name, "peers": peers})))
}

pub(super) async fn remove(State(node): State<Arc<Node>>, Path(name): Path<String>) -> Result<Json<Value>, ApiError> {
    let name: GroupName = name.parse()?;
    let group = name.clone();
    to_the_end(async move { Ok(node.remove_group(group).await?) }).await?;
    Ok(Json(json!({"name": name})))
}

pub(super) async fn send(
    State(node): State<Arc<Node>>,
    Path(name): Path<String>,
    query: Result<Query<SendQuery>, QueryRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, ApiError> {
    let Query(SendQuery { protocol, timeout, wait }) = query.map_err(|e| ApiError::bad_request(e.body_text()))?;
    let (name, body): (GroupName, Bytes) = (name.parse()?, read_body(body)?);
    let timeout = timeout_of(timeout.as_deref(), DEFAULT_TIMEOUT)?;
    let groups = node.host().groups();
    if !wait {
        return Ok(Json(json!({"sent": groups.send_to_group(&name, &protocol, body)?})));
    }
    let outcomes = groups.send_to_group_collect(&name, &protocol, body, timeout).await?;
    let sent = outcomes.values().filter(|outcome| outcome.is_ok()).count();
    let one = |(peer, outcome): (PeerId, Result<(), SendError>)| json!({"peer_id": peer, "outcome": word(outcome)});
    Ok(Json(json!({"sent": sent, "outcomes": outcomes.into_iter().map(one).collect::<Vec<_>>()})))
}

fn word(outcome: Result<(), SendError>) -> &'static str {
    match outcome {
        Ok(()) => "sent",
        Err(SendError::NotConnected) => "not-connected",
        Err(SendError::Unsupported) => "unsupported",
        Err(SendError::Busy) => "busy",
        Err(SendError::TooLarge) => "too-large",
        Err(SendError::Closed) => "closed",
    }
}

impl From<GroupError> for ApiError {
    fn from(error: GroupError) -> Self {
        Self::coded(error.code(), error.to_string())
    }
}
