//! `docs/wire.md`, sections 2 to 5, from the page alone.

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

/// Section 3.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "docs/wire.md says what each is")]
pub enum Control {
    Hello(Hello),
    Admitted,
    Refused { code: u32, reason: String },
    Protocols { incarnation: u64, sequence: u64, change: SetChange },
    ProtocolsApplied { incarnation: u64, sequence: u64 },
    Abandon { stream: u64 },
    StreamProgress { stream: u64, frames: u64 },
    StreamEnded { stream: u64, frames: u64, outcome: Outcome },
    Ping(u64),
    Pong(u64),
    Drain { code: u32 },
    Drained,
}

/// Section 3.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "docs/wire.md says what each is")]
pub struct Hello {
    pub version: u16,
    pub incarnation: u64,
    pub dial: u64,
    pub beside: bool,
    pub max_streams: u32,
    pub address: Option<(Vec<u8>, Vec<u8>)>,
    pub sequence: u64,
    pub protocols: Vec<Entry>,
}

/// Section 3.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "docs/wire.md says what each is")]
pub struct Entry {
    pub id: String,
    pub registration: u64,
    pub max_message: u32,
}

/// Section 3.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "docs/wire.md says what each is")]
pub enum SetChange {
    Full { protocols: Vec<Entry> },
    Difference { base: u64, added: Vec<Entry>, removed: Vec<u64> },
}

/// Section 3.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "docs/wire.md says what each is")]
pub enum Outcome {
    Finished,
    Stopped(u32),
}

impl Hello {
    /// A sound hello with these protocols, registered as 1, 2, 3 …
    pub fn with(incarnation: u64, protocols: &[&str]) -> Self {
        let entry = |(at, id): (usize, &&str)| Entry {
            id: (*id).to_owned(),
            registration: at as u64 + 1,
            max_message: 1 << 20,
        };
        Self {
            version: 1,
            incarnation,
            dial: 1,
            beside: false,
            max_streams: 64,
            address: None,
            sequence: protocols.len() as u64,
            protocols: protocols.iter().enumerate().map(entry).collect(),
        }
    }

    /// The registration number of a protocol in this hello.
    pub fn number(&self, id: &str) -> Option<u64> {
        self.protocols.iter().find(|entry| entry.id == id).map(|entry| entry.registration)
    }
}

/// A varint.
pub fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn take_varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let end = bytes.iter().position(|byte| byte & 0x80 == 0)?;
    let digits = bytes[..=end].iter().rev();
    Some((digits.fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f)), end + 1))
}

/// A control frame.
pub(super) fn control(message: &Control) -> Result<Vec<u8>> {
    let body = postcard::to_stdvec(message)?;
    Ok([varint(body.len() as u64), body].concat())
}

/// The first control frame and its size, when it is complete.
pub(super) fn take_control(bytes: &[u8]) -> Result<Option<(Control, usize)>> {
    let Some((length, head)) = take_varint(bytes) else { return Ok(None) };
    if length > 256 << 10 {
        bail!("the node sent a control frame of {length} bytes");
    }
    let end = head + length as usize;
    if bytes.len() < end {
        return Ok(None);
    }
    Ok(Some((postcard::from_bytes(&bytes[head..end])?, end)))
}

/// A stream header: registration, sequence, incarnation, lane, generation, after.
pub fn header(fields: [u64; 6]) -> Vec<u8> {
    let body: Vec<u8> = fields.into_iter().flat_map(varint).collect();
    [vec![body.len() as u8], body].concat()
}

/// A frame of any kind.
pub fn frame(kind: u8, rest: &[u8]) -> Vec<u8> {
    [&varint(rest.len() as u64 + 1)[..], &[kind], rest].concat()
}

/// A message frame.
pub fn message(body: &[u8]) -> Vec<u8> {
    frame(0, body)
}

/// A request frame.
pub fn request(id: u64, timeout_ms: u64, body: &[u8]) -> Vec<u8> {
    frame(1, &[&varint(id)[..], &varint(timeout_ms), body].concat())
}
