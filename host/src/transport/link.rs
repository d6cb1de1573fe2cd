//! One authenticated QUIC connection and its streams, in Weir's words.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use s2n_quic::application;
use s2n_quic::connection::{self, StreamAcceptor};
use s2n_quic::stream;

use super::windows::MAX_CHUNK;
use crate::peer::PeerId;
use crate::wire::{CloseCode, StopCode};

/// Chunks that [`ReceiveStream::read_many`] takes at once. A chunk is at most [`READ_CHUNK`], and mostly a packet.
pub const READ_CHUNKS: usize = 16;

/// Largest chunk that s2n-quic hands out, in bytes.
pub const READ_CHUNK: usize = 64 << 10;

/// From so many bytes on, a read takes no further chunk.
const READ_ENOUGH: usize = 32 << 10;

/// Most bytes that one read takes. What was read is out of the stream's window, so this much more may come.
pub const MAX_READ: usize = READ_ENOUGH + READ_CHUNK;

/// Who dialed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The peer dialed us.
    Inbound,
    /// We dialed the peer.
    Outbound,
}

/// Why a connection is no more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Closed with a code of ours, by either side.
    #[error("{code} (closed by the {})", if *.local { "node itself" } else { "peer" })]
    Closed {
        /// The code of CONNECTION_CLOSE.
        code: CloseCode,
        /// Whether this side closed.
        local: bool,
    },
    /// Nothing came from the peer for the idle timeout.
    #[error("nothing came from the peer for the idle timeout")]
    TimedOut,
    /// QUIC or TLS gave up.
    #[error("{0}")]
    Transport(String),
}

impl From<connection::Error> for LinkError {
    fn from(error: connection::Error) -> Self {
        match error {
            connection::Error::Closed { initiator, .. } => {
                Self::Closed { code: CloseCode::Normal, local: initiator.is_local() }
            }
            connection::Error::Application { error, initiator, .. } => {
                Self::Closed { code: code_of(error).into(), local: initiator.is_local() }
            }
            connection::Error::IdleTimerExpired { .. } => Self::TimedOut,
            other => Self::Transport(other.to_string()),
        }
    }
}

/// Why a stream is no more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// The other side ended it with a code: STOP_SENDING to a sender, RESET_STREAM to a receiver.
    #[error("{0}")]
    Stopped(StopCode),
    /// Its connection is gone.
    #[error("the connection is gone: {0}")]
    Link(#[from] LinkError),
    /// It was used after its end.
    #[error("used after its end: {0}")]
    Ended(String),
}

impl From<stream::Error> for StreamError {
    fn from(error: stream::Error) -> Self {
        match error {
            stream::Error::StreamReset { error, .. } => Self::Stopped(code_of(error).into()),
            stream::Error::ConnectionError { error, .. } => Self::Link(error.into()),
            other => Self::Ended(other.to_string()),
        }
    }
}

/// Weir's codes have 32 bits, QUIC's 62; a larger one is nothing this version knows.
fn code_of(error: application::Error) -> u32 {
    u32::try_from(u64::from(error)).unwrap_or(u32::MAX)
}

/// An authenticated connection that nobody uses yet.
#[derive(Debug)]
pub struct Link {
    /// Whose key signed the handshake.
    pub peer: PeerId,
    /// Who dialed.
    pub direction: Direction,
    /// For opening streams and closing.
    pub handle: LinkHandle,
    /// For taking the peer's streams.
    pub acceptor: LinkAcceptor,
}

impl Link {
    /// Wraps a connection whose peer is proven.
    pub(super) fn new(peer: PeerId, direction: Direction, mut connection: s2n_quic::Connection) -> Self {
        // Fails only when the connection is gone already, and then its first use says so.
        let _ = connection.keep_alive(true);
        let (handle, acceptor) = connection.split();
        let handle = LinkHandle(handle);
        Self { peer, direction, handle: handle.clone(), acceptor: LinkAcceptor { streams: acceptor, handle } }
    }
}

/// Opens streams and closes the connection; cheap to clone.
///
/// When the last handle, acceptor and stream of a connection are dropped, it closes by itself.
#[derive(Debug, Clone)]
pub struct LinkHandle(connection::Handle);

