//! How large QUIC's windows and buffers must be, and how much memory they can take at most: the arithmetic, once.
//!
//! s2n-quic takes all windows per endpoint, before a peer is known, and they cannot change later. What is computed
//! here is what the endpoints are given, so the bound on a node's memory holds by construction.
//!
//! Measured on s2n-quic 1.91 over loopback, and the reason for each number below:
//!
//! - MAX_DATA is sent again only after a tenth of the connection window was read, and DATA_BLOCKED is ignored. With
//!   a connection window of exactly streams × stream window and all streams but one unread, the free one stalls for
//!   ever; at 1.12 times that it runs freely. Hence the division by 0.9 in [`StreamLimits::windows`].
//! - MAX_STREAMS is sent again only after a tenth of the streams have ended, and STREAMS_BLOCKED is ignored. With exactly
//!   as many streams as the hello says, a slot that is free may be one that QUIC never opens. Hence the same division in
//!   [`StreamLimits::granted_streams`].
//! - A stream may hold one packet more than its window. Hence the packet added to each.
//! - A long-lived receive stream holds a 64-KiB buffer whatever its window is. Hence [`RECEIVE_BUFFER`].
//! - A write is taken whole as soon as one byte of the send buffer is free, so the buffer overshoots by one chunk.
//!   Hence [`MAX_CHUNK`], and a threshold that is lower than the buffer by it.

use std::fmt;

use super::link::MAX_READ;
use crate::wire::SMALL_FRAME;

/// Largest UDP datagram this node sends or takes, with its headers, in bytes: what Ethernet carries.
pub const MAX_PACKET: u16 = 1_500;

/// Largest piece of a write that goes to QUIC without being copied, in bytes. Larger chunks are copied out piece by
/// piece, so that a few unacknowledged bytes never keep a whole large message in memory.
pub const MAX_CHUNK: usize = 32 << 10;

/// Window of the control stream, in bytes: one whole control frame fits, and a peer whose control messages are not
/// read is noticed soon.
pub const CONTROL_WINDOW: u32 = 256 << 10;

/// What a receive stream that was used holds besides its window, in bytes.
pub const RECEIVE_BUFFER: u64 = 64 << 10;

/// What the reader of a stream holds of what it has taken out of the window, in bytes: an incomplete small frame, and
/// one read. Larger frames are put together within the connection's assembly budget.
pub const READER_BUFFER: u64 = (SMALL_FRAME + MAX_READ) as u64;

/// What a handshake holds before there is a connection, in bytes: both sides' flights, and s2n-quic's own state.
const HANDSHAKE_BUFFER: u64 = 256 << 10;

/// What one endpoint's packet queues take, in bytes: 8 MiB for receiving, 128 KiB for sending (s2n-quic's defaults).
const ENDPOINT_QUEUES: u64 = (8 << 20) + (128 << 10);

/// A node has at most three endpoints: one that listens, and one each to dial IPv4 and IPv6.
const ENDPOINTS: u64 = 3;

/// What each connection may use. The same holds for both directions and for whoever dialed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamLimits {
    /// Data streams a peer may have open on one connection, and this node towards it. Default 48.
    pub max_streams: u32,
    /// Bytes a peer may send on one data stream ahead of its reader. Default 256 KiB.
    pub stream_window: u32,
    /// Bytes of one stream that wait to be sent or acknowledged. Default 128 KiB, at least two [`MAX_CHUNK`]s.
    pub send_buffer: u32,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self { max_streams: 48, stream_window: 256 << 10, send_buffer: 128 << 10 }
    }
}

/// Why limits cannot be used. The text names the key to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitsError {
    /// Nothing could ever be sent.
    #[error("{name} is {value}; it must be at least {least}")]
    TooSmall {
        /// The field of [`StreamLimits`].
        name: &'static str,
        /// What it is.
        value: u32,
        /// What it must be at least.
        least: u32,
    },
    /// QUIC's connection window, which follows from the limits, would not fit 32 bits.
    #[error(
        "max_streams × stream_window needs a connection window of {window} bytes, above the largest possible \
         ({}): lower one of the two",
        u32::MAX
    )]
    WindowTooLarge {
        /// The window that would be needed, in bytes.
        window: u64,
    },
}

/// What the endpoints are given; in bytes, but for the streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// Data streams that a peer may have open as far as QUIC is concerned: more than the hello says, see the module.
    pub streams: u64,
    /// Of each data stream.
    pub stream: u32,
    /// Of the control stream.
    pub control: u32,
    /// Of the whole connection.
    pub connection: u32,
    /// From how many buffered bytes on a stream takes nothing more.
    pub send_threshold: u32,
}

