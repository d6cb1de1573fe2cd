//! What happened, as plain data that can be compared byte by byte, whatever ran the plugins.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::abi::{AskError, CallError, Event, Failure, PeerId, ProtocolKey, Span};
use crate::testing::Effect;

/// How much of a run is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TraceMode {
    /// Nothing.
    Off,
    /// A digest: enough to see that two runs were the same.
    Digest,
    /// Every entry: enough to see where they were not.
    Full,
}

/// A body, by length and digest: the first eight bytes of its SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Body {
    /// Bytes.
    pub len: u32,
    /// What it was.
    pub digest: u64,
}

impl Body {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let hash: [u8; 32] = Sha256::digest(bytes).into();
        let digest = hash.iter().take(8).fold(0, |digest, byte| digest << 8 | u64::from(*byte));
        Self { len: bytes.len() as u32, digest }
    }
}

/// One event or effect, or something done to a plugin. What a kind does not have stays empty.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Note {
    /// The ABI's name of the event or the import, or `start`, `crash`, `step`.
    pub kind: String,
    /// The peers it is about.
    pub peers: Vec<PeerId>,
    /// The protocol it is about.
    pub protocol: Option<ProtocolKey>,
    /// The request, ask, command, call or timer it is about.
    pub id: Option<u64>,
    /// A count, a time or a limit.
    pub number: Option<u64>,
    /// A name, a code or a sentence.
    pub text: String,
    /// What was carried.
    pub body: Option<Body>,
}

/// One line of a trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Microseconds since the run began.
    pub at_us: u64,
    /// On which node.
    pub node: u32,
    /// In which of its plugins.
    pub plugin: u32,
    /// What.
    pub note: Note,
}

/// A run, entry by entry.
pub struct Trace {
    mode: TraceMode,
    hash: Sha256,
    entries: Vec<Entry>,
    count: u64,
    names: BTreeMap<PeerId, u32>,
}

impl Trace {
    /// An empty one.
    pub fn new(mode: TraceMode) -> Self {
        Self { mode, hash: Sha256::new(), entries: Vec::new(), count: 0, names: BTreeMap::new() }
    }

    pub(crate) fn name(&mut self, peer: PeerId, node: u32) {
        self.names.insert(peer, node);
    }

    /// Whether anything is kept.
    pub fn is_on(&self) -> bool {
        self.mode != TraceMode::Off
    }

    /// Adds an entry.
    pub fn push(&mut self, entry: Entry) {
        if !self.is_on() {
            return;
        }
        self.count += 1;
        // An entry is plain data of bounded size, so it always becomes bytes.
        self.hash.update(postcard::to_allocvec(&entry).expect("an entry becomes bytes"));
        if self.mode == TraceMode::Full {
            self.entries.push(entry);
        }
    }

    /// How many entries there were.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Whether there was none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The entries, in [`TraceMode::Full`].
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The SHA-256 of all entries in postcard: equal for equal runs.
    pub fn digest(&self) -> [u8; 32] {
        self.hash.clone().finalize().into()
    }

    /// The first difference of two full traces, for people. None where there is none.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let ours = self.entries.iter().map(Some).chain(std::iter::repeat(None));
        let theirs = other.entries.iter().map(Some).chain(std::iter::repeat(None));
        let pairs = ours.zip(theirs).take(self.entries.len().max(other.entries.len()));
        let (at, (our, their)) = pairs.enumerate().find(|(_, (our, their))| our != their)?;
        let line = |entry: Option<&Entry>| entry.map_or("nothing".to_owned(), |entry| self.line(entry));
        Some(format!("entry {at}:\n  one:   {}\n  other: {}", line(our), line(their)))
    }

    fn line(&self, entry: &Entry) -> String {
        let note = &entry.note;
        let mut line = format!("{:>12} n{:02}.{} {}", entry.at_us, entry.node, entry.plugin, note.kind);
        for peer in &note.peers {
            // Writing to a String cannot fail.
            let _ = match self.names.get(peer) {
                Some(node) => write!(line, " n{node:02}"),
                None => write!(line, " {}", peer.short()),
            };
        }
        let numbers = [("/", note.protocol.map(u64::from)), ("id ", note.id), ("", note.number)];
        for (what, number) in numbers {
            if let Some(number) = number {
                let _ = write!(line, " {what}{number}");
            }
        }
        if !note.text.is_empty() {
            let _ = write!(line, " {:?}", note.text);
        }
        if let Some(body) = note.body {
            let _ = write!(line, " [{} B {:016x}]", body.len, body.digest);
        }
        line
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entries.iter().try_for_each(|entry| writeln!(f, "{}", self.line(entry)))
    }
}

impl Note {
    pub(crate) fn of(kind: &str) -> Self {
        Self { kind: kind.to_owned(), ..Self::default() }
    }

    fn lane(kind: &str, peer: PeerId, protocol: ProtocolKey) -> Self {
        Self { peers: vec![peer], protocol: Some(protocol), ..Self::of(kind) }
    }

    fn id(kind: &str, id: u64) -> Self {
        Self { id: Some(id), ..Self::of(kind) }
    }

    fn outcome(mut self, outcome: Result<&[u8], String>) -> Self {
        match outcome {
            Ok(body) => self.body = Some(Body::of(body)),
            Err(why) => self.text = why,
        }
        self
    }

