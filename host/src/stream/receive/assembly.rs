//! How many bytes of large frames one connection puts together at once.
//!
//! What a reader took is out of QUIC's window, so without a bound of its own every stream could make the node hold one
//! frame of the largest size. A small frame is held freely. A large one that did not come in one read is read further
//! only with permits for the whole of it. They are taken at once, so no two readers hold halves and wait for each
//! other, and in the order of asking; who waits does not read, and the window does the rest. They come back when the
//! handler has the frame, because until then the reader holds it.
//!
//! So a peer that begins large frames and stays silent holds up the large frames of its own connection, and no other
//! traffic.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::wire::{Frame, FrameDecoder, SMALL_FRAME, WireError};

/// Of one connection.
#[derive(Debug)]
pub(super) struct Assembly {
    permits: Arc<Semaphore>,
    most: usize,
    incomplete: AtomicUsize,
}

impl Assembly {
    /// For large frames of `most` bytes together.
    pub(super) fn new(most: usize) -> Self {
        let most = most.min(Semaphore::MAX_PERMITS).min(u32::MAX as usize);
        Self { permits: Arc::new(Semaphore::new(most)), most, incomplete: AtomicUsize::new(0) }
    }

    /// Bytes of frames that are not whole yet.
    pub(super) fn incomplete(&self) -> usize {
        self.incomplete.load(Ordering::Relaxed)
    }

    /// Waits until so many bytes are free. A frame larger than everything waits for everything, and comes alone. Cancel
    /// safe, but the place in the queue is lost.
    async fn take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let permits = bytes.min(self.most) as u32;
        // Never closed.
        Arc::clone(&self.permits).acquire_many_owned(permits).await.ok()
    }
}

/// The frames of one stream. Dropped, it gives back all that it holds.
#[derive(Debug)]
pub(super) struct Frames {
    assembly: Arc<Assembly>,
    decoder: FrameDecoder,
    /// For the large frame that is under way, or with the handler's `deliver`.
    permit: Option<OwnedSemaphorePermit>,
    /// What is counted of it as incomplete.
    counted: usize,
}

impl Frames {
    pub(super) fn new(assembly: Arc<Assembly>, max_body: u32) -> Self {
        Self { assembly, decoder: FrameDecoder::new(max_body), permit: None, counted: 0 }
    }

    /// See [`FrameDecoder::decode`].
    pub(super) fn decode(&mut self, chunk: Bytes, out: &mut Vec<Frame>) -> Result<(), WireError> {
        let decoded = self.decoder.decode(chunk, out);
        self.count(self.decoder.held());
        decoded
    }

    /// See [`FrameDecoder::finish`].
    pub(super) fn finish(&self) -> Result<(), WireError> {
        self.decoder.finish()
    }

    /// The handler has all frames that were decoded. A large one was the first of them.
    pub(super) fn handed_over(&mut self) {
        self.permit = None;
    }

    /// To be called before each read: ready when the incomplete frame may grow. Cancel safe.
    pub(super) async fn make_room(&mut self) {
        let Some(pending) = self.decoder.pending() else { return };
        let whole = self.decoder.held() + pending;
        if whole > SMALL_FRAME && self.permit.is_none() {
            self.permit = self.assembly.take(whole).await;
            self.decoder.reserve();
        }
    }

    fn count(&mut self, held: usize) {
        if held != self.counted {
            self.assembly.incomplete.fetch_add(held, Ordering::Relaxed);
            self.assembly.incomplete.fetch_sub(self.counted, Ordering::Relaxed);
            self.counted = held;
        }
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        self.count(0);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;
    use crate::testing::poll_once;
    use crate::wire::FrameWriter;

    const LARGE: usize = 100_000;

    fn message(size: usize) -> Bytes {
        let mut writer = FrameWriter::default();
        writer.message(&vec![1; size]);
        writer.take()
    }

    /// A stream of which all but the last byte of a frame has come.
    fn begun(assembly: &Arc<Assembly>, size: usize) -> Frames {
        let mut frames = Frames::new(Arc::clone(assembly), 1 << 20);
        let bytes = message(size);
        frames.decode(bytes.slice(..bytes.len() - 1), &mut Vec::new()).expect("a part");
        frames
    }

    fn is_ready(waits: impl Future<Output = ()>) -> bool {
        poll_once(waits).is_some()
    }

    #[test]
    fn large_frames_take_turns_and_small_ones_do_not_wait() {
        let assembly = Arc::new(Assembly::new(2 * LARGE + 100));
        let [mut first, mut second, mut third, mut fourth] = [(); 4].map(|()| begun(&assembly, LARGE));
        let mut small = begun(&assembly, SMALL_FRAME - 10);
        assert!(is_ready(first.make_room()) && is_ready(second.make_room()));
        {
            let (mut third, mut fourth) = (pin!(third.make_room()), pin!(fourth.make_room()));
            assert!(!is_ready(third.as_mut()) && !is_ready(fourth.as_mut()));
            assert!(is_ready(small.make_room()));
            // The last byte of the first: it gives its place to the third once the handler has it.
            let mut out = Vec::new();
            first.decode(Bytes::from_static(&[1]), &mut out).expect("whole");
            assert_eq!(out.len(), 1);
            assert!(!is_ready(third.as_mut()));
            first.handed_over();
            assert!(is_ready(third.as_mut()) && !is_ready(fourth.as_mut()));
        }
        assert!(assembly.incomplete() > 3 * LARGE);
        drop((first, second, third, fourth, small));
        assert_eq!((assembly.incomplete(), assembly.permits.available_permits()), (0, assembly.most));
    }

    #[test]
    fn a_frame_larger_than_the_budget_comes_alone() {
        let assembly = Arc::new(Assembly::new(LARGE));
        let (mut one, mut other) = (begun(&assembly, 3 * LARGE), begun(&assembly, LARGE - 10));
        assert!(is_ready(one.make_room()));
        assert!(!is_ready(other.make_room()));
        drop(one);
        assert!(is_ready(other.make_room()));
    }
}
