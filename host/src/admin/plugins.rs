//! `/v1/plugins`: see, load, upgrade and unload plugins.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::ApiError;
use super::guard::to_the_end;
use super::peers::read_body;
use crate::config::{BudgetProblem, PluginOverrides};
use crate::node::{LoadedOrUpgraded, Node, NodeMode, PluginRequest, Saved, Unloaded};
use crate::plugin::UpgradeReport;

/// The header that carries `{"grants": [...], "config": {...}, "memory": "64 MiB", ...}` beside the plugin in the body:
/// the keys of `[plugins.NAME]`.
pub const SETTINGS_HEADER: &str = "weir-settings";

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct UploadQuery {
    file: Option<PathBuf>,
    save: bool,
    /// Upgrade the plugin of that name where it runs already.
    replace: bool,
}

type Upload = (Result<Query<UploadQuery>, QueryRejection>, HeaderMap, Result<Bytes, BytesRejection>);

pub(super) async fn list(State(node): State<Arc<Node>>) -> Json<Value> {
    let safe_mode = node.mode() == NodeMode::Safe;
    Json(json!({"plugins": node.host().plugins().list(), "failed": node.failed_plugins(), "safe_mode": safe_mode}))
}

pub(super) async fn load(
    State(node): State<Arc<Node>>,
    query: Result<Query<UploadQuery>, QueryRejection>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, ApiError> {
    let replace = query.as_ref().is_ok_and(|Query(query)| query.replace);
    let request = upload((query, headers, body))?;
    if replace {
        let loaded = to_the_end(async move { Ok(node.load_or_upgrade_plugin(request).await?) }).await?;
        return Ok(Json(match loaded {
            LoadedOrUpgraded::Loaded(loaded) => json!({"plugin": loaded.value, "saved": loaded.saved}),
            LoadedOrUpgraded::Upgraded(upgraded) => upgrade_report(&upgraded),
        }));
    }
    let loaded = to_the_end(async move { Ok(node.load_plugin(request).await?) }).await?;
    Ok(Json(json!({"plugin": loaded.value, "saved": loaded.saved})))
}

pub(super) async fn upgrade(
    State(node): State<Arc<Node>>,
    Path(name): Path<String>,
    query: Result<Query<UploadQuery>, QueryRejection>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, ApiError> {
    let request = upload((query, headers, body))?;
    let upgraded = to_the_end(async move { Ok(node.upgrade_plugin(&name, request).await?) }).await?;
    Ok(Json(upgrade_report(&upgraded)))
}

fn upgrade_report(upgraded: &Saved<UpgradeReport>) -> Value {
    let mut report = json!(upgraded.value);
    if let Some(keys) = report.as_object_mut() {
        keys.insert("saved".into(), json!(upgraded.saved));
    }
    report
}

pub(super) async fn unload(
    State(node): State<Arc<Node>>,
    Path(name): Path<String>,
) -> Result<Json<Unloaded>, ApiError> {
    Ok(Json(to_the_end(async move { Ok(node.unload_plugin(&name).await?) }).await?))
}

fn upload((query, headers, body): Upload) -> Result<PluginRequest, ApiError> {
    let Query(query) = query.map_err(|e| ApiError::bad_request(e.body_text()))?;
    let settings = match headers.get(SETTINGS_HEADER) {
        None => PluginOverrides::default(),
        Some(text) => serde_json::from_slice(text.as_bytes()).map_err(|e| {
            ApiError::bad_request(format!("header {SETTINGS_HEADER} must be {{\"grants\", \"config\", …}}: {e}"))
        })?,
    };
    settings.budgets.read().map_err(|BudgetProblem { key, problem }| {
        ApiError::bad_request(format!("header {SETTINGS_HEADER}: {key}: {problem}"))
    })?;
    let bytes = read_body(body)?;
    if bytes.is_empty() {
        return Err(ApiError::bad_request("the body is empty: send the content of the .wasm file"));
    }
    Ok(PluginRequest { bytes: bytes.into(), file: query.file, settings, save: query.save })
}
