//! What every request passes first: a bound on how many run at once, and on how long one may take.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

use super::error::ApiError;

/// Requests that may run at once. More than an operator and a few apps need; each may hold a body.
pub(super) const MAX_REQUESTS: usize = 64;

/// Plugin files that may be in memory at once, because one may have 64 MiB.
pub(super) const MAX_UPLOADS: usize = 2;

/// A bound for a group of routes.
#[derive(Clone)]
pub(super) struct Guard {
    slots: Arc<Semaphore>,
    limit: Duration,
}

impl Guard {
    pub(super) fn new(requests: usize, limit: Duration) -> Self {
        Self { slots: Arc::new(Semaphore::new(requests)), limit }
    }
}

/// Lets a request through, refuses it when too many run, ends it when it takes too long.
pub(super) async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let Ok(_slot) = guard.slots.try_acquire() else {
        let message = "too many admin requests run at once: try again in a moment";
        return ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message).into_response();
    };
    match tokio::time::timeout(guard.limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let message = format!("the request took longer than {} s and was given up", guard.limit.as_secs());
            ApiError::new(StatusCode::GATEWAY_TIMEOUT, "timed-out", message).into_response()
        }
    }
}

/// Runs a change to its end even when the client goes away in the middle, so that nothing is left half-done.
pub(super) async fn to_the_end<T: Send + 'static>(
    change: impl Future<Output = Result<T, ApiError>> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::spawn(change).await.unwrap_or_else(|error| {
        tracing::error!(%error, "an admin request failed");
        let message = "the node failed to do this; its log says more";
        Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message))
    })
}
