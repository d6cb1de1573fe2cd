//! Events as plugin methods see them: bodies are slices of the batch, decoded where they lie.

use serde::{Deserialize, Serialize};

use crate::abi::{AskError, CallError, Caller, PeerId, ProtocolKey};
use crate::{Context, Error, Result, decode};

/// A one-way message of a peer.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// Who sent it; proven by the connection.
    pub peer: PeerId,
    /// By which of the plugin's protocols it came.
    pub protocol: ProtocolKey,
    /// What was sent.
    pub body: &'a [u8],
}

impl<'a> Message<'a> {
    /// The body as postcard; `T` may borrow from it.
    pub fn decode<T: Deserialize<'a>>(&self) -> Result<T> {
        decode(self.body)
    }
}

/// A peer's question. Answer it with [`Request::respond`], or keep its `id` and answer in a later turn
/// with [`Context::respond`].
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Who asks; proven by the connection.
    pub peer: PeerId,
    /// By which of the plugin's protocols it came.
    pub protocol: ProtocolKey,
    /// Names it until it is answered or withdrawn.
    pub id: u64,
    /// How long the peer waits, in milliseconds.
    pub timeout_ms: u32,
    /// What was asked.
    pub body: &'a [u8],
}

impl<'a> Request<'a> {
    /// The body as postcard; `T` may borrow from it.
    pub fn decode<T: Deserialize<'a>>(&self) -> Result<T> {
        decode(self.body)
    }

    /// Answers with `value` as postcard. A peer that no longer waits is no error.
    pub fn respond<T: Serialize + ?Sized>(&self, ctx: &Context, value: &T) -> Result {
        ctx.respond(self.id, value).map(drop)
    }

    /// Answers with these bytes. A peer that no longer waits is no error.
    pub fn respond_bytes(&self, ctx: &Context, body: &[u8]) {
        ctx.respond_bytes(self.id, body);
    }
}

/// What became of an `ask`. Each ask of this instance gets exactly one.
#[derive(Debug, Clone)]
pub struct Response<'a> {
    /// What the `ask` returned.
    pub id: u64,
    /// The other side's answer, or why there is none.
    pub outcome: Result<&'a [u8], AskError>,
}

impl<'a> Response<'a> {
    /// The answer as postcard, or the failure.
    pub fn decode<T: Deserialize<'a>>(&self) -> Result<T> {
        decode(self.outcome.as_ref().map_err(|error| Error::from(error.clone()))?)
    }
}

/// A call from beside the node: an operator, an app or another plugin. Its body and its answer are JSON.
#[derive(Debug, Clone)]
pub struct Command<'a> {
    /// Names it until it is answered or withdrawn.
    pub id: u64,
    /// Who calls.
    pub caller: Caller,
    /// Which command.
    pub name: String,
    /// How long the caller waits, in milliseconds.
    pub timeout_ms: u32,
    /// The arguments as JSON; empty where none were given.
    pub body: &'a [u8],
}

impl<'a> Command<'a> {
    /// The arguments. None given reads as `{}`.
    pub fn args<T: Deserialize<'a>>(&self) -> Result<T> {
        let body = if self.body.is_empty() { b"{}" } else { self.body };
        serde_json::from_slice(body)
            .map_err(|error| Error::new("bad-arguments", format!("the arguments of `{}`: {error}", self.name)))
    }

    /// Answers with `value` as JSON. A caller that no longer waits is no error.
    pub fn answer<T: Serialize + ?Sized>(&self, ctx: &Context, value: &T) -> Result {
        ctx.answer(self.id, value).map(drop)
    }

    /// What to return for a name this plugin has no command for; `known` lists those it has.
    pub fn unknown(&self, known: &[&str]) -> Error {
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Error::new("unknown-command", format!("there is no command `{}`; there are: {known}", self.name))
    }
}

/// What became of a `call` to another plugin. Each call of this instance gets exactly one.
#[derive(Debug, Clone)]
pub struct Called<'a> {
    /// What the `call` returned.
    pub id: u64,
    /// The other plugin's answer as JSON, or why there is none.
    pub outcome: Result<&'a [u8], CallError>,
}

impl<'a> Called<'a> {
    /// The answer from JSON, or the failure.
    pub fn decode<T: Deserialize<'a>>(&self) -> Result<T> {
        let body = self.outcome.as_ref().map_err(|error| Error::from(error.clone()))?;
        serde_json::from_slice(body).map_err(Error::from)
    }
}

/// News of a kind that the manifest `listens` to.
#[derive(Debug, Clone)]
pub struct Extension<'a> {
    /// Which kind.
    pub kind: String,
    /// What it is about; the kind says what that means.
    pub id: u64,
    /// Its content; the kind says how it is encoded.
    pub body: &'a [u8],
}

impl From<AskError> for Error {
    fn from(error: AskError) -> Self {
        match error {
            AskError::NotConnected => Error::new("not-connected", "the peer is not connected"),
            AskError::Unsupported => Error::new("unsupported", "the peer does not speak this protocol"),
            AskError::TimedOut => Error::new("timed-out", "the peer did not answer in time"),
            AskError::TooLarge => {
                Error::new("too-large", "the request or its answer is larger than the protocol allows")
            }
            AskError::Busy => Error::new("busy", "too many requests are open"),
            AskError::Refused(failure) => failure.into(),
            AskError::Other(what) => Error::new("other", what),
        }
    }
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        match error {
            CallError::UnknownPlugin => Error::new("unknown-plugin", "no plugin of this name is loaded"),
            CallError::UnknownCommand => Error::new("unknown-command", "the plugin has no such command"),
            CallError::TimedOut => Error::new("timed-out", "the plugin did not answer in time"),
            CallError::Busy => Error::new("busy", "the plugin's mailbox is full"),
            CallError::Gone => Error::new("gone", "the plugin was restarted or unloaded before it answered"),
            CallError::Failed(failure) => failure.into(),
            CallError::Other(what) => Error::new("other", what),
        }
    }
}
