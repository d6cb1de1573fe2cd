//! What the commands take and answer, as JSON.

use serde::{Deserialize, Serialize};
use weir_sdk::prelude::*;

/// `ping {peer, count, size, concurrency}`: asks the peer and measures.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PingArgs {
    /// Whom.
    pub peer: PeerId,
    /// How many requests.
    #[serde(default = "one")]
    pub count: u64,
    /// Bytes of each body.
    #[serde(default = "default_size")]
    pub size: u32,
    /// Requests open at once, 1 to 256.
    #[serde(default = "one_open")]
    pub concurrency: u32,
}

/// The answer of `ping`. Times are microseconds from the plugin's request to its answer, as the plugin measures them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PingDone {
    /// Requests made.
    pub sent: u64,
    /// Answered with what was asked.
    pub answered: u64,
    /// Not answered, or with something else.
    pub failed: u64,
    /// From the first request to the last answer.
    pub elapsed_us: u64,
    /// Over all answers.
    pub mean_us: f64,
    /// Half of the answers came within this; exact to one part in 32, like the next.
    pub p50_us: u64,
    /// Of 100 answers, 99 came within this.
    pub p99_us: u64,
    /// Why the last failure failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_failure: Option<String>,
}

/// `flood {peer, count, size}`: sends that many messages of a made-up content.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FloodArgs {
    /// To whom.
    pub peer: PeerId,
    /// How many messages.
    pub count: u64,
    /// Bytes of each body, its header of 16 bytes included.
    #[serde(default = "default_size")]
    pub size: u32,
}

/// `send {peer, data, encoding, size, flood}`: sends given data, cut into messages.
///
/// A file of any length goes out by calling it again and again with the `flood` that the first answer named:
/// each answer comes when the lane has taken the whole piece, so the caller cannot run ahead.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SendArgs {
    /// To whom.
    pub peer: PeerId,
    /// The data.
    pub data: String,
    /// `base64` (the default) or `text`.
    #[serde(default)]
    pub encoding: Encoding,
    /// Bytes of each body, its header of 16 bytes included; the last may be shorter.
    #[serde(default = "default_size")]
    pub size: u32,
    /// Goes on with this flood; a new one without.
    #[serde(default)]
    pub flood: Option<String>,
}

/// How `data` is written.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// RFC 4648, standard alphabet.
    #[default]
    Base64,
    /// The bytes of the text itself.
    Text,
}

/// The answer of `flood` and of `send`: the lane has taken everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FloodDone {
    /// Names it in the receiver's `stats`. Sixteen hexadecimal digits, because JSON numbers end at 2^53.
    pub flood: String,
    /// Messages taken by this command.
    pub messages: u64,
    /// Messages taken by this flood since its first command.
    pub total: u64,
    /// Over all payloads of the flood so far, as the receiver's `stats` has it.
    pub checksum: String,
    /// From the command to the last message taken.
    pub elapsed_ms: u64,
}

/// The answer of `stats`: sums over all peers, then each peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// The running version.
    pub version: String,
    /// One-way messages received.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Requests answered.
    pub requests: u64,
    /// Messages of floods that did not come, although later ones did.
    pub lost: u64,
    /// Messages of floods that came after later ones.
    pub reordered: u64,
    /// Messages of floods that came twice.
    pub duplicated: u64,
    /// Messages of ours that did not arrive.
    pub undelivered: u64,
    /// Messages that the host lost before this plugin saw them.
    pub missed: u64,
    /// From version 0.2 on: bytes of the largest message since then.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub largest_message: Option<u64>,
    /// From version 0.2 on: bytes by messages.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mean_message: Option<f64>,
    /// Each peer, by its id.
    pub per_peer: Vec<PeerStats>,
}

/// One peer in `stats`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerStats {
    /// Who.
    pub peer: PeerId,
    /// One-way messages received.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Requests answered.
    pub requests: u64,
    /// Messages of floods that did not come, although later ones did.
    pub lost: u64,
    /// Messages of floods that came after later ones.
    pub reordered: u64,
    /// Messages of floods that came twice.
    pub duplicated: u64,
    /// Messages of ours that did not arrive.
    pub undelivered: u64,
    /// Messages that the host lost before this plugin saw them.
    pub missed: u64,
    /// Its latest floods.
    pub floods: Vec<FlowStats>,
}

/// One flood of one peer in `stats`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowStats {
    /// As the sender's answer names it.
    pub flood: String,
    /// Messages received.
    pub messages: u64,
    /// The index expected next: of a whole flood it equals `messages`.
    pub next: u64,
    /// Over the payloads in the order in which they came.
    pub checksum: String,
}

fn one() -> u64 {
    1
}

fn one_open() -> u32 {
    1
}

fn default_size() -> u32 {
    256
}
