//! The numbers that stand in CONNECTION_CLOSE, STOP_SENDING and reports.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($(#[$about:meta])* $name:ident { $($(#[doc = $doc:literal])+ $case:ident = $code:literal => $text:literal,)+ }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(from = "u32", into = "u32")]
        pub enum $name {
            $($(#[doc = $doc])+ $case,)+
            /// A code that this version has no name for.
            Unknown(u32),
        }

        impl From<u32> for $name {
            fn from(code: u32) -> Self {
                match code { $($code => Self::$case,)+ other => Self::Unknown(other) }
            }
        }

        impl From<$name> for u32 {
            fn from(code: $name) -> Self {
                match code { $($name::$case => $code,)+ $name::Unknown(other) => other }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self { $(Self::$case => f.write_str($text),)+ Self::Unknown(code) => write!(f, "code {code}") }
            }
        }
    };
}

codes! {
    /// Why a connection was refused or closed: the application error code of CONNECTION_CLOSE
    /// (RFC 9000, 19.19) and the code of `Control::Refused`.
    CloseCode {
        /// Nothing is wrong; the side that closes has no more use for the connection.
        Normal = 0 => "closed normally",
        /// The node stops.
        Shutdown = 1 => "the node is stopping",
        /// All places for peers are taken.
        Full = 2 => "the node is full",
        /// Another peer was given this one's place.
        Evicted = 3 => "evicted for another peer",
        /// There is another connection between the two, and that one stays.
        Duplicate = 4 => "another connection between the two stays",
        /// A newer connection of the same peer took over.
        Replaced = 5 => "replaced by a newer connection",
        /// A control message could not be decoded or came out of turn.
        ProtocolViolation = 6 => "the peer broke the wire protocol",
        /// The hello or the decision about it did not come in time.
        HelloTimeout = 7 => "no hello or no answer to it in time",
        /// The control stream was not read for too long.
        ControlStalled = 8 => "the peer stopped reading its control stream",
        /// The operator forbids this peer or address.
        Blocked = 9 => "blocked by the operator",
        /// The wire versions differ.
        Version = 10 => "wire versions differ",
        /// The key that answered is not the expected one.
        WrongPeer = 11 => "another key answered than was dialed",
        /// The operator removed the peer.
        Removed = 12 => "removed by the operator",
        /// The peer dialed itself.
        SelfDial = 13 => "the node dialed itself",
        /// The peer was silent for too long.
        Silent = 14 => "the peer was silent for too long",
    }
}

codes! {
    /// Why a receiver reads no further: the application error code of STOP_SENDING (RFC 9000, 19.5).
    StopCode {
        /// The registration number is not known: the protocol was unregistered.
        Unregistered = 1 => "the protocol is not registered",
        /// A newer generation of the lane took over.
        Superseded = 2 => "a newer generation of the lane took over",
        /// The sender said `abandon`.
        Abandoned = 3 => "abandoned by its sender",
        /// More streams than this node takes.
        TooManyStreams = 4 => "too many streams",
        /// A frame is larger than the protocol allows.
        TooLarge = 5 => "a frame is larger than the protocol allows",
        /// The bytes do not decode.
        Malformed = 6 => "malformed",
        /// The set sequence or the lane generation that the header names did not come in time.
        OutOfSequence = 7 => "what the header names did not come in time",
        /// The connection is closing.
        Closing = 8 => "the connection is closing",
        /// The handler is gone or has failed.
        HandlerGone = 9 => "the handler is gone",
        /// The peer is muted for this protocol.
        Muted = 10 => "muted for this protocol",
        /// The header names another incarnation than the hello.
        WrongIncarnation = 11 => "the header names another incarnation",
        /// Too many requests of this peer are unanswered.
        TooManyRequests = 12 => "too many unanswered requests",
    }
}

/// How the reading of a stream ended, as its receiver tells the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StreamOutcome {
    /// Read to its end; every frame went to the handler.
    Finished,
    /// Not read further; only the reported number of frames went to the handler.
    Stopped(StopCode),
}
