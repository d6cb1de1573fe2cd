//! `/v1/peers`: see, add and remove peers.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::ApiError;
use super::guard::to_the_end;
use crate::folder::KnownPeer;
use crate::node::{Node, RemovedPeer};
use crate::peer::{PeerAddr, PeerId};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddPeer {
    address: PeerAddr,
    #[serde(default)]
    necessary: bool,
}

pub(super) async fn list(State(node): State<Arc<Node>>) -> Json<Value> {
    Json(json!({"peers": node.host().peers().await}))
}

pub(super) async fn add(
    State(node): State<Arc<Node>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, ApiError> {
    let body = read_body(body)?;
    let AddPeer { address, necessary } = serde_json::from_slice(&body)
        .map_err(|e| ApiError::bad_request(format!("the body must be {{\"address\", \"necessary\"}}: {e}")))?;
    to_the_end(async move { Ok(node.add_peer(KnownPeer { address, necessary }).await?) }).await?;
    Ok(Json(json!({"peer_id": address.peer, "address": address, "necessary": necessary})))
}

pub(super) async fn remove(
    State(node): State<Arc<Node>>,
    Path(peer): Path<String>,
) -> Result<Json<RemovedPeer>, ApiError> {
    let peer: PeerId = peer.parse().map_err(|e| ApiError::bad_request(format!("{e}")))?;
    Ok(Json(to_the_end(async move { Ok(node.remove_peer(peer).await?) }).await?))
}

/// The body, or why there is none, in the words of this API.
pub(super) fn read_body(body: Result<Bytes, BytesRejection>) -> Result<Bytes, ApiError> {
    body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let message = "the body is larger than this path takes: 1 MiB, or 64 MiB for a plugin";
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", message)
        }
        _ => ApiError::bad_request(format!("the body cannot be read: {}", rejection.body_text())),
    })
}
