//! The wiring: which layer gets what, in which order everything starts, and in which it ends.

mod addresses;
mod another;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::connection::{
    AddressSource, AlivePolicy, ConnectionConfig, ConnectionEvent, ConnectionHandle, ConnectionLimits,
    ConnectionManager,
};
use crate::identity::NodeKey;
use crate::limits::{self, Limit, Usage};
use crate::metrics::{self, Metric, Observed};
use crate::peer::{PeerAddr, PeerId};
use crate::plugin::store::{MemoryDisk, Store, StorePolicy};
use crate::plugin::{PluginPolicy, Plugins, PluginsConfig, Preemption, Signer};
use crate::protocol::{Network, PeerGroups, ProtocolId, ProtocolManager, ProtocolPolicy, RegisteredProtocol, Streams};
use crate::runtime::Runtime;
use crate::stream::{LaneLimits, Lanes, LanesConfig, PoolPolicy, ReceivePolicy, SendStreamPoolManager};
use crate::supervisor::{
    BookRecord, ConnectionSupervisor, KnownAddress, Origin, PeerPlace, RetryPolicy, SupervisorConfig, SupervisorStats,
    WatchError,
};
use crate::transport::{Access, AccessLists, Direction, Io, Transport, TransportConfig};
use crate::wire::{AddressRecord, CloseCode, Hello};

/// News of connections that may wait for the dispatcher, which never waits itself.
const EVENT_QUEUE: usize = 1024;
/// How long plugins may take for their last turn.
const PLUGINS_END: Duration = Duration::from_millis(600);
/// How long connections may drain.
const CONNECTIONS_END: Duration = Duration::from_millis(2050);
/// How long everything after that may take, each.
const REST_END: Duration = Duration::from_millis(200);

/// What a node is started with.
pub struct HostConfig {
    /// Who it is.
    pub key: Arc<NodeKey>,
    /// Where it keeps what has to survive.
    pub data_dir: PathBuf,
    /// Everything an operator decides.
    pub config: Config,
    /// Clock and randomness.
    pub runtime: Runtime,
    /// What else a simulation replaces.
    pub environment: Environment,
}

/// The world a node runs in: the machine's by default, another one in a simulation.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// The network.
    pub io: Io,
    /// How plugins that take too long are stopped.
    pub preemption: Preemption,
    /// Where the store lies: a disk in memory, or, when there is none, `store.redb` in the data folder.
    pub disk: Option<MemoryDisk>,
}

/// A running node; cheap to clone. It runs until [`Host::shutdown`], or until the tokio runtime it was started on ends.
#[derive(Clone)]
pub struct Host(Arc<Inner>);

struct Inner {
    peer_id: PeerId,
    started: Instant,
    config: Config,
    transport: Transport,
    connections: ConnectionManager,
    supervisor: ConnectionSupervisor,
    pools: Arc<SendStreamPoolManager>,
    protocols: ProtocolManager,
    groups: PeerGroups,
    plugins: Plugins,
    store: Store,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// A known peer, as `weir peers` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PeerStatus {
    /// Who.
    pub peer_id: PeerId,
    /// Whether it has an admitted connection.
    pub connected: bool,
    /// Whether the node keeps it connected.
    pub necessary: bool,
    /// How many admitted connections it has.
    pub connections: usize,
    /// What it supports, while it is connected.
    pub protocols: Vec<ProtocolId>,
    /// Where it may be reached, in the order in which that is tried.
    pub addresses: Vec<SocketAddr>,
    /// The same with who says so, and where it was reached last.
    pub known_addresses: Vec<KnownAddress>,
    /// Why it is not connected.
    pub last_error: Option<String>,
}

/// A registered protocol, as `weir protocols` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProtocolStatus {
    /// The protocol id.
    pub id: ProtocolId,
    /// What stands before name and version in the id; protocols of different networks have nothing to do with each
    /// other.
    pub network: String,
    /// Who serves it: the plugin's name, or what a native handler calls itself.
    pub handler: String,
    /// Connected peers that support it, too.
    pub peers: usize,
}

