//! `log`: lines and panics, at once.

use tokio::time::Instant;

use crate::plugin::abi::weir::plugin::log::{Host, Level};
use crate::plugin::crash::PanicNote;
use crate::plugin::home::add;
use crate::plugin::instance::InstanceState;
use crate::plugin::logs::{LogEntry, LogLevel};

/// Longest text that is kept, in bytes.
const MAX_LINE: usize = 8 << 10;

/// Cuts a text and makes it one that cannot forge other lines of the log.
fn line(mut text: String, limit: usize) -> String {
    text.truncate(text.floor_char_boundary(limit));
    if text.contains(|c: char| c.is_control() && c != '\n' && c != '\t') {
        text = text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect();
    }
    text
}

impl InstanceState {
    /// Keeps a line for whoever asks for it later, whatever the node's own log shows.
    fn keep(&self, level: Level, part: &str, message: &str) {
        self.home.log.push(LogEntry {
            unix_ms: self.home.services.runtime.clock.unix_ms(),
            level: match level {
                Level::Trace => LogLevel::Trace,
                Level::Debug => LogLevel::Debug,
                Level::Info => LogLevel::Info,
                Level::Warn => LogLevel::Warn,
                Level::Error => LogLevel::Error,
            },
            target: part.to_owned(),
            revision: self.revision,
            event: self.about.event.map(str::to_owned),
            peer: self.about.peer,
            replay: self.replay,
            message: message.to_owned(),
        });
    }

    /// Takes a line of what the plugin may log, or counts one that is not logged.
    pub(in crate::plugin) fn may_log(&self) -> bool {
        let granted = self.home.log_budget().take(Instant::now(), self.policy.log_lines);
        if !granted {
            add(&self.home.counts.log_lines_dropped, 1);
        }
        granted
    }
}

impl Host for InstanceState {
    fn write(&mut self, level: Level, target: String, message: String) -> wasmtime::Result<()> {
        if self.aside {
            return Ok(());
        }
        if !self.may_log() {
            return Ok(());
        }
        let (plugin, replay) = (self.home.name.as_str(), self.replay);
        let (part, message) = (line(target, 128), line(message, MAX_LINE));
        self.keep(level, &part, &message);
        match level {
            Level::Trace => tracing::trace!(target: "weir::plugin", plugin, part, replay, "{message}"),
            Level::Debug => tracing::debug!(target: "weir::plugin", plugin, part, replay, "{message}"),
            Level::Info => tracing::info!(target: "weir::plugin", plugin, part, replay, "{message}"),
            Level::Warn => tracing::warn!(target: "weir::plugin", plugin, part, replay, "{message}"),
            Level::Error => tracing::error!(target: "weir::plugin", plugin, part, replay, "{message}"),
        }
        Ok(())
    }

    fn panicked(&mut self, event: Option<u32>, message: String, location: String) -> wasmtime::Result<()> {
        self.panic = Some(PanicNote { event, message: line(message, MAX_LINE), location: line(location, 512) });
        Ok(())
    }
}
