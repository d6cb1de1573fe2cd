//! `/v1/plugins/{name}/…`: dead letters, quarantines and muted peers.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::error::ApiError;
use super::guard::to_the_end;
use crate::hex::hex;
use crate::node::Node;
use crate::peer::PeerId;

type Answer = Result<Json<Value>, ApiError>;

pub(super) async fn letters(State(node): State<Arc<Node>>, Path(name): Path<String>) -> Answer {
    Ok(Json(json!({"dead_letters": node.host().plugins().dead_letters(&name)?})))
}

/// With the body, which a list would make too long.
pub(super) async fn letter(State(node): State<Arc<Node>>, Path((name, id)): Path<(String, String)>) -> Answer {
    let (letter, body) = node.host().plugins().dead_letter(&name, number(&id)?)?;
    let mut letter = json!(letter);
    if let Some(keys) = letter.as_object_mut() {
        keys.insert("body_hex".to_owned(), json!(hex(&body)));
    }
    Ok(Json(letter))
}

pub(super) async fn retry(State(node): State<Arc<Node>>, Path((name, id)): Path<(String, String)>) -> Answer {
    let id = number(&id)?;
    let letter = to_the_end(async move { Ok(node.host().plugins().retry(&name, id).await?) }).await?;
    Ok(Json(json!({"dead_letter": letter})))
}

pub(super) async fn drop_letter(State(node): State<Arc<Node>>, Path((name, id)): Path<(String, String)>) -> Answer {
    let id = number(&id)?;
    let letter = to_the_end(async move { Ok(node.host().plugins().drop_letter(&name, id).await?) }).await?;
    Ok(Json(json!({"dead_letter": letter})))
}

pub(super) async fn lift(State(node): State<Arc<Node>>, Path(name): Path<String>) -> Answer {
    let plugin = to_the_end(async move { Ok(node.host().plugins().lift(&name).await?) }).await?;
    Ok(Json(json!({"plugin": plugin})))
}

pub(super) async fn muted(State(node): State<Arc<Node>>, Path(name): Path<String>) -> Answer {
    Ok(Json(json!({"muted": node.host().plugins().muted(&name)?})))
}

pub(super) async fn unmute(State(node): State<Arc<Node>>, Path((name, peer)): Path<(String, String)>) -> Answer {
    let peer: PeerId = peer.parse().map_err(|e| ApiError::bad_request(format!("{e}")))?;
    let protocols = to_the_end(async move { Ok(node.host().plugins().unmute(&name, &peer).await?) }).await?;
    Ok(Json(json!({"peer_id": peer, "unmuted": protocols})))
}

fn number(id: &str) -> Result<u64, ApiError> {
    id.parse().map_err(|_| ApiError::bad_request(format!("`{id}` is no id of a dead letter: that is a number")))
}
