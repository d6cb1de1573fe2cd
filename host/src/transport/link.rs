//! One authenticated QUIC connection and its streams, in Weir's words.

use std::net::SocketAddr;

use bytes::Bytes;
use s2n_quic::application;
use s2n_quic::connection::{self, StreamAcceptor};
use s2n_quic::stream;

use crate::peer::PeerId;
use crate::wire::{CloseCode, StopCode};

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
        use s2n_quic_core_location::is_local;
        match error {
            connection::Error::Closed { initiator, .. } => {
                Self::Closed { code: CloseCode::Normal, local: is_local(initiator) }
            }
            connection::Error::Application { error, initiator, .. } => {
                let code = u32::try_from(u64::from(*error)).unwrap_or(u32::MAX).into();
                Self::Closed { code, local: is_local(initiator) }
            }
            connection::Error::IdleTimerExpired { .. } => Self::TimedOut,
            other => Self::Transport(other.to_string()),
        }
    }
}

/// s2n-quic names the side that closed by a type it does not export; its text does.
mod s2n_quic_core_location {
    pub(super) fn is_local(initiator: impl std::fmt::Debug) -> bool {
        format!("{initiator:?}") == "Local"
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
    Link(LinkError),
    /// It was used after its end.
    #[error("used after its end: {0}")]
    Ended(String),
}

impl From<stream::Error> for StreamError {
    fn from(error: stream::Error) -> Self {
        match error {
            stream::Error::StreamReset { error, .. } => {
                Self::Stopped(u32::try_from(u64::from(*error)).unwrap_or(u32::MAX).into())
            }
            stream::Error::ConnectionError { error, .. } => Self::Link(error.into()),
            other => Self::Ended(other.to_string()),
        }
    }
}

fn application_code(code: u32) -> application::Error {
    code.into()
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
    pub(super) fn new(peer: PeerId, direction: Direction, connection: s2n_quic::Connection) -> Self {
        let (handle, acceptor) = connection.split();
        Self { peer, direction, handle: LinkHandle(handle), acceptor: LinkAcceptor(acceptor) }
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

    /// Where the peer's packets come from now. A port that a peer dialed from is not where it listens.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn remote_address(&self) -> Result<SocketAddr, LinkError> {
        Ok(self.0.remote_addr()?)
    }

    /// Makes QUIC keep the connection from going idle.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn keep_alive(&mut self) -> Result<(), LinkError> {
        Ok(self.0.keep_alive(true)?)
    }

    /// Closes at once; what is in flight is lost.
    pub fn close(&self, code: CloseCode) {
        self.0.close(application_code(code.into()));
    }
}

/// Takes the streams that the peer opens.
#[derive(Debug)]
pub struct LinkAcceptor(StreamAcceptor);

impl LinkAcceptor {
    /// The next data stream; `None` when the connection closed without an error. Cancel safe.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn accept_receive_stream(&mut self) -> Result<Option<ReceiveStream>, LinkError> {
        Ok(self.0.accept_receive_stream().await?.map(ReceiveStream))
    }

    /// The control stream that the dialing side opens; `None` when the connection closed. Cancel safe.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn accept_control_stream(&mut self) -> Result<Option<ControlStream>, LinkError> {
        Ok(self.0.accept_bidirectional_stream().await?.map(|stream| {
            let (receive, send) = stream.split();
            ControlStream { send: SendStream(send), receive: ReceiveStream(receive) }
        }))
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

    /// Writes all chunks, in order, as one gather write; waits while the send buffer is full. The chunks
    /// that were taken are left empty.
    ///
    /// Cancel safe in this sense: a dropped call has taken whole chunks only, and those are the empty ones.
    ///
    /// # Errors
    /// When the peer stopped the stream or the connection is gone.
    pub async fn write(&mut self, chunks: &mut [Bytes]) -> Result<(), StreamError> {
        Ok(self.0.send_vectored(chunks).await?)
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

    /// Asks the sender to stop (STOP_SENDING). What it had sent is dropped unread, and the connection's
    /// window gets its bytes back.
    pub fn stop(&mut self, code: StopCode) {
        // Fails only where there is nothing left to stop.
        let _ = self.0.stop_sending(application_code(code.into()));
    }
}