impl StreamLimits {
    /// The windows that let one stream run freely whatever the others leave unread.
    ///
    /// connection ≥ Σ over all streams of (stream window + one packet) / 0.9, the control stream included.
    ///
    /// # Errors
    /// When a limit is too small to work with, or the connection window is above 32 bits.
    pub fn windows(&self) -> Result<Windows, LimitsError> {
        let least = |name, value, least| match value < least {
            true => Err(LimitsError::TooSmall { name, value, least }),
            false => Ok(()),
        };
        least("max_streams", self.max_streams, 1)?;
        least("stream_window", self.stream_window, u32::from(MAX_PACKET))?;
        least("send_buffer", self.send_buffer, 2 * MAX_CHUNK as u32)?;
        let window = self.connection_window();
        let connection = u32::try_from(window).map_err(|_| LimitsError::WindowTooLarge { window })?;
        Ok(Windows {
            streams: self.granted_streams(),
            stream: self.stream_window,
            control: CONTROL_WINDOW,
            connection,
            send_threshold: self.send_buffer - MAX_CHUNK as u32,
        })
    }

    /// So many that as many as the hello says are left when a tenth of them have ended and that was not announced.
    fn granted_streams(&self) -> u64 {
        announced_late(self.max_streams.into())
    }

    /// What all streams hold that were received on, the control stream among them, besides their windows.
    fn receive_buffers(&self) -> u64 {
        (self.granted_streams() + 1).saturating_mul(RECEIVE_BUFFER)
    }

    /// In 128 bits, because absurd limits overflow 64; what does not fit is too large anyway.
    fn connection_window(&self) -> u64 {
        let packet = u128::from(MAX_PACKET);
        let data = u128::from(self.max_streams) * (u128::from(self.stream_window) + packet);
        let unread = data + u128::from(CONTROL_WINDOW) + packet;
        announced_late(unread)
    }

    /// The most that one connection can take, in bytes, when it puts together large frames within `assembly` bytes.
    pub fn connection_memory(&self, assembly: u64) -> u64 {
        let streams = u64::from(self.max_streams) + 1;
        let buffers = streams.saturating_mul(u64::from(self.send_buffer) + READER_BUFFER);
        let window = self.connection_window().saturating_add(self.receive_buffers());
        window.saturating_add(buffers).saturating_add(assembly)
    }

    /// The most that a connection can take that is not admitted yet, and a handshake besides, in bytes. Only the control
    /// stream is written and read; what the peer sends on others fills their windows.
    pub fn pending_memory(&self) -> u64 {
        let control = u64::from(self.send_buffer) + u64::from(CONTROL_WINDOW);
        let window = self.connection_window().saturating_add(self.receive_buffers());
        window.saturating_add(control + HANDSHAKE_BUFFER)
    }

    /// The most that a whole node can take besides its code, its plugins' own memory and its store's cache.
    pub fn memory_bound(&self, demand: &MemoryDemand) -> MemoryBound {
        let each = self.connection_memory(demand.assembly);
        let pending = self.pending_memory();
        MemoryBound {
            terms: [
                MemoryTerm { name: "connections", bytes: each.saturating_mul(demand.connections.into()) },
                MemoryTerm {
                    name: "pending handshakes",
                    bytes: pending.saturating_mul(demand.pending_handshakes.into()),
                },
                MemoryTerm { name: "mailboxes", bytes: demand.mailboxes },
                MemoryTerm { name: "outbound budgets", bytes: demand.outbound },
                MemoryTerm { name: "socket queues", bytes: ENDPOINTS * ENDPOINT_QUEUES },
            ],
        }
    }
}

/// What must be granted for so much to be left when a tenth of it is free again and that was not announced.
fn announced_late(needed: u128) -> u64 {
    u64::try_from((needed * 10).div_ceil(9)).unwrap_or(u64::MAX)
}

/// What else decides how much memory a node can take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryDemand {
    /// Connections that may be open at once.
    pub connections: u32,
    /// Handshakes that may be under way at once, and as many connections that are not admitted yet.
    pub pending_handshakes: u32,
    /// What each connection may use to put together large frames, in bytes.
    pub assembly: u64,
    /// Σ over all handlers of what their mailboxes hold at most, in bytes.
    pub mailboxes: u64,
    /// Σ over all handlers of what their lanes hold at most, in bytes.
    pub outbound: u64,
}

/// One part of a [`MemoryBound`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryTerm {
    /// What takes the memory, for people.
    pub name: &'static str,
    /// How much at most.
    pub bytes: u64,
}