impl LinkHandle {
    /// Opens a data stream; waits while the peer's stream limit is used up.
    ///
    /// Not cancel safe: a dropped call that waited swallows the next wake-up, and whoever opens next hangs.
    /// One task per connection calls this and never drops the future.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn open_send_stream(&mut self) -> Result<SendStream, LinkError> {
        Ok(SendStream(self.0.open_send_stream().await?))
    }

    /// Opens the control stream (the dialing side does, once, as its first stream).
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn open_control_stream(&mut self) -> Result<ControlStream, LinkError> {
        let (receive, send) = self.0.open_bidirectional_stream().await?.split();
        Ok(ControlStream { send: SendStream(send), receive: ReceiveStream(receive) })
    }

    /// Where the peer's packets come from now; it may change while the connection lives, and is still known when it
    /// is closed. A port that a peer dialed from is not where it listens.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn remote_address(&self) -> Result<SocketAddr, LinkError> {
        let address = self.0.remote_addr()?;
        // An IPv4 peer of a socket that listens on IPv6 too comes as an IPv4-mapped address.
        Ok(SocketAddr::new(address.ip().to_canonical(), address.port()))
    }

    /// Sends a QUIC PING, which a live peer acknowledges: it resets the idle timer on both sides.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn ping(&mut self) -> Result<(), LinkError> {
        Ok(self.0.ping()?)
    }

    /// Closes at once; what is in flight is lost.
    pub fn close(&self, code: CloseCode) {
        self.0.close(u32::from(code).into());
    }
}

/// Takes the streams that the peer opens.
#[derive(Debug)]
pub struct LinkAcceptor {
    streams: StreamAcceptor,
    handle: LinkHandle,
}