/// The node at a glance, as `weir status` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeStatus {
    /// Who it is.
    pub peer_id: PeerId,
    /// Where it listens.
    pub address: SocketAddr,
    /// Of the program.
    pub version: &'static str,
    /// Seconds since it was started.
    pub uptime_s: u64,
    /// Connected peers.
    pub peers: usize,
    /// Loaded plugins.
    pub plugins: usize,
    /// Registered protocols.
    pub protocols: usize,
    /// Data streams of peers that are open.
    pub receive_streams: usize,
}

impl Host {
    /// Starts a node on the current tokio runtime. When this returns, it listens.
    ///
    /// # Errors
    /// When the address cannot be bound or the store cannot be opened; nothing is left running then.
    pub async fn start(config: HostConfig) -> Result<Self> {
        let HostConfig { key, data_dir, config, runtime, environment } = config;
        let peer_id = key.peer_id();
        let store = match &environment.disk {
            Some(disk) => Store::in_memory(disk),
            None => Store::open(&data_dir.join("store.redb"), StorePolicy::default()).context("opening the store")?,
        };
        let kept = environment.disk.is_none().then(|| data_dir.join("addresses.json"));
        let listen = TransportConfig { io: environment.io, ..transport_config(&key, &config) };
        let (transport, incoming) = Transport::bind(listen).context("listening")?;
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        // Whatever fails below, nothing that was started goes on.
        let on_error = stop.clone().drop_guard();
        let advertised = addresses::Advertised {
            named: config.advertise.clone(),
            listens: transport.local_address(),
            real: environment.io == Io::Udp,
        };
        let address = addresses::source(&key, advertised, &runtime);
        let connection = connection_config(&config, address, &runtime);
        let streams = streams(connection.incarnation, &config, &tasks);
        let pools = streams.pools.clone();
        let policy = ProtocolPolicy { max_message: config.limits.max_message };
        let protocols = ProtocolManager::new(peer_id, connection.incarnation, policy, streams);
        let (events, received) = mpsc::channel(EVENT_QUEUE);
        let hello = Arc::new(protocols.clone());
        let connections = ConnectionManager::start(connection, transport.clone(), incoming, hello, &runtime, events);
        pools.ask_for_connections(Arc::new(another::Another {
            connections: connections.clone(),
            tasks: tasks.clone(),
            runtime: Handle::current(),
            limit: config.limits.connections_per_peer as usize,
        }));
        let records = kept.as_deref().map(addresses::load).unwrap_or_default();
        let supervisor =
            ConnectionSupervisor::start(connections.clone(), supervisor_config(&config, records), &runtime);
        if let Some(file) = kept {
            tasks.spawn(addresses::keep(supervisor.clone(), file, stop.clone()));
        }
        tasks.spawn(dispatch(received, supervisor.clone(), protocols.clone()));
        tasks.spawn(protocols.clone().run(stop.clone()));
        let plugins = Plugins::start(PluginsConfig {
            store: store.clone(),
            runtime,
            network: Arc::new(protocols.clone()),
            policy: plugin_policy(&config),
            preemption: environment.preemption,
            signer: Arc::new(Key(key)),
        })?;
        for peer in &config.peers {
            supervisor.add(peer.address, peer.necessary).await?;
        }
        let groups = PeerGroups::new(Arc::new(protocols.clone()));
        let started = Instant::now();
        on_error.disarm();
        Ok(Self(Arc::new(Inner {
            peer_id,
            started,
            config,
            transport,
            connections,
            supervisor,
            pools,
            protocols,
            groups,
            plugins,
            store,
            tasks,
            stop,
        })))
    }

    /// Who the node is.
    pub fn peer_id(&self) -> PeerId {
        self.0.peer_id
    }

    /// Where it listens, with the port that the system chose when none was named.
    pub fn local_address(&self) -> SocketAddr {
        self.0.transport.local_address()
    }

