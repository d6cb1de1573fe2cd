//! What plugins logged last, for whoever asks: a ring for each, which outlives the plugin for a while.

mod ring;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use self::ring::LogRing;
pub use self::ring::{LogEntry, LogLevel, LogLine, LogPage, LogQuery, UnknownLevel};
use super::PluginPolicy;

/// Plugins that are gone and whose lines are kept: the last words of one are often asked for when it has ended.
const GONE: usize = 16;

/// Bytes that the lines of so many plugins, and of those that are gone, take at most.
pub(crate) fn most_logged(plugins: u32) -> u64 {
    // One beyond those that are gone, until the oldest makes room.
    (u64::from(plugins) + GONE as u64 + 1).saturating_mul(PluginPolicy::default().log_kept_bytes as u64)
}

/// The lines of one plugin.
#[derive(Debug)]
pub(super) struct PluginLog {
    ring: Mutex<LogRing>,
    written: Notify,
}

impl PluginLog {
    fn new(policy: &PluginPolicy) -> Self {
        let ring = LogRing::new(policy.log_kept_lines, policy.log_kept_bytes);
        Self { ring: Mutex::new(ring), written: Notify::new() }
    }

    fn ring(&self) -> MutexGuard<'_, LogRing> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a line and wakes whoever waits for one.
    pub(super) fn push(&self, entry: LogEntry) {
        self.ring().push(entry);
        self.written.notify_waiters();
    }

    pub(super) fn read(&self, query: &LogQuery) -> LogPage {
        self.ring().read(query)
    }

    /// The same; when there is nothing yet, waits for it until the deadline. Cancel safe.
    pub(super) async fn wait(&self, query: &LogQuery, deadline: Instant) -> LogPage {
        let mut query = *query;
        let mut lost = 0;
        loop {
            let mut written = pin!(self.written.notified());
            // Before the look, so that no line falls between the two.
            written.as_mut().enable();
            let mut page = self.read(&query);
            lost += page.lost;
            page.lost = lost;
            if !page.lines.is_empty() || tokio::time::timeout_at(deadline, written).await.is_err() {
                return page;
            }
            // What was not wanted is not looked at again.
            query.after = query.after.map(|_| page.next);
        }
    }
}

/// The lines of all plugins, by name.
#[derive(Debug, Default)]
pub(super) struct Logs(Mutex<BTreeMap<String, Arc<PluginLog>>>);

impl Logs {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Arc<PluginLog>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lines of a plugin that is about to run.
    pub(super) fn open(&self, plugin: &str, policy: &PluginPolicy) -> Arc<PluginLog> {
        let mut all = self.all();
        let log = all.entry(plugin.to_owned()).or_insert_with(|| Arc::new(PluginLog::new(policy))).clone();
        while let Some(oldest) = too_many_gone(&all) {
            all.remove(&oldest);
        }
        log
    }

    /// The lines of a plugin that runs or ran.
    pub(super) fn find(&self, plugin: &str) -> Option<Arc<PluginLog>> {
        self.all().get(plugin).cloned()
    }
}

/// Of the plugins that are gone, the one that was silent for longest, where there are too many.
fn too_many_gone(all: &BTreeMap<String, Arc<PluginLog>>) -> Option<String> {
    // Whoever runs, or is being read, is held by somebody else too.
    let gone: Vec<_> = all.iter().filter(|(_, log)| Arc::strong_count(log) == 1).collect();
    let oldest = gone.iter().min_by_key(|(_, log)| log.ring().newest_ms());
    oldest.filter(|_| gone.len() > GONE).map(|(name, _)| (*name).clone())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn entry(unix_ms: u64, level: LogLevel) -> LogEntry {
        let (target, message) = ("t".to_owned(), "m".to_owned());
        LogEntry { unix_ms, level, target, revision: 1, event: None, peer: None, replay: false, message }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_is_woken_by_a_line_that_is_wanted() {
        let log = PluginLog::new(&PluginPolicy::default());
        log.push(entry(1, LogLevel::Warn));
        let query = LogQuery { after: Some(1), level: LogLevel::Warn, most: 10, since_ms: 0 };
        let deadline = Instant::now() + Duration::from_secs(5);
        let (page, ()) = tokio::join!(log.wait(&query, deadline), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            log.push(entry(2, LogLevel::Info));
            tokio::time::sleep(Duration::from_secs(1)).await;
            log.push(entry(3, LogLevel::Error));
        });
        assert_eq!((page.lines.len(), page.lines[0].number, page.next), (1, 3, 3));
        let page = log.wait(&LogQuery { after: Some(3), ..query }, deadline).await;
        assert_eq!((page.lines, page.next, Instant::now()), (vec![], 3, deadline));
    }

    #[test]
    fn the_lines_of_those_that_run_stay_and_of_those_that_are_gone_some() {
        let (logs, policy) = (Logs::default(), PluginPolicy::default());
        let runs = logs.open("runs", &policy);
        for number in 0..100 {
            logs.open(&format!("gone-{number}"), &policy).push(entry(number, LogLevel::Info));
        }
        assert!(logs.find("runs").is_some_and(|log| Arc::ptr_eq(&log, &runs)));
        assert!(logs.find("gone-99").is_some() && logs.find("gone-1").is_none());
        assert!(logs.all().len() <= GONE + 3, "{}", logs.all().len());
    }
}