/// The most memory a configuration can take, by what takes it.
///
/// ```
/// use weir_host::transport::{MemoryDemand, StreamLimits};
///
/// let demand = MemoryDemand { connections: 64, pending_handshakes: 32, ..MemoryDemand::default() };
/// let bound = StreamLimits::default().memory_bound(&demand);
/// assert_eq!(bound.largest().name, "connections");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryBound {
    /// The parts.
    pub terms: [MemoryTerm; 5],
}

impl MemoryBound {
    /// Σ of the terms, in bytes.
    pub fn total(&self) -> u64 {
        self.terms.iter().fold(0, |sum, term| sum.saturating_add(term.bytes))
    }

    /// The term to lower first.
    pub fn largest(&self) -> MemoryTerm {
        self.terms.iter().copied().fold(self.terms[0], |most, term| if term.bytes > most.bytes { term } else { most })
    }
}

impl fmt::Display for MemoryBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        write!(f, "{} MiB (", mib(self.total()))?;
        for (index, term) in self.terms.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{} {} MiB", term.name, mib(term.bytes))?;
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limits() -> impl Strategy<Value = StreamLimits> {
        (1..100_000_u32, 1_500..=u32::MAX, 65_536..=u32::MAX).prop_map(|(max_streams, stream_window, send_buffer)| {
            StreamLimits { max_streams, stream_window, send_buffer }
        })
    }

    proptest! {
        /// With all other streams full and a tenth of the window read but not announced, the last stream still
        /// has its whole window.
        #[test]
        fn a_free_stream_never_stalls(limits in limits()) {
            let Ok(windows) = limits.windows() else { return Ok(()) };
            let per_stream = u64::from(limits.stream_window) + u64::from(MAX_PACKET);
            let others = (u64::from(limits.max_streams) - 1) * per_stream
                + u64::from(CONTROL_WINDOW) + u64::from(MAX_PACKET);
            let announced = u64::from(windows.connection) * 9 / 10;
            prop_assert!(announced >= others + per_stream);
        }

        /// With a tenth of the streams ended but not announced, as many as the hello says can still be open.
        #[test]
        fn every_slot_of_the_hello_can_be_used(limits in limits()) {
            let granted = limits.granted_streams();
            prop_assert!(granted - granted / 10 >= u64::from(limits.max_streams));
        }

        #[test]
        fn windows_fail_only_where_32_bits_do_not_suffice(limits in limits()) {
            let fits = limits.connection_window() <= u64::from(u32::MAX);
            prop_assert_eq!(limits.windows().is_ok(), fits);
        }

        #[test]
        fn the_bound_covers_every_connection_and_grows_with_each(
            limits in limits(), connections in 0..10_000_u32, pending_handshakes in 0..1_000_u32,
            mailboxes in any::<u32>(), outbound in any::<u32>(), assembly in any::<u32>(),
        ) {
            let demand = MemoryDemand { connections, pending_handshakes, assembly: assembly.into(),
                mailboxes: mailboxes.into(), outbound: outbound.into() };
            let bound = limits.memory_bound(&demand);
            let window = u128::from(limits.connection_window());
            let streams = u128::from(limits.max_streams) + 1;
            // A 64-KiB buffer of QUIC's for each stream it may open, a frame of 64 KiB, and a read of 96 KiB.
            let received = (u128::from(limits.granted_streams()) + 1) * 65_536;
            let buffers = streams * (u128::from(limits.send_buffer) + (160 << 10)) + received + u128::from(assembly);
            let links = u128::from(connections) * (window + buffers)
                + u128::from(pending_handshakes) * (window + received);
            let needed = links + u128::from(mailboxes) + u128::from(outbound);
            prop_assert!(u128::from(bound.total()) >= needed.min(u128::from(u64::MAX)));
            prop_assert!(bound.terms.iter().all(|term| term.bytes <= bound.largest().bytes));
            let more = limits.memory_bound(&MemoryDemand { connections: connections + 1, ..demand });
            prop_assert!(more.total() > bound.total() || bound.total() == u64::MAX);
        }
    }

    #[test]
    fn the_extremes_do_not_overflow() {
        let most = StreamLimits { max_streams: u32::MAX, stream_window: u32::MAX, send_buffer: u32::MAX };
        assert!(matches!(most.windows(), Err(LimitsError::WindowTooLarge { .. })));
        let demand = MemoryDemand {
            connections: u32::MAX,
            pending_handshakes: u32::MAX,
            mailboxes: u64::MAX,
            outbound: 1,
            assembly: 1,
        };
        assert_eq!(most.memory_bound(&demand).total(), u64::MAX);
    }

    #[test]
    fn useless_limits_are_named() {
        let none = StreamLimits { max_streams: 0, ..StreamLimits::default() };
        assert_eq!(
            none.windows().map_err(|error| error.to_string()),
            Err("max_streams is 0; it must be at least 1".into())
        );
    }
}
