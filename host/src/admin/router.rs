//! Which path does what.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::error::ApiError;
use super::guard::{Guard, MAX_REQUESTS, MAX_UPLOADS, guard};
use super::{
    MAX_BODY, MAX_CALL_TIMEOUT, PLUGIN_CHANGE_TIMEOUT, REQUEST_TIMEOUT, STORE_TIMEOUT, access, call, groups, logs,
    peers, plugin_faults, plugins, stores,
};
use crate::node::{MAX_PLUGIN_FILE, Node};

/// The whole admin API, for a server or for a test.
pub fn router(node: Arc<Node>) -> Router {
    let quick = Router::new()
        .route("/v1/status", get(status))
        .route("/v1/limits", get(limits))
        .route("/v1/metrics", get(metrics))
        .route("/metrics", get(exposition))
        .route("/v1/access", get(access::list).post(access::add))
        .route("/v1/access/{list}/{entry}", delete(access::remove))
        .route("/v1/peers", get(peers::list).post(peers::add))
        .route("/v1/peers/{peer_id}", delete(peers::remove))
        .route("/v1/protocols", get(protocols))
        .route("/v1/networks", get(networks))
        .route("/v1/groups", get(groups::list).post(groups::set))
        .route("/v1/groups/{name}", delete(groups::remove))
        .route("/v1/plugins/{name}", delete(plugins::unload))
        .route("/v1/plugins/{name}/lift", post(plugin_faults::lift))
        .route("/v1/plugins/{name}/dead-letters", get(plugin_faults::letters))
        .route("/v1/plugins/{name}/dead-letters/{id}", get(plugin_faults::letter).delete(plugin_faults::drop_letter))
        .route("/v1/plugins/{name}/dead-letters/{id}/retry", post(plugin_faults::retry))
        .route("/v1/plugins/{name}/muted", get(plugin_faults::muted))
        .route("/v1/plugins/{name}/muted/{peer_id}", delete(plugin_faults::unmute))
        .route_layer(from_fn_with_state(Guard::new(MAX_REQUESTS, REQUEST_TIMEOUT), guard));
    // Looking at plugins must work while two of them are being compiled.
    let list = Router::new()
        .route("/v1/plugins", get(plugins::list))
        .route_layer(from_fn_with_state(Guard::new(MAX_REQUESTS, REQUEST_TIMEOUT), guard));
    let uploads = Router::new()
        .route("/v1/plugins", post(plugins::load))
        .route("/v1/plugins/{name}/upgrade", post(plugins::upgrade))
        .layer(DefaultBodyLimit::max(MAX_PLUGIN_FILE))
        .route_layer(from_fn_with_state(Guard::new(MAX_UPLOADS, PLUGIN_CHANGE_TIMEOUT), guard));
    // A call has its own deadline; this one is for reading its body and writing its answer.
    let calls = Router::new()
        .route("/v1/call/{plugin}/{command}", post(call::call))
        .route("/v1/groups/{name}/send", post(groups::send))
        .route_layer(from_fn_with_state(Guard::new(MAX_REQUESTS, MAX_CALL_TIMEOUT + REQUEST_TIMEOUT), guard));
    // Whoever follows a plugin's log waits here most of the time, and takes no place of those who do not.
    let logs = Router::new()
        .route("/v1/plugins/{name}/logs", get(logs::logs))
        .route_layer(from_fn_with_state(Guard::new(MAX_REQUESTS, logs::MAX_WAIT + REQUEST_TIMEOUT), guard));
    // Their bodies are streams: bounded by what the plugin may keep, and in memory by a piece.
    let stores = Router::new()
        .route("/v1/plugins/{name}/store", get(stores::export).post(stores::import).delete(stores::purge))
        .layer(DefaultBodyLimit::disable())
        .route_layer(from_fn_with_state(Guard::new(MAX_UPLOADS, STORE_TIMEOUT), guard));
    let small = quick.merge(list).merge(calls).merge(logs).layer(DefaultBodyLimit::max(MAX_BODY));
    small
        .merge(uploads)
        .merge(stores)
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .with_state(node)
}

async fn status(State(node): State<Arc<Node>>) -> Json<Value> {
    Json(node.status().await)
}

async fn limits(State(node): State<Arc<Node>>) -> Json<Value> {
    Json(json!({"limits": node.host().limits().await}))
}

async fn metrics(State(node): State<Arc<Node>>) -> Json<Value> {
    Json(json!({"metrics": node.host().metrics().await}))
}

/// The path and the content type that Prometheus asks for.
async fn exposition(State(node): State<Arc<Node>>) -> impl IntoResponse {
    let text = crate::metrics::exposition(&node.host().metrics().await);
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}

async fn protocols(State(node): State<Arc<Node>>) -> Json<Value> {
    Json(json!({"protocols": node.host().protocols()}))
}

async fn networks(State(node): State<Arc<Node>>) -> Json<Value> {
    Json(json!({"networks": node.host().protocol_manager().networks()}))
}

async fn no_such_path(uri: Uri) -> ApiError {
    let message = format!("there is no {}; docs/admin-api.md lists the paths, which start with /v1/", uri.path());
    ApiError::new(StatusCode::NOT_FOUND, "not-found", message)
}

async fn no_such_method(method: Method, uri: Uri) -> ApiError {
    let message = format!("{} does not take {method}; docs/admin-api.md lists what it takes", uri.path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", message)
}