impl LinkAcceptor {
    /// The next data stream; `None` when the connection closed without a code. Cancel safe.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn accept_receive_stream(&mut self) -> Result<Option<ReceiveStream>, LinkError> {
        match self.streams.accept_receive_stream().await? {
            Some(stream) => Ok(Some(ReceiveStream(stream))),
            None => self.end(),
        }
    }

    /// The control stream that the dialing side opens; `None` when the connection closed without a code. Cancel safe.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn accept_control_stream(&mut self) -> Result<Option<ControlStream>, LinkError> {
        match self.streams.accept_bidirectional_stream().await? {
            Some(stream) => {
                let (receive, send) = stream.split();
                Ok(Some(ControlStream { send: SendStream(send), receive: ReceiveStream(receive) }))
            }
            None => self.end(),
        }
    }

    /// s2n-quic's acceptor says `None` for an idle timeout too; the connection itself knows better.
    fn end<T>(&mut self) -> Result<Option<T>, LinkError> {
        match self.handle.ping() {
            Err(LinkError::Closed { code: CloseCode::Normal, .. }) | Ok(()) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Both directions of the control stream.
#[derive(Debug)]
pub struct ControlStream {
    /// To the peer.
    pub send: SendStream,
    /// From the peer.
    pub receive: ReceiveStream,
}

/// The sending end of a stream.
///
/// Dropping it looks to the reader like an end, wherever in a frame it stood: a stream that failed is
/// abandoned on the control stream and kept until the peer stopped it. There is no reset: resetting a
/// stream that is blocked on its window kills the connection (s2n-quic 1.91, FLOW_CONTROL_ERROR).
#[derive(Debug)]
pub struct SendStream(stream::SendStream);

impl SendStream {
    /// The QUIC stream id.
    pub fn id(&self) -> u64 {
        self.0.id()
    }

    /// Writes all chunks, in order; waits while the send buffer is full. Chunks up to [`MAX_CHUNK`] go to QUIC as
    /// they are, larger ones piece by piece as copies.
    ///
    /// Cancel safe: what is left in `chunks` when the call is dropped or fails is what QUIC has not taken, to the
    /// byte, and calling again with it goes on. After success all are empty.
    ///
    /// # Errors
    /// When the peer stopped the stream or the connection is gone.
    pub async fn write(&mut self, chunks: &mut [Bytes]) -> Result<(), StreamError> {
        poll_fn(|cx| self.poll_write(chunks, cx)).await
    }

    fn poll_write(&mut self, chunks: &mut [Bytes], cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        let mut next = 0;
        while let Some(rest) = chunks.get_mut(next..).filter(|rest| !rest.is_empty()) {
            let small = rest.iter().take_while(|chunk| chunk.len() <= MAX_CHUNK).count();
            if small > 0 {
                next += ready!(self.0.poll_send_vectored(&mut rest[..small], cx))?;
            } else {
                // Only with room at hand, so that no piece is copied in vain.
                ready!(self.0.poll_send_ready(cx))?;
                let mut piece = [Bytes::copy_from_slice(&rest[0][..MAX_CHUNK])];
                ready!(self.0.poll_send_vectored(&mut piece, cx))?;
                rest[0].advance(MAX_CHUNK);
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Says that nothing follows. What was written is still delivered.
    ///
    /// # Errors
    /// When the peer stopped the stream or the connection is gone.
    pub fn finish(&mut self) -> Result<(), StreamError> {
        Ok(self.0.finish()?)
    }

    /// Waits until the peer's QUIC has acknowledged everything; its reader may still not have read it.
    ///
    /// A dropped call loses nothing, but until its wait would have been over, a write that finds the buffer full
    /// waits for an empty buffer instead of for the first room (s2n-quic 1.91 remembers the wish to flush).
    ///
    /// # Errors
    /// When the peer stopped the stream or the connection is gone: also the way to wait for a STOP_SENDING.
    pub async fn flush(&mut self) -> Result<(), StreamError> {
        Ok(self.0.flush().await?)
    }
}

/// The receiving end of a stream.
#[derive(Debug)]
pub struct ReceiveStream(stream::ReceiveStream);

impl ReceiveStream {
    /// The QUIC stream id.
    pub fn id(&self) -> u64 {
        self.0.id()
    }

    /// The next bytes, `None` at the end. Cancel safe.
    ///
    /// # Errors
    /// When the peer reset the stream or the connection is gone.
    pub async fn read(&mut self) -> Result<Option<Bytes>, StreamError> {
        Ok(self.0.receive().await?)
    }

    /// Appends what has come to `out`, at most [`READ_CHUNKS`] chunks and [`MAX_READ`] bytes, and waits for the first
    /// when there is none: one wake-up for all of them. `false` when the stream has ended; what came last may still be in `out`.
    ///
    /// Cancel safe: a dropped call has taken nothing.
    ///
    /// # Errors
    /// When the peer reset the stream or the connection is gone.
    pub async fn read_many(&mut self, out: &mut Vec<Bytes>) -> Result<bool, StreamError> {
        poll_fn(|cx| self.poll_read(out, cx)).await
    }

    /// Takes chunk by chunk, because s2n-quic fills all places it is given, and each may get 64 KiB.
    fn poll_read(&mut self, out: &mut Vec<Bytes>, cx: &mut Context<'_>) -> Poll<Result<bool, StreamError>> {
        let (mut chunks, mut bytes) = (0, 0);
        while chunks < READ_CHUNKS && bytes < READ_ENOUGH {
            // s2n-quic wants an empty place to put a chunk into.
            let mut chunk = [Bytes::new()];
            let (count, open) = match self.0.poll_receive_vectored(&mut chunk, cx) {
                Poll::Ready(Ok(taken)) => taken,
                // What was taken before is handed over first; the next call finds the error again.
                Poll::Ready(Err(_)) | Poll::Pending if chunks > 0 => break,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                Poll::Pending => return Poll::Pending,
            };
            let [chunk] = chunk;
            if count > 0 {
                bytes += chunk.len();
                out.push(chunk);
            }
            chunks += 1;
            if !open {
                return Poll::Ready(Ok(false));
            }
        }
        Poll::Ready(Ok(true))
    }

    /// Asks the sender to stop (STOP_SENDING). What it had sent is dropped unread, and the connection's
    /// window gets its bytes back.
    pub fn stop(&mut self, code: StopCode) {
        // Fails only where there is nothing left to stop.
        let _ = self.0.stop_sending(u32::from(code).into());
    }
}
