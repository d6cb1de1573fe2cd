//! `/v1/plugins/{name}/logs`: what a plugin logged last, and what it logs while somebody waits.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::error::ApiError;
use crate::config::parse_duration;
use crate::node::{Node, OperateError};
use crate::plugin::{LogLevel, LogPage, LogQuery};

/// Lines of one answer, unless the caller says otherwise, and at most: with the longest lines still a small answer.
const LINES: usize = 200;
const MOST_LINES: usize = 1_000;
/// The longest time a caller may wait for a line; then it asks again.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(30);

/// The server ends, so nobody is to wait any more.
#[derive(Debug, Clone, Default)]
pub(super) struct Closing(pub(super) CancellationToken);

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LogsQuery {
    after: Option<u64>,
    since: Option<String>,
    level: Option<String>,
    lines: Option<usize>,
    wait: Option<String>,
}

pub(super) async fn logs(
    State(node): State<Arc<Node>>,
    Path(name): Path<String>,
    query: Result<Query<LogsQuery>, QueryRejection>,
    closing: Option<Extension<Closing>>,
) -> Result<Json<Value>, ApiError> {
    let Query(asked) = query.map_err(|e| ApiError::bad_request(e.body_text()))?;
    let (query, wait) = read(&asked)?;
    let plugins = node.host().plugins();
    let refused = |error| ApiError::from(OperateError::from(error));
    let Some(wait) = wait else { return Ok(answer(&name, plugins.logs(&name, &query).map_err(refused)?)) };
    let Extension(Closing(closing)) = closing.unwrap_or_default();
    let page = tokio::select! {
        biased;
        () = closing.cancelled() => plugins.logs(&name, &query),
        page = plugins.wait_for_logs(&name, &query, tokio::time::Instant::now() + wait) => page,
    };
    Ok(answer(&name, page.map_err(refused)?))
}

fn answer(plugin: &str, page: LogPage) -> Json<Value> {
    Json(json!({"plugin": plugin, "lines": page.lines, "next": page.next, "lost": page.lost}))
}

fn read(asked: &LogsQuery) -> Result<(LogQuery, Option<Duration>), ApiError> {
    let duration = |name: &str, text: &Option<String>| {
        let parsed = text.as_deref().map(parse_duration).transpose();
        parsed.map_err(|e| ApiError::bad_request(format!("{name}: {e}")))
    };
    let level = asked.level.as_deref().map(str::parse::<LogLevel>).transpose();
    let level = level.map_err(|e| ApiError::bad_request(format!("level: {e}")))?.unwrap_or_default();
    let wait = duration("wait", &asked.wait)?;
    if wait.is_some_and(|wait| wait > MAX_WAIT) {
        return Err(ApiError::bad_request(format!("wait: at most {} s; then ask again", MAX_WAIT.as_secs())));
    }
    let most = asked.lines.unwrap_or(LINES);
    if !(1..=MOST_LINES).contains(&most) {
        return Err(ApiError::bad_request(format!("lines: {most} is outside 1 to {MOST_LINES}")));
    }
    // By the caller's clock and ours alike: the line's own time is this machine's.
    let since_ms = duration("since", &asked.since)?.map_or(0, |since| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(now.saturating_sub(since).as_millis()).unwrap_or(u64::MAX)
    });
    Ok((LogQuery { after: asked.after, since_ms, level, most }, wait))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_within_bounds_or_refused_in_words() {
        let asked = |text: &str| serde_json::from_str::<LogsQuery>(text).expect("a query");
        let (query, wait) = read(&asked(r#"{"after": 7, "level": "warn", "lines": 9, "wait": "5s"}"#)).expect("read");
        assert_eq!(query, LogQuery { after: Some(7), since_ms: 0, level: LogLevel::Warn, most: 9 });
        assert_eq!(wait, Some(Duration::from_secs(5)));
        for (bad, word) in [
            (r#"{"level": "loud"}"#, "`loud` is no level"),
            (r#"{"lines": 0}"#, "lines"),
            (r#"{"wait": "1m"}"#, "wait"),
            (r#"{"since": "yesterday"}"#, "since"),
        ] {
            let refused = read(&asked(bad)).expect_err(bad);
            assert!(refused.message.contains(word), "{}", refused.message);
        }
    }
}
