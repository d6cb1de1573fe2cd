//! How a world is made: what a scenario sets, and what the seed draws.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use weir_host::config::Limits;
use weir_host::connection::Eviction;

use crate::courier::MAX_MESSAGE;
use crate::entropy::mix;

/// How a world is made.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// Of everything random.
    pub seed: u64,
    /// How many machines.
    pub machines: usize,
    /// The grain of time.
    pub tick: Duration,
    /// Peers a node takes.
    pub max_peers: u32,
    /// Connections a node takes of one peer. Drawn.
    pub connections_per_peer: u32,
    /// How long one of several must not have been needed before it is closed. Drawn.
    pub spare_connection: Duration,
    /// Places that ordinary peers who dial cannot take.
    pub reserved_outbound: u32,
    /// Who goes when a node is full. Drawn.
    pub eviction: Eviction,
    /// Streams a connection has each way.
    pub max_streams: u32,
    /// Bytes of one stream ahead of its reader.
    pub stream_window: u32,
    /// Largest body, in bytes.
    pub max_message: u32,
    /// How long a packet takes: at least and at most.
    pub latency: (Duration, Duration),
}

impl Setup {
    /// A handful of machines on a decent network, with limits that the seed draws.
    pub fn new(seed: u64, machines: usize) -> Self {
        let ms = Duration::from_millis;
        // Apart from what scenarios draw, so that a limit more changes none of their stories.
        let mut rng = StdRng::seed_from_u64(mix(&[seed, 7]));
        Self {
            seed,
            machines,
            tick: ms(1),
            max_peers: 16,
            connections_per_peer: rng.random_range(1..=2),
            spare_connection: ms(rng.random_range(1_000..=15_000)),
            reserved_outbound: 0,
            eviction: [Eviction::Lifo, Eviction::Fifo, Eviction::Random][rng.random_range(0..3)],
            max_streams: 8,
            stream_window: Limits::default().stream_window,
            max_message: MAX_MESSAGE,
            latency: (ms(1), ms(20)),
        }
    }

    /// The limits of every node.
    pub(super) fn limits(&self) -> Limits {
        let &Self { max_peers, connections_per_peer, eviction, max_streams, stream_window, max_message, .. } = self;
        Limits {
            max_peers,
            connections_per_peer,
            eviction,
            max_streams,
            stream_window,
            max_message,
            reserved_outbound: Some(self.reserved_outbound),
            memory_limit: u64::MAX,
            ..Limits::default()
        }
    }
}
