//! The bodies of one turn: small ones share chunks, so that a message does not cost an allocation. Pure.

use bytes::{Bytes, BytesMut};

use crate::stream::lane::LARGE_BODY;

/// The first chunk of a turn, in bytes; each further one is twice as large, because most turns send little.
const FIRST: usize = 1 << 10;
/// The largest chunk, in bytes.
const LARGEST: usize = 64 << 10;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct StagedBodies {
    chunk: BytesMut,
    size: usize,
}

impl StagedBodies {
    /// A copy of this body.
    pub(super) fn copy(&mut self, body: &[u8]) -> Bytes {
        if body.len() >= LARGE_BODY {
            // A lane queues it as it is, and would keep a whole chunk for it.
            return Bytes::copy_from_slice(body);
        }
        if self.chunk.capacity() < body.len() {
            self.size = (2 * self.size).clamp(FIRST, LARGEST).max(body.len());
            self.chunk = BytesMut::with_capacity(self.size);
        }
        self.chunk.extend_from_slice(body);
        self.chunk.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_what_was_copied_and_small_ones_lie_together() {
        let mut bodies = StagedBodies::default();
        let sizes = [0, 300, 300, 2_000, 3_000, 100_000, 300, 4_095, 4_096];
        let copies: Vec<_> = sizes.iter().map(|size| bodies.copy(&vec![*size as u8; *size])).collect();
        for (copy, size) in copies.iter().zip(sizes) {
            assert_eq!(copy, &vec![size as u8; size]);
        }
        assert_eq!(copies[1].as_ptr_range().end, copies[2].as_ptr());
    }
}
