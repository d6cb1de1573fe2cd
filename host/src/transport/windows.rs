// STUB
//! (stands in for the transport layer's window arithmetic)

/// Bytes that all connections together can hold.
pub struct NetworkMemory {
    /// Received and unread.
    pub receive: u64,
    /// Waiting to be sent or acknowledged.
    pub send: u64,
}

/// (connections + pending handshakes) × (connection window + streams × (send buffer + 64 KiB)).
pub fn memory_bound(peers: u64, pending: u64, streams: u64, stream_window: u64, send_buffer: u64) -> NetworkMemory {
    let window = streams * (stream_window + 1500) * 10 / 9;
    let send = streams * (send_buffer + (64 << 10));
    NetworkMemory { receive: (peers + pending) * window, send: (peers + pending) * send }
}
