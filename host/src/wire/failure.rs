//! Refusals: what is said in the place of an answer.

use serde::{Deserialize, Serialize};

use super::WireError;

/// Most bytes of an encoded [`Failure`].
pub const MAX_FAILURE: usize = 2048;
const MAX_FAILURE_CODE: usize = 64;
const MAX_FAILURE_MESSAGE: usize = 1024;

/// A failure that people and programs can both read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Kebab-case and stable; at most 64 bytes.
    pub code: String,
    /// A sentence; at most 1,024 bytes.
    pub message: String,
}

impl Failure {
    /// Reads the body of a refusal.
    ///
    /// # Errors
    /// [`WireError::Malformed`] when it does not decode or is too long.
    pub fn decode(body: &[u8]) -> Result<Self, WireError> {
        let failure: Self = postcard::from_bytes(body).map_err(|_| WireError::Malformed("refusal"))?;
        if failure.code.len() > MAX_FAILURE_CODE || failure.message.len() > MAX_FAILURE_MESSAGE {
            return Err(WireError::Malformed("refusal"));
        }
        Ok(failure)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let clipped = Self {
            code: clip(&self.code, MAX_FAILURE_CODE).to_owned(),
            message: clip(&self.message, MAX_FAILURE_MESSAGE).to_owned(),
        };
        postcard::to_stdvec(&clipped).unwrap_or_default()
    }
}

pub(super) fn clip(text: &str, limit: usize) -> &str {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