    /// An event with the bodies of its batch.
    pub fn of_event(event: &Event, bodies: &[u8]) -> Self {
        let slice = |span: Span| bodies.get(span.at as usize..(span.at + span.len) as usize).unwrap_or_default();
        let body = |span: Span| Some(Body::of(slice(span)));
        match event {
            Event::Message(it) => Self { body: body(it.body), ..Self::lane("message", it.peer, it.protocol) },
            Event::Request(it) => Self {
                id: Some(it.id),
                number: Some(it.timeout_ms.into()),
                body: body(it.body),
                ..Self::lane("request", it.peer, it.protocol)
            },
            Event::Response(it) => {
                let outcome = it.outcome.as_ref().map(|span| slice(*span));
                Self::id("response", it.id).outcome(outcome.map_err(ask_error))
            }
            Event::Command(it) => Self {
                text: it.name.clone(),
                number: Some(it.timeout_ms.into()),
                body: body(it.body),
                ..Self::id("command", it.id)
            },
            Event::Called(it) => {
                let outcome = it.outcome.as_ref().map(|span| slice(*span));
                Self::id("called", it.id).outcome(outcome.map_err(call_error))
            }
            Event::PeerSupported(it) => {
                Self { number: Some(it.max_message.into()), ..Self::lane("peer-supported", it.peer, it.protocol) }
            }
            Event::PeerUnsupported(it) => Self::lane("peer-unsupported", it.peer, it.protocol),
            Event::Congested(it) => Self::lane("congested", it.peer, it.protocol),
            Event::Relieved(it) => Self::lane("relieved", it.peer, it.protocol),
            Event::Undelivered(it) => {
                Self { number: Some(it.messages), ..Self::lane("undelivered", it.peer, it.protocol) }
            }
            Event::Missed(it) => Self { number: Some(it.messages), ..Self::lane("missed", it.peer, it.protocol) },
            Event::Withdrawn(id) => Self::id("withdrawn", *id),
            Event::Timer(id) => Self::id("timer", *id),
            Event::Stopping => Self::of("stopping"),
            Event::Other(it) => Self { text: it.kind.clone(), body: body(it.body), ..Self::id("other", it.id) },
        }
    }

    /// An effect.
    pub fn of_effect(effect: &Effect) -> Self {
        let body = |bytes: &[u8]| Some(Body::of(bytes));
        match effect {
            Effect::Send { to, protocol, body: bytes } => {
                Self { peers: to.clone(), protocol: Some(*protocol), body: body(bytes), ..Self::of("send") }
            }
            Effect::Ask { id, to, protocol, timeout_ms, body: bytes } => Self {
                id: Some(*id),
                number: Some((*timeout_ms).into()),
                body: body(bytes),
                ..Self::lane("ask", *to, *protocol)
            },
            Effect::CancelAsk(id) => Self::id("cancel", *id),
            Effect::Respond { request, outcome } => Self::id("respond", *request).outcome(answered(outcome)),
            Effect::Register(protocol) => {
                Self { protocol: Some(protocol.key), text: protocol.id.clone(), ..Self::of("register") }
            }
            Effect::Unregister(key) => Self { protocol: Some(*key), ..Self::of("unregister") },
            Effect::Pause { protocol, paused } => {
                Self { protocol: Some(*protocol), number: Some((*paused).into()), ..Self::of("pause") }
            }
            Effect::Report { peer, protocol, verdict, why } => {
                Self { text: format!("{}: {why}", verdict_name(*verdict)), ..Self::lane("report", *peer, *protocol) }
            }
            Effect::Put { key, value } => Self { text: hex(key), body: body(value), ..Self::of("put") },
            Effect::Remove { key } => Self { text: hex(key), ..Self::of("remove") },
            Effect::SetTimer { id, after_ms } => Self { number: Some(*after_ms), ..Self::id("set-timer", *id) },
            Effect::CancelTimer(id) => Self::id("cancel-timer", *id),
            Effect::Call { id, plugin, name, timeout_ms, body: bytes } => Self {
                number: Some((*timeout_ms).into()),
                text: format!("{plugin}.{name}"),
                body: body(bytes),
                ..Self::id("call", *id)
            },
            Effect::Answer { command, outcome } => Self::id("answer", *command).outcome(answered(outcome)),
        }
    }
}

fn answered(outcome: &Result<std::rc::Rc<[u8]>, Failure>) -> Result<&[u8], String> {
    outcome.as_ref().map(|body| &**body).map_err(failure)
}

fn failure(failure: &Failure) -> String {
    format!("{}: {}", failure.code, failure.message)
}

fn ask_error(error: &AskError) -> String {
    match error {
        AskError::NotConnected => "not-connected".to_owned(),
        AskError::Unsupported => "unsupported".to_owned(),
        AskError::TimedOut => "timed-out".to_owned(),
        AskError::TooLarge => "too-large".to_owned(),
        AskError::Busy => "busy".to_owned(),
        AskError::Refused(why) => failure(why),
        AskError::Other(what) => what.clone(),
    }
}

fn call_error(error: &CallError) -> String {
    match error {
        CallError::UnknownPlugin => "unknown-plugin".to_owned(),
        CallError::UnknownCommand => "unknown-command".to_owned(),
        CallError::TimedOut => "timed-out".to_owned(),
        CallError::Busy => "busy".to_owned(),
        CallError::Gone => "gone".to_owned(),
        CallError::Failed(why) => failure(why),
        CallError::Other(what) => what.clone(),
    }
}

fn verdict_name(verdict: crate::abi::Verdict) -> &'static str {
    match verdict {
        crate::abi::Verdict::Useful => "useful",
        crate::abi::Verdict::Invalid => "invalid",
        crate::abi::Verdict::Abusive => "abusive",
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
