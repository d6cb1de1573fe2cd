//! What happened in a run, line by line: virtual time, node, event. The same seed writes the same bytes.
//!
//! Two things write here: the simulation itself, and a subscriber that takes what the nodes log, from `debug` up.
//! Neither puts in a wall clock, an address in memory or random bytes.

use std::fmt::{self, Debug, Display, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Whether lines go to stderr as well, for a run that does not come to its end.
static FOLLOW: AtomicBool = AtomicBool::new(false);
/// Whose lines are taken.
const TARGET: &str = "weir_host";
/// turmoil's span around everything a node does.
const NODE_SPAN: &str = "node";

#[derive(Default)]
struct Inner {
    now: Duration,
    text: String,
    lines: usize,
    /// What is written in place of what: the ids of nodes by their names.
    names: Vec<(String, String)>,
    /// Named spans, and which of them are entered.
    spans: Vec<(u64, String)>,
    entered: Vec<u64>,
}

/// The trace of one run; cheap to clone.
#[derive(Clone, Default)]
pub struct Trace(Arc<Mutex<Inner>>);

impl Trace {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on lines carry this time.
    pub fn set_now(&self, now: Duration) {
        self.inner().now = now;
    }

    /// Writes `name` wherever `text` stands.
    pub fn rename(&self, text: impl Display, name: &str) {
        self.inner().names.push((text.to_string(), name.to_owned()));
    }

    /// Adds a line.
    pub fn note(&self, node: &str, what: impl Display) {
        self.inner().line(node, &what.to_string());
    }

    /// How many lines there are.
    pub fn lines(&self) -> usize {
        self.inner().lines
    }

    /// The whole trace.
    pub fn text(&self) -> String {
        let inner = self.inner();
        inner.names.iter().fold(inner.text.clone(), |text, (id, name)| text.replace(id, name))
    }

    /// Takes what nodes log on this thread, for as long as the guard lives.
    pub fn listen(&self) -> tracing::subscriber::DefaultGuard {
        tracing::subscriber::set_default(Listener { trace: self.clone(), last: AtomicU64::new(0) })
    }
}

impl Inner {
    fn line(&mut self, node: &str, what: &str) {
        let now = self.now.as_millis();
        if FOLLOW.load(Ordering::Relaxed) {
            eprintln!("{now:>7} {node:<4} {what}");
        }
        let _ = writeln!(self.text, "{now:>7} {node:<4} {what}");
        self.lines += 1;
    }
}

/// From now on every line of every trace goes to stderr as it is written.
pub fn follow() {
    FOLLOW.store(true, Ordering::Relaxed);
}

/// The FNV-1a hash of a trace, to compare runs by a number.
pub fn digest(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

struct Listener {
    trace: Trace,
    last: AtomicU64,
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let of_node = metadata.target().starts_with(TARGET) && *metadata.level() <= LevelFilter::DEBUG;
        of_node || (metadata.is_span() && metadata.name() == NODE_SPAN)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::DEBUG)
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        if span.metadata().name() == NODE_SPAN {
            let mut name = Name(String::new());
            span.record(&mut name);
            self.trace.inner().spans.push((id, name.0));
        }
        Id::from_u64(id)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let Fields { message, rest } = fields;
        let mut inner = self.trace.inner();
        // The innermost span that has a name: inside of a node's there may be those of its connections.
        let named = |of: &u64| inner.spans.iter().find(|(id, _)| id == of);
        let node = inner.entered.iter().rev().find_map(named).map(|(_, name)| name.clone());
        let line = format!("log {message}{rest}");
        inner.line(node.as_deref().unwrap_or("-"), &line);
    }

    fn enter(&self, span: &Id) {
        self.trace.inner().entered.push(span.into_u64());
    }

    fn exit(&self, span: &Id) {
        let mut inner = self.trace.inner();
        if let Some(at) = inner.entered.iter().rposition(|id| *id == span.into_u64()) {
            inner.entered.remove(at);
        }
    }

    fn try_close(&self, span: Id) -> bool {
        self.trace.inner().spans.retain(|(id, _)| *id != span.into_u64());
        true
    }
}

struct Name(String);

impl Visit for Name {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "name" {
            self.0 = value.to_owned();
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "name" {
            self.0 = format!("{value:?}").trim_matches('"').to_owned();
        }
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    rest: String,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _: fmt::Result = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.rest, " {name}={value:?}"),
        };
    }
}
