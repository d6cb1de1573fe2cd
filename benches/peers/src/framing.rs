//! Messages on a stream: their length in four bytes, and then they.

use bytes::{BufMut as _, Bytes, BytesMut};

const PREFIX: usize = 4;

/// A message as it is written.
pub fn framed(size: usize) -> Bytes {
    let mut frame = BytesMut::with_capacity(PREFIX + size);
    frame.put_u32(size as u32);
    frame.put_bytes(7, size);
    frame.freeze()
}

/// Takes messages out of what a stream brings. One that lies in a chunk as a whole is not copied.
#[derive(Default)]
pub struct Decoder {
    /// The beginning of a message that has not come as a whole.
    begun: Vec<u8>,
}

impl Decoder {
    /// Hands every message that is complete now to `each`, and says how many those were.
    pub fn take(&mut self, mut chunk: &[u8], mut each: impl FnMut(&[u8])) -> u64 {
        let mut complete = 0;
        while !self.begun.is_empty() && !chunk.is_empty() {
            let missing = whole(&self.begun) - self.begun.len();
            let (more, rest) = chunk.split_at(missing.min(chunk.len()));
            self.begun.extend_from_slice(more);
            chunk = rest;
            if self.begun.len() > PREFIX && self.begun.len() == whole(&self.begun) {
                each(&self.begun[PREFIX..]);
                self.begun.clear();
                complete += 1;
            }
        }
        while chunk.len() > PREFIX && chunk.len() >= whole(chunk) {
            let (frame, rest) = chunk.split_at(whole(chunk));
            each(&frame[PREFIX..]);
            chunk = rest;
            complete += 1;
        }
        self.begun.extend_from_slice(chunk);
        complete
    }
}

/// How long the frame is that begins here, as far as that is known. No message is empty.
fn whole(begun: &[u8]) -> usize {
    match begun.first_chunk() {
        Some(prefix) => PREFIX + u32::from_be_bytes(*prefix) as usize,
        None => PREFIX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_comes_once_however_the_stream_is_cut() {
        let sizes = [1, 3, 256, 5, 70_000];
        let stream: Vec<u8> = sizes.iter().flat_map(|size| framed(*size)).collect();
        for cut in [1, 2, 3, 4, 5, 7, 260, 1_200, 100_000] {
            let (mut decoder, mut come) = (Decoder::default(), Vec::new());
            let counted: u64 = stream.chunks(cut).map(|chunk| decoder.take(chunk, |body| come.push(body.len()))).sum();
            assert_eq!((come, counted), (sizes.to_vec(), sizes.len() as u64), "in chunks of {cut}");
        }
    }
}