    /// The node as handlers see it: register native handlers here, send, ask and respond.
    pub fn network(&self) -> Arc<dyn Network> {
        Arc::new(self.0.protocols.clone())
    }

    /// Handlers, and what peers support.
    pub fn protocol_manager(&self) -> &ProtocolManager {
        &self.0.protocols
    }

    /// Admitted connections, limits and counts.
    pub fn connection_manager(&self) -> &ConnectionManager {
        &self.0.connections
    }

    /// Tasks of the node's layers that have not ended: readers, writers, pools and dispatch.
    pub fn tasks(&self) -> usize {
        self.0.tasks.len()
    }

    /// Named groups of peers, and sending to them. They are gone when the node ends.
    pub fn groups(&self) -> &PeerGroups {
        &self.0.groups
    }

    /// Plugins: load, upgrade, unload, call.
    pub fn plugins(&self) -> &Plugins {
        &self.0.plugins
    }

    /// All known peers, in the order of their ids.
    pub async fn peers(&self) -> Vec<PeerStatus> {
        let mut all: Vec<PeerStatus> = Vec::new();
        let connected = self.0.connections.peers().await;
        for known in self.0.supervisor.peers().await {
            all.push(PeerStatus {
                peer_id: known.peer,
                connected: false,
                necessary: known.necessary,
                connections: 0,
                protocols: Vec::new(),
                addresses: known.addresses.iter().map(|known| known.address).collect(),
                known_addresses: known.addresses,
                last_error: known.last_error,
            });
        }
        for status in connected {
            let at = match all.binary_search_by_key(&status.peer, |known| known.peer_id) {
                Ok(at) => at,
                Err(at) => {
                    let recorded = self.0.supervisor.recorded_addresses(&status.peer);
                    all.insert(at, stranger(status.peer, recorded));
                    at
                }
            };
            all[at].connected = true;
            all[at].connections = status.connections.len();
            all[at].protocols = self.0.protocols.peer_protocols(&status.peer);
        }
        all
    }

    /// What the supervisor counted since the start.
    pub async fn supervisor_stats(&self) -> SupervisorStats {
        self.0.supervisor.stats().await
    }

    /// Learns where a peer is. A necessary one is kept connected from now on, any other is dialed once.
    ///
    /// # Errors
    /// When the node knows too many peers or is stopping.
    pub async fn add_peer(&self, peer: PeerAddr, necessary: bool) -> Result<(), WatchError> {
        self.0.supervisor.add(peer, necessary).await
    }

    /// Forgets a peer and closes its connections; false when it was neither known nor connected.
    pub async fn remove_peer(&self, peer: PeerId) -> bool {
        let known = self.0.supervisor.remove(peer).await;
        let connected = !self.0.connections.connections(&peer).await.is_empty();
        self.0.connections.close(peer, CloseCode::Removed).await;
        known || connected
    }

    /// All registered protocols, in the order of their ids.
    pub fn protocols(&self) -> Vec<ProtocolStatus> {
        let registered = self.0.protocols.registered().into_iter();
        let status = |one: RegisteredProtocol| ProtocolStatus {
            network: one.id.network().to_owned(),
            id: one.id,
            handler: one.owner,
            peers: one.peers,
        };
        registered.map(status).collect()
    }

    /// The node at a glance.
    pub async fn status(&self) -> NodeStatus {
        NodeStatus {
            peer_id: self.0.peer_id,
            address: self.local_address(),
            version: env!("CARGO_PKG_VERSION"),
            uptime_s: self.0.started.elapsed().as_secs(),
            peers: self.0.connections.peers().await.len(),
            plugins: self.0.plugins.list().len(),
            protocols: self.0.protocols.registered().len(),
            receive_streams: self.0.protocols.receive_stats().streams,
        }
    }

