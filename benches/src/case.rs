//! What is measured: cases, and the ways in which the same work is done.

use std::future::Future;
use std::pin::Pin;

use anyhow::Result;

/// One way to do a case's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Way {
    /// A QUIC stream by itself, written one message at a time.
    Raw,
    /// A QUIC stream by itself, written in chunks of 64 KiB: what it can carry at most.
    RawChunked,
    /// A node with a handler in plain Rust.
    Native,
    /// A node with a plugin.
    Plugin,
    /// quinn by itself.
    Quinn,
    /// iroh, with addresses that are known.
    Iroh,
    /// rust-libp2p: streams, request-response or gossipsub, as the case asks for.
    Libp2p,
}

/// Other libraries, which [`Peers`](crate::peers::Peers) measures.
pub const OTHERS: [Way; 3] = [Way::Quinn, Way::Iroh, Way::Libp2p];

impl Way {
    /// Its name in the document.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::RawChunked => "raw_chunked",
            Self::Native => "native",
            Self::Plugin => "plugin",
            Self::Quinn => "quinn",
            Self::Iroh => "iroh",
            Self::Libp2p => "libp2p",
        }
    }
}

/// What a value is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// More is better.
    MessagesPerSecond,
    /// More is better.
    RequestsPerSecond,
    /// More is better.
    HandshakesPerSecond,
    /// More is better.
    TurnsPerSecond,
    /// Less is better.
    Microseconds,
    /// Less is better.
    Kibibytes,
    /// Of CPU time, on all threads together. Less is better.
    CpuMicroseconds,
    /// Less is better.
    Allocations,
}

impl Unit {
    /// As the document has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::MessagesPerSecond => "messages/s",
            Self::RequestsPerSecond => "requests/s",
            Self::HandshakesPerSecond => "handshakes/s",
            Self::TurnsPerSecond => "turns/s",
            Self::Microseconds => "us",
            Self::Kibibytes => "KiB",
            Self::CpuMicroseconds => "us of CPU each",
            Self::Allocations => "each",
        }
    }

    /// Whether it is of so much a second.
    pub fn is_rate(self) -> bool {
        self.name().ends_with("/s")
    }
}

/// One figure of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Its name in the document.
    pub name: &'static str,
    /// Of what.
    pub unit: Unit,
}

/// What one round gives: one value for each row of the case.
pub type Round<'a> = Pin<Box<dyn Future<Output = Result<Vec<f64>>> + Send + 'a>>;

/// Both ends of a way, ready to do the work again and again.
pub trait Ends: Send {
    /// Does the work once.
    fn round(&mut self) -> Round<'_>;
}

/// A case: the same work in several ways.
pub struct Case {
    /// What each round gives.
    pub rows: Vec<Row>,
    /// Who does it.
    pub ways: Vec<(Way, Box<dyn Ends>)>,
}
