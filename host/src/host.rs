//! The wiring: which layer gets what, in which order everything starts, and in which it ends.

mod addresses;
mod another;
mod dispatch;
mod parts;
mod status;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::status::{NodeStatus, PeerStatus, ProtocolStatus};
use crate::config::Config;
use crate::connection::ConnectionManager;
use crate::identity::NodeKey;
use crate::limits::{self, Limit, Usage};
use crate::metrics::{self, Metric, Observed};
use crate::peer::{PeerAddr, PeerId};
#[cfg(doc)]
use crate::plugin::EngineConfig;
use crate::plugin::store::{MemoryDisk, Store, StorePolicy};
use crate::plugin::{LifecycleConfig, Plugins, PluginsConfig, Preemption};
use crate::protocol::{Network, PeerGroups, ProtocolManager, ProtocolPolicy, RegisteredProtocol};
use crate::runtime::Runtime;
use crate::stream::SendStreamPoolManager;
use crate::supervisor::{ConnectionSupervisor, SupervisorStats, WatchError};
use crate::transport::{AccessLists, Io, Transport, TransportConfig};
use crate::wire::CloseCode;

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
    /// The program that compiles plugins, as [`EngineConfig::program`] has it; when there is none, this process does.
    pub compiler: Option<PathBuf>,
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
        let revisions = environment.disk.is_none().then(|| data_dir.join("revisions"));
        let listen = TransportConfig { io: environment.io, ..parts::transport_config(&key, &config) };
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
        let connection = parts::connection_config(&config, address, &runtime);
        let streams = parts::streams(connection.incarnation, &config, &tasks);
        let pools = streams.pools.clone();
        let max_owners = (config.plugins.max_plugins + config.limits.native_handlers) as usize;
        let policy = ProtocolPolicy { max_message: config.limits.max_message, max_owners };
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
            ConnectionSupervisor::start(connections.clone(), parts::supervisor_config(&config, records), &runtime);
        if let Some(file) = kept {
            tasks.spawn(addresses::keep(supervisor.clone(), file, stop.clone()));
        }
        tasks.spawn(dispatch::dispatch(received, supervisor.clone(), protocols.clone()));
        tasks.spawn(protocols.clone().run(stop.clone()));
        let plugins = PluginsConfig {
            store: store.clone(),
            runtime,
            network: Arc::new(protocols.clone()),
            policy: config.plugin_policy(),
            preemption: environment.preemption,
            signer: Arc::new(parts::Key(key)),
            engine: parts::engine(&config, environment.compiler, environment.disk.is_none().then_some(&*data_dir)),
        };
        let plugins = Plugins::start_with(plugins, LifecycleConfig { trust: config.plugin_trust.clone(), revisions })?;
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

    /// Named groups of peers, and sending to them. They are gone when the host ends; a node keeps those of its operator.
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
                    all.insert(at, status::stranger(status.peer, recorded));
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
            requests: protocols.open_requests(),
        };
        limits::table(config, &parts::receive_policy(config), &usage)
    }

    /// Everything that the node's layers count, as of now.
    pub async fn metrics(&self) -> Vec<Metric> {
        let Inner { started, transport, connections, supervisor, pools, protocols, plugins, tasks, .. } = &*self.0;
        metrics::table(&Observed {
            uptime_s: started.elapsed().as_secs(),
            connections: connections.status().await,
            supervisor: supervisor.stats().await,
            pools: pools.totals(),
            slots: pools.stats().into_iter().map(|(_, _, stats)| stats).collect(),
            receive: protocols.receive_stats(),
            protocols: protocols.stats(),
            registered: protocols.registered().len(),
            queued: protocols.queued(),
            requests: protocols.open_requests(),
            handshakes: transport.pending_handshakes().all,
            doors: transport.door_counts(),
            tasks: tasks.len(),
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