    /// Every limit that is in force, and what is in use of it.
    pub async fn limits(&self) -> Vec<Limit> {
        let Inner { config, transport, connections, protocols, plugins, .. } = &*self.0;
        let lists = transport.access().lists();
        let usage = Usage {
            connections: connections.status().await,
            handshakes: transport.pending_handshakes(),
            access_entries: lists.allow.len() + lists.block.len(),
            receive_streams: protocols.receive_stats().streams,
            plugins: plugins.list().len(),
        };
        limits::table(config, &receive_policy(config), &usage)
    }

    /// Everything that the node's layers count, as of now.
    pub async fn metrics(&self) -> Vec<Metric> {
        let Inner { started, connections, supervisor, pools, protocols, plugins, .. } = &*self.0;
        metrics::table(&Observed {
            uptime_s: started.elapsed().as_secs(),
            connections: connections.status().await,
            supervisor: supervisor.stats().await,
            pools: pools.totals(),
            slots: pools.stats().into_iter().map(|(_, _, stats)| stats).collect(),
            receive: protocols.receive_stats(),
            protocols: protocols.stats(),
            registered: protocols.registered().len(),
            plugins: plugins.list(),
        })
    }

    /// Who may connect, as of now.
    pub fn access(&self) -> AccessLists {
        AccessLists::clone(&self.0.transport.access().lists())
    }

    /// Decides anew who may connect, and closes at once what is denied. Returns how many connections and dials that
    /// were. Two callers at once leave the lists of one of them.
    pub async fn set_access(&self, lists: AccessLists) -> usize {
        self.0.connections.set_access(lists).await
    }

    /// Ends in order, within 5 s: no more dials; plugins take their last turn; connections drain, so that what those
    /// turns sent still leaves; then streams, sockets and the store. May be called twice.
    pub async fn shutdown(&self) {
        let Inner { supervisor, plugins, connections, protocols, transport, store, tasks, stop, .. } = &*self.0;
        supervisor.stop();
        plugins.shutdown(Instant::now() + PLUGINS_END).await;
        connections.shutdown(CONNECTIONS_END).await;
        protocols.close();
        stop.cancel();
        tasks.close();
        if tokio::time::timeout(REST_END, tasks.wait()).await.is_err() {
            tracing::warn!("{} tasks did not end in time", tasks.len());
        }
        transport.close(REST_END).await;
        if let Err(error) = store.close().await {
            tracing::error!(%error, "the store did not take its last writes");
        }
    }
}

fn stranger(peer_id: PeerId, addresses: Vec<SocketAddr>) -> PeerStatus {
    let known = |address: &SocketAddr| KnownAddress { address: *address, source: Origin::Record, worked: false };
    PeerStatus {
        peer_id,
        connected: true,
        necessary: false,
        connections: 0,
        protocols: Vec::new(),
        known_addresses: addresses.iter().map(known).collect(),
        addresses,
        last_error: None,
    }
}

/// Brings news of the connections to the layers above, which never wait.
async fn dispatch(
    mut events: mpsc::Receiver<ConnectionEvent>,
    supervisor: ConnectionSupervisor,
    protocols: ProtocolManager,
) {
    while let Some(event) = events.recv().await {
        match &event {
            ConnectionEvent::Up { connection, hello, address, first, .. } => {
                if let Some(place) = place(connection, hello, address.as_ref()) {
                    supervisor.peer_place(place);
                }
                if *first {
                    supervisor.peer_up(connection.peer);
                }
            }
            ConnectionEvent::Down { peer, cause, last: true, .. } => supervisor.peer_down(*peer, cause),
            _ => {}
        }
        protocols.handle(event);
    }
}

fn transport_config(key: &Arc<NodeKey>, config: &Config) -> TransportConfig {
    TransportConfig {
        limits: config.limits.streams(),
        idle_timeout: config.timeouts.idle,
        keep_alive: config.timeouts.keep_alive,
        handshake_timeout: config.timeouts.handshake,
        max_pending_handshakes: config.limits.max_pending_handshakes,
        max_pending_per_source: config.limits.max_pending_per_source,
        access: Access::new(config.access.clone()),
        ..TransportConfig::new(key.clone(), config.listen)
    }
}

