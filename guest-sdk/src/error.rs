//! The one error of plugin code: a stable code for programs and a sentence for people.

use std::borrow::Cow;
use std::fmt;

use crate::abi::{CallRefused, Failure, RegisterError, SendError, WriteError};

/// What plugin methods return; `?` takes any [`std::error::Error`].
pub type Result<T = (), E = Error> = std::result::Result<T, E>;

/// Why an event's method gave up.
///
/// The effects that the event had staged are dropped, the rest of the batch goes on. A request or a
/// command is answered with `code` and `message`. Like `anyhow::Error` this type is no
/// [`std::error::Error`] itself, so that every one of those converts into it.
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    code: Cow<'static, str>,
    message: String,
    fatal: bool,
}

impl Error {
    /// `code` is kebab-case and stable; `message` names the thing, the limit and what to do about it.
    pub fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), fatal: false }
    }

    /// Gives up the whole turn and this instance: the host discards everything the batch staged and
    /// starts a new instance from the store.
    pub fn fatal(message: impl Into<String>) -> Self {
        Self { code: "fatal".into(), message: message.into(), fatal: true }
    }

    /// The stable, kebab-case name of the cause.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The sentence for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether the turn is given up, see [`Error::fatal`].
    pub fn is_fatal(&self) -> bool {
        self.fatal
    }
}

impl<E: std::error::Error + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        let code = code_of(&error);
        Self::new(code, sentence(code).map_or_else(|| error.to_string(), str::to_owned))
    }
}

/// What the ABI's names say to people.
fn sentence(code: &str) -> Option<&'static str> {
    Some(match code {
        "not-connected" => "the peer is not connected",
        "unsupported" => "the peer does not support the protocol",
        "busy" => "there is no room now; try again when it is relieved",
        "too-large" => "the body is larger than both sides allow",
        "unknown-protocol" => "the plugin has no protocol with this key",
        "over-budget" => "the turn has staged all it may, or calls come too fast; go on in a later turn",
        "taken" => "another handler has this protocol",
        "not-granted" => "the operator has not granted it",
        "bad-id" => "this is no protocol id: write /name/version",
        "too-many" => "there are too many protocols",
        "key-in-use" => "the plugin uses this protocol key already",
        "key-too-long" => "the key is longer than the store takes",
        "value-too-large" => "the value is larger than the store takes",
        "over-quota" => "the plugin's store is full",
        _ => return None,
    })
}

/// The ABI's own errors carry their name as the code.
fn code_of(error: &(dyn std::error::Error + 'static)) -> &'static str {
    if let Some(error) = error.downcast_ref::<SendError>() {
        error.name()
    } else if let Some(error) = error.downcast_ref::<WriteError>() {
        error.name()
    } else if let Some(error) = error.downcast_ref::<CallRefused>() {
        error.name()
    } else if let Some(error) = error.downcast_ref::<RegisterError>() {
        error.name()
    } else if error.is::<postcard::Error>() || error.is::<serde_json::Error>() {
        "malformed"
    } else {
        "failed"
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure { code: error.code.into_owned(), message: error.message }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::new(failure.code, failure.message)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
