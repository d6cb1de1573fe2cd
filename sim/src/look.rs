//! What a node says of itself at one moment, as an operator or a layer above could ask it.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Write};

use tokio::runtime::Handle;
use weir_host::connection::{ConnectionStatus, ManagerStatus};
use weir_host::peer::PeerId;
use weir_host::protocol::TrafficStats;
use weir_host::stream::{PoolStats, ReceivePolicy, ReceiveStats};
use weir_host::wire::SMALL_FRAME;

use crate::machine::Node;

/// See the module. Peers are named by their index.
#[derive(Debug, Clone)]
pub struct Look {
    /// Admitted connections of every connected peer.
    pub peers: BTreeMap<usize, Vec<ConnectionStatus>>,
    /// The connection manager's counts.
    pub manager: ManagerStatus,
    /// By peer and connection.
    pub pools: Vec<(usize, u64, PoolStats)>,
    /// Streams that peers have open.
    pub receive: BTreeMap<usize, usize>,
    /// The sum, as the node says it.
    pub streams: usize,
    /// Bytes of frames that are not whole.
    pub incomplete: usize,
    /// How many there may be, by the node's own arithmetic.
    pub assembly: usize,
    /// Bytes that wait in lanes.
    pub queued: usize,
    /// What is registered, by id.
    pub registered: Vec<String>,
    /// What connected peers are known to support.
    pub supports: BTreeMap<usize, Vec<String>>,
    /// Asks and requests that are open.
    pub open: (usize, usize),
    /// What became of messages and asks.
    pub traffic: TrafficStats,
    /// Tasks of the layers.
    pub tasks: usize,
    /// All tasks of the runtime, and how many there were at the start.
    pub alive: (usize, usize),
    /// Floods of the simulation that go on.
    pub floods: usize,
    /// Loaded plugins.
    pub plugins: usize,
    /// What the node's metrics say, a moment later: those of a name alone.
    pub metrics: BTreeMap<&'static str, u64>,
}

impl Look {
    /// Asks the node.
    pub async fn at(node: &Node, directory: &[PeerId]) -> Self {
        let index = |peer: &PeerId| directory.iter().position(|id| id == peer).unwrap_or(usize::MAX);
        let host = &node.host;
        let manager = host.connection_manager().status().await;
        let peers = host.connection_manager().peers().await;
        // From here on nothing waits: all of it is of one moment.
        let protocols = host.protocol_manager();
        let ReceiveStats { streams, peers: receive, incomplete, .. } = protocols.receive_stats();
        let pools = protocols.pool_stats();
        let each =
            ReceivePolicy::assembly_for(node.limits.max_message) + node.limits.max_streams as usize * SMALL_FRAME;
        let assembly = pools.len() * each;
        let (tasks, alive) = (host.tasks(), (Handle::current().metrics().num_alive_tasks(), node.base_tasks));
        let names = |ids: Vec<weir_host::protocol::ProtocolId>| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut look = Self {
            supports: peers.iter().map(|s| (index(&s.peer), names(protocols.peer_protocols(&s.peer)))).collect(),
            peers: peers.into_iter().map(|status| (index(&status.peer), status.connections)).collect(),
            manager,
            pools: pools.into_iter().map(|(peer, id, stats)| (index(&peer), id.0, stats)).collect(),
            receive: receive.into_iter().map(|(peer, count)| (index(&peer), count)).collect(),
            streams,
            incomplete,
            assembly,
            queued: protocols.queued(),
            registered: names(protocols.registered().into_iter().map(|one| one.id).collect()),
            open: protocols.open_requests(),
            traffic: protocols.stats().traffic,
            tasks,
            alive,
            floods: node.floods.get(),
            plugins: host.plugins().list().len(),
            metrics: BTreeMap::new(),
        };
        let alone = host.metrics().await.into_iter().filter(|metric| metric.label.is_none());
        look.metrics = alone.map(|metric| (metric.name, metric.value)).collect();
        look
    }

    /// Admitted connections to a peer.
    pub fn connections(&self, peer: usize) -> usize {
        self.peers.get(&peer).map_or(0, Vec::len)
    }

    /// All admitted connections.
    pub fn all_connections(&self) -> usize {
        self.peers.values().map(Vec::len).sum()
    }
}

impl Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut peers = String::new();
        for (peer, connections) in &self.peers {
            let ids: Vec<_> = connections.iter().map(|one| one.id.0).collect();
            write!(peers, " n{peer}{ids:?}")?;
        }
        let m = &self.manager;
        write!(
            f,
            "look peers{peers}; places {}/{} pending {} dials {}",
            m.peers, m.limits.max_peers, m.pending, m.dials
        )?;
        let c = &m.counts;
        let counts = [c.admitted, c.refused, c.evicted, c.replaced, c.hello_timeouts];
        write!(f, " admitted-refused-evicted-replaced-late {counts:?}; pools")?;
        for (peer, id, p) in &self.pools {
            let slots = [p.idle, p.lent, p.parked, p.ending, p.opening, p.waiters];
            write!(f, " n{peer}#{id}{slots:?}")?;
        }
        write!(f, "; streams {:?} incomplete {} queued {}", self.receive, self.incomplete, self.queued)?;
        write!(f, "; protocols {:?}; open {:?} tasks {} alive {:?}", self.registered, self.open, self.tasks, self.alive)
    }
}