fn connection_config(config: &Config, address: AddressSource, runtime: &Runtime) -> ConnectionConfig {
    let from = &config.limits;
    let limits = ConnectionLimits {
        max_peers: from.max_peers as usize,
        connections_per_peer: from.connections_per_peer as usize,
        reserved_outbound: from.reserved_outbound() as usize,
        max_pending: from.max_pending_handshakes as usize,
        max_per_source: from.max_connections_per_source as usize,
        limit_loopback: false,
        eviction: from.eviction,
    };
    ConnectionConfig {
        limits,
        address: Some(address),
        alive: AlivePolicy { every: config.timeouts.keep_alive, within: config.timeouts.idle },
        ..ConnectionConfig::new(config.limits.max_streams, runtime)
    }
}

fn supervisor_config(config: &Config, records: Vec<BookRecord>) -> SupervisorConfig {
    let reconnect = &config.reconnect;
    let policy = RetryPolicy {
        cap: reconnect.max_wait,
        settled: reconnect.settled,
        next_address: reconnect.next_address,
        ..RetryPolicy::default()
    };
    SupervisorConfig { policy, remembered: reconnect.remembered_peers as usize, records }
}

/// What a connection told about where its peer is.
fn place(connection: &ConnectionHandle, hello: &Hello, record: Option<&AddressRecord>) -> Option<PeerPlace> {
    let remote = connection.link.remote_address().ok()?;
    let record = hello.address.clone().zip(record.cloned());
    let dialed = (connection.direction == Direction::Outbound).then_some(remote);
    Some(PeerPlace { peer: connection.peer, seen: remote.ip(), dialed, record })
}

fn streams(incarnation: u64, config: &Config, tasks: &TaskTracker) -> Streams {
    let sequence = Arc::new(AtomicU64::new(0));
    let per_connection = config.limits.max_streams as usize;
    // QUIC itself opens no more than this, so a larger pool would wait for streams that never come.
    let pool = PoolPolicy { max: per_connection, ..PoolPolicy::default() };
    let pools = Arc::new(SendStreamPoolManager::new(pool, tasks.clone(), Handle::current()));
    let current = sequence.clone();
    let lanes = LanesConfig {
        incarnation,
        sequence: Box::new(move || current.load(Ordering::Acquire)),
        limits: LaneLimits::for_messages(config.limits.max_message),
    };
    let lanes = Lanes::new(pools.clone(), lanes, tasks.clone(), Handle::current());
    let receive = receive_policy(config);
    Streams { lanes, pools, receive, sequence, tasks: tasks.clone() }
}

/// What every hello promises has to hold for all peers at once, and for one connection more of each, because one that
/// is replaced may not be gone yet.
fn receive_policy(config: &Config) -> ReceivePolicy {
    let per_connection = config.limits.max_streams as usize;
    let per_peer = (config.limits.connections_per_peer as usize + 1) * per_connection;
    ReceivePolicy {
        per_connection,
        per_peer,
        per_node: per_peer * config.limits.max_peers as usize,
        assembly: ReceivePolicy::assembly_for(config.limits.max_message),
        ..ReceivePolicy::default()
    }
}

fn plugin_policy(config: &Config) -> PluginPolicy {
    let limits = &config.plugins;
    PluginPolicy {
        memory: limits.max_memory,
        message: config.limits.max_message.min(crate::wire::DEFAULT_MAX_MESSAGE),
        turn_time: limits.max_turn_time,
        store_bytes: limits.max_store,
        mailbox_bytes: usize::try_from(limits.max_mailbox).unwrap_or(usize::MAX),
        ..PluginPolicy::default()
    }
}

/// The node's key, as far as plugins may use it.
struct Key(Arc<NodeKey>);

impl Signer for Key {
    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message)
    }
}
