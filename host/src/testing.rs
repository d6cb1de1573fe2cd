//! What tests of every layer use.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// Asks a future once: what it comes to, if it is ready. Whoever goes on with it passes it by reference, pinned where it
/// must be.
pub(crate) fn poll_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}
