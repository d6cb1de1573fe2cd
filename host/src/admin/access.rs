//! `/v1/access`: see and change who may connect.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use serde::Deserialize;

use super::error::ApiError;
use super::guard::to_the_end;
use super::peers::read_body;
use crate::folder::AccessList;
use crate::node::{ChangedAccess, ListedAccess, Node};
use crate::transport::AccessEntry;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddEntry {
    list: AccessList,
    entry: AccessEntry,
}

pub(super) async fn list(State(node): State<Arc<Node>>) -> Json<ListedAccess> {
    Json(node.access())
}

pub(super) async fn add(
    State(node): State<Arc<Node>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<ChangedAccess>, ApiError> {
    let body = read_body(body)?;
    let AddEntry { list, entry } = serde_json::from_slice(&body)
        .map_err(|e| ApiError::bad_request(format!("the body must be {{\"list\", \"entry\"}}: {e}")))?;
    Ok(Json(to_the_end(async move { Ok(node.add_access(list, entry).await?) }).await?))
}

pub(super) async fn remove(
    State(node): State<Arc<Node>>,
    Path((list, entry)): Path<(String, String)>,
) -> Result<Json<ChangedAccess>, ApiError> {
    let list = match list.as_str() {
        "allow" => AccessList::Allow,
        "block" => AccessList::Block,
        other => return Err(ApiError::bad_request(format!("`{other}` is no list: write allow or block"))),
    };
    let entry: AccessEntry = entry.parse().map_err(|e| ApiError::bad_request(format!("{e}")))?;
    Ok(Json(to_the_end(async move { Ok(node.remove_access(list, entry).await?) }).await?))
}
