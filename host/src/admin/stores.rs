//! `/v1/plugins/{name}/store`: export, import and empty what a plugin keeps.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Frame;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::ApiError;
use super::guard::to_the_end;
use crate::node::{Node, OperateError};
use crate::plugin::{ImportOptions, StoreExport, TransferError};

/// The header that says how many bytes of keys and values an export has, about.
pub const BYTES_HEADER: &str = "weir-store-bytes";

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ImportQuery {
    replace: bool,
    other: bool,
}

/// Reads the next piece when the one before is on its way.
struct Exported(StoreExport);

impl hyper::body::Body for Exported {
    type Data = Bytes;
    type Error = TransferError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, TransferError>>> {
        let piece = self.0.piece();
        if let Err(error) = &piece {
            tracing::error!("an export of a store was cut off: {error}");
        }
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)).transpose())
    }
}

pub(super) async fn export(State(node): State<Arc<Node>>, Path(name): Path<String>) -> Result<Response, ApiError> {
    let export = node.host().plugins().export_store(&name).await.map_err(OperateError::from)?;
    let bytes = HeaderValue::from(export.bytes());
    let mut response = Response::new(Body::new(Exported(export)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    response.headers_mut().insert(BYTES_HEADER, bytes);
    Ok(response)
}

pub(super) async fn import(
    State(node): State<Arc<Node>>,
    Path(name): Path<String>,
    query: Result<Query<ImportQuery>, QueryRejection>,
    mut body: Body,
) -> Result<Json<Value>, ApiError> {
    let Query(ImportQuery { replace, other }) = query.map_err(|e| ApiError::bad_request(e.body_text()))?;
    let options = ImportOptions { replace, other };
    let mut import = node.host().plugins().import_store(&name, options).await.map_err(OperateError::from)?;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| ApiError::bad_request(format!("the body cannot be read: {e}")))?;
        if let Ok(bytes) = frame.into_data() {
            import.push(&bytes).await.map_err(OperateError::from)?;
        }
    }
    let totals = to_the_end(async move { Ok(import.finish().await.map_err(OperateError::from)?) }).await?;
    Ok(Json(json!({"plugin": name, "entries": totals.entries, "bytes": totals.bytes})))
}

pub(super) async fn purge(State(node): State<Arc<Node>>, Path(name): Path<String>) -> Result<Json<Value>, ApiError> {
    let plugin = name.clone();
    let purge = async move { Ok(node.host().plugins().purge_store(&plugin).await.map_err(OperateError::from)?) };
    let bytes = to_the_end(purge).await?;
    Ok(Json(json!({"plugin": name, "bytes": bytes})))
}
