//! What grows, and the case that measures it at each point. The work, counted in messages, stays about the same: what
//! changes is what it is divided among.

use anyhow::Result;

use crate::case::{Case, Way};
use crate::cases::{OneWay, crowd, many};

/// See the module.
pub struct Sweep {
    /// What the plot's file is called.
    pub name: &'static str,
    /// What stands above the plot.
    pub title: &'static str,
    /// What grows.
    pub of: &'static str,
    /// How much of it.
    pub at: &'static [u64],
}

const SIZES: &str = "sizes";
const PEERS: &str = "peers";
const PLUGINS: &str = "plugins";
const PROTOCOLS: &str = "protocols";

/// Up to a thousand of something.
const MANY: &[u64] = &[1, 4, 16, 64, 256, 1_000];
/// Messages in a round, and bytes of them at most.
const MESSAGES: u64 = 200_000;
const BYTES: u64 = 128 << 20;
const SIZE: u64 = 256;

/// All of them.
pub const ALL: [Sweep; 4] = [
    Sweep {
        name: SIZES,
        title: "Messages of one peer to one other, by their size",
        of: "bytes",
        at: &[16, 64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20],
    },
    Sweep { name: PEERS, title: "Messages of one node to many peers, by how many these are", of: "peers", at: MANY },
    Sweep {
        name: PLUGINS,
        title: "Messages of one peer to many plugins of one node, by how many these are",
        of: "plugins",
        at: MANY,
    },
    Sweep {
        name: PROTOCOLS,
        title: "Messages between two plugins by many protocols, by how many these are",
        of: "protocols",
        at: MANY,
    },
];

impl Sweep {
    /// The case with so many.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn case(&self, number: u64, scale: f64) -> Result<Case> {
        let size = if self.name == SIZES { number } else { SIZE };
        let messages = ((MESSAGES.min(BYTES / size) as f64 * scale) as u64).max(1);
        let work = OneWay { senders: 1, receivers: 1, protocols: 1, messages, size: size as usize };
        let share = OneWay { messages: (messages / number).max(1), ..work };
        match self.name {
            SIZES => work.case(SIZES).await,
            PEERS => crowd::case(OneWay { receivers: number as usize, ..share }, PEERS).await,
            PLUGINS => many::plugins(OneWay { protocols: number as usize, ..share }, PLUGINS).await,
            _ => many::protocols(OneWay { protocols: number as usize, ..share }, PROTOCOLS).await,
        }
    }
}

/// The order of the ways in a plot, with their colours: readable on white and on black.
pub const COLOURS: [(Way, &str); 4] =
    [(Way::Raw, "#8b8b8b"), (Way::RawChunked, "#b98a2f"), (Way::Native, "#2f9e77"), (Way::Plugin, "#3b82f6")];
