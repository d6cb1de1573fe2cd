//! What is logged on a test's thread while it listens: events with their fields, and the spans that they are in.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use tracing::dispatcher::Dispatch;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Hears nothing, and is there for ever: as long as there is one subscriber only, tracing asks the thread that reaches a
/// place first whether anybody listens, and a thread without one would make the place silent for all.
static SECOND: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(Capture::default()));

/// Fields by name, in order.
pub(crate) type Fields = Vec<(String, String)>;

/// One event.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) message: String,
    fields: Fields,
    /// The spans around it, the innermost last: their names and fields.
    spans: Vec<(&'static str, Fields)>,
}

impl Line {
    /// A field of the event.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        find(&self.fields, name)
    }

    /// A field of the innermost span of this name.
    pub(crate) fn in_span(&self, span: &str, name: &str) -> Option<&str> {
        self.spans.iter().rfind(|(of, _)| *of == span).and_then(|(_, fields)| find(fields, name))
    }
}

fn find<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields.iter().find(|(of, _)| of == name).map(|(_, value)| value.as_str())
}

#[derive(Debug, Default)]
struct Inner {
    lines: Vec<Line>,
    spans: Vec<(u64, &'static str, Fields)>,
    entered: Vec<u64>,
}

/// See the module; all clones see the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Capture {
    inner: Arc<Mutex<Inner>>,
    last: Arc<AtomicU64>,
}

impl Capture {
    /// Listens on this thread for as long as the guard lives: to be used on a runtime of one thread.
    pub(crate) fn listen(&self) -> tracing::subscriber::DefaultGuard {
        LazyLock::force(&SECOND);
        let guard = tracing::subscriber::set_default(self.clone());
        // Another thread may have found a place silent in the moment between.
        tracing::callsite::rebuild_interest_cache();
        guard
    }

    /// All events with this message so far.
    pub(crate) fn named(&self, message: &str) -> Vec<Line> {
        self.inner().lines.iter().filter(|line| line.message == message).cloned().collect()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscriber for Capture {
    // What a thread without a subscriber reached first would else stay silent for this one, too.
    fn register_callsite(&self, _: &'static Metadata<'static>) -> tracing::subscriber::Interest {
        tracing::subscriber::Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("weir_host") && *metadata.level() <= tracing::Level::DEBUG
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let mut fields = Collected::default();
        span.record(&mut fields);
        self.inner().spans.push((id, span.metadata().name(), fields.fields));
        Id::from_u64(id)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut collected = Collected::default();
        event.record(&mut collected);
        let mut inner = self.inner();
        let around = |id: &u64| {
            let (_, name, fields) = inner.spans.iter().find(|(of, ..)| of == id)?;
            Some((*name, fields.clone()))
        };
        let spans = inner.entered.iter().filter_map(around).collect();
        inner.lines.push(Line { message: collected.message, fields: collected.fields, spans });
    }

    fn enter(&self, span: &Id) {
        self.inner().entered.push(span.into_u64());
    }

    fn exit(&self, span: &Id) {
        let mut inner = self.inner();
        if let Some(at) = inner.entered.iter().rposition(|id| *id == span.into_u64()) {
            inner.entered.remove(at);
        }
    }
}

#[derive(Default)]
struct Collected {
    message: String,
    fields: Fields,
}

impl Visit for Collected {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.push((field.name().to_owned(), value.to_owned()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            name => self.fields.push((name.to_owned(), format!("{value:?}"))),
        }
    }
}
