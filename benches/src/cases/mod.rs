//! The cases, by name.

mod apart;
mod broadcast;
mod connect;
pub mod crowd;
mod flows;
mod idle_peers;
mod loading;
pub mod many;
mod one_way;
mod round_trip;
mod store_put;
mod stream_each;
mod upgrading;

use anyhow::Result;

use self::broadcast::Broadcast;
pub use self::one_way::OneWay;
use self::round_trip::RoundTrip;
use crate::case::Case;

/// A case that can be made.
pub struct Listed {
    /// Its name.
    pub name: &'static str,
    /// What it is about.
    pub about: &'static str,
    work: Work,
}

enum Work {
    OneWay(OneWay),
    StreamEach(OneWay),
    RoundTrip(RoundTrip),
    Broadcast(Broadcast),
    OneWayApart(OneWay),
    Loading,
    Upgrading,
    Connect,
    IdlePeers,
    StorePut,
}

const ONE: OneWay = OneWay { senders: 1, receivers: 1, protocols: 1, messages: 500_000, size: 256 };

/// All of them.
pub const ALL: [Listed; 18] = [
    Listed {
        name: "one_way_256",
        about: "messages of 256 bytes from one peer to one other, in order",
        work: Work::OneWay(ONE),
    },
    Listed {
        name: "one_way_64k",
        about: "the same with 64 KiB each",
        work: Work::OneWay(OneWay { messages: 6_000, size: 64 << 10, ..ONE }),
    },
    Listed {
        name: "fan_in_8",
        about: "256 bytes from eight peers to one",
        work: Work::OneWay(OneWay { senders: 8, messages: 60_000, ..ONE }),
    },
    Listed {
        name: "fan_out_8",
        about: "256 bytes from one peer to eight",
        work: Work::OneWay(OneWay { receivers: 8, messages: 60_000, ..ONE }),
    },
    Listed {
        name: "protocols_8",
        about: "256 bytes by eight protocols between two peers, each a plugin of its own",
        work: Work::OneWay(OneWay { protocols: 8, messages: 60_000, ..ONE }),
    },
    Listed {
        name: "stream_per_message",
        about: "256 bytes: a stream opened for each (raw), against the pool's streams",
        work: Work::StreamEach(OneWay { messages: 100_000, ..ONE }),
    },
    Listed {
        name: "rtt_256",
        about: "requests of 256 bytes and their answers, one in flight",
        work: Work::RoundTrip(RoundTrip {
            requests: 4_000,
            size: 256,
            in_flight: 1,
            apart: false,
            rows: round_trip::RTT,
        }),
    },
    Listed {
        name: "inflight_64",
        about: "requests of 256 bytes and their answers, 64 in flight",
        work: Work::RoundTrip(RoundTrip {
            requests: 40_000,
            size: 256,
            in_flight: 64,
            apart: false,
            rows: round_trip::IN_FLIGHT,
        }),
    },
    Listed {
        name: "one_way_256_apart",
        about: "one_way_256 with the receiver in a process of its own",
        work: Work::OneWayApart(ONE),
    },
    Listed {
        name: "rtt_256_apart",
        about: "rtt_256 with who answers in a process of its own",
        work: Work::RoundTrip(RoundTrip {
            requests: 4_000,
            size: 256,
            in_flight: 1,
            apart: true,
            rows: round_trip::RTT_APART,
        }),
    },
    Listed {
        name: "inflight_64_apart",
        about: "inflight_64 with who answers in a process of its own",
        work: Work::RoundTrip(RoundTrip {
            requests: 40_000,
            size: 256,
            in_flight: 64,
            apart: true,
            rows: round_trip::IN_FLIGHT_APART,
        }),
    },
    Listed {
        name: "broadcast_2",
        about: "256 bytes by the SDK's gossip to one other, each signed and checked; and 64 under one signature",
        work: Work::Broadcast(Broadcast {
            nodes: 2,
            messages: [10_000, 100_000],
            rows: ["broadcast_2", "broadcast_2_merkle"],
        }),
    },
    Listed {
        name: "broadcast_16",
        about: "the same to fifteen others",
        work: Work::Broadcast(Broadcast {
            nodes: 16,
            messages: [2_000, 20_000],
            rows: ["broadcast_16", "broadcast_16_merkle"],
        }),
    },
    Listed {
        name: "load",
        about: "from a plugin's file to the first answer that a peer has of it: compiled (cold), and from the cache",
        work: Work::Loading,
    },
    Listed {
        name: "upgrade",
        about: "how long upgrades under one_way_256 hold messages up, none of them lost; and one at rest (instantiate)",
        work: Work::Upgrading,
    },
    Listed { name: "connect", about: "handshakes, one after the other", work: Work::Connect },
    Listed {
        name: "idle_peer_memory",
        about: "memory for each connected peer that says nothing, in a node of its own process",
        work: Work::IdlePeers,
    },
    Listed { name: "store_put", about: "turns that write 256 bytes each, relaxed and strict", work: Work::StorePut },
];

impl Listed {
    /// Starts everything that the case needs. `scale` is the share of its work that a round does.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn prepare(&self, scale: f64) -> Result<Case> {
        match self.work {
            Work::OneWay(work) => work.scaled(scale).case(self.name).await,
            Work::StreamEach(work) => stream_each::case(work.scaled(scale), self.name).await,
            Work::RoundTrip(work) => work.scaled(scale).case().await,
            Work::Broadcast(work) => work.scaled(scale).case().await,
            Work::OneWayApart(work) => apart::case(work.scaled(scale), self.name).await,
            Work::Loading => loading::case().await,
            Work::Upgrading => upgrading::case(scale).await,
            Work::Connect => connect::case(self.name, scale),
            Work::IdlePeers => Ok(idle_peers::case(self.name, scale)),
            Work::StorePut => store_put::case(scale).await,
        }
    }
}

/// A share of some work, never nothing.
fn share(of: u64, scale: f64) -> u64 {
    ((of as f64 * scale) as u64).max(1)
}
