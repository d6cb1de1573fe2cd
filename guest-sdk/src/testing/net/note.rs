//! One event or effect as plain data.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::Error;
use crate::abi::{Event, Failure, PeerId, ProtocolKey, Span};
use crate::testing::Effect;

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
                Self::id("response", it.id)
                    .outcome(outcome.map_err(|error| failure(&Error::from(error.clone()).into())))
            }
            Event::Command(it) => Self {
                text: it.name.clone(),
                number: Some(it.timeout_ms.into()),
                body: body(it.body),
                ..Self::id("command", it.id)
            },
            Event::Called(it) => {
                let outcome = it.outcome.as_ref().map(|span| slice(*span));
                Self::id("called", it.id).outcome(outcome.map_err(|error| failure(&Error::from(error.clone()).into())))
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
            Effect::Nothing => Self::of("nothing"),
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
