//! One simulated machine: what survives its node, and the node that runs on it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use weir_host::config::{Config, Limits};
use weir_host::host::{Environment, Host, HostConfig};
use weir_host::identity::NodeKey;
use weir_host::peer::PeerAddr;
use weir_host::plugin::Preemption;
use weir_host::plugin::store::MemoryDisk;
use weir_host::runtime::{Clock, Runtime, SeededEntropy};
use weir_host::transport::{AccessLists, Io};

use crate::courier::{Courier, Directory, Flood, Post, flood};
use crate::entropy::mix;
use crate::oracle::Oracle;
use crate::trace::Trace;

/// What the wall clocks of all machines show at the start: some day in 2025, in milliseconds since the epoch.
pub const EPOCH_MS: u64 = 1_750_000_000_000;
/// Where nodes listen.
pub const PORT: u16 = 4433;
/// Jobs that may wait for a node.
const JOBS: usize = 256;

/// Something a node is to do; runs beside everything else it does.
pub type Job = Box<dyn FnOnce(Rc<Node>) -> Pin<Box<dyn Future<Output = ()>>>>;

/// What a node does whenever it starts.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Registered protocols, and how long each takes for a batch.
    pub protocols: BTreeMap<u8, Duration>,
    /// Known peers, and whether they are kept connected.
    pub peers: BTreeMap<usize, bool>,
    /// Whom the node lets in.
    pub access: AccessLists,
}

/// What all machines of a run share.
#[derive(Clone)]
pub struct Shared {
    /// Of the run.
    pub seed: u64,
    /// Everybody.
    pub directory: Directory,
    /// Where everybody listens.
    pub addresses: Arc<Vec<SocketAddr>>,
    /// Judges.
    pub oracle: Oracle,
    /// Writes down.
    pub trace: Trace,
}

/// A machine. It is there before its node starts and after it was killed.
pub struct Machine {
    /// Its index.
    pub index: usize,
    /// Its name in turmoil and in the trace.
    pub name: String,
    /// Its node's key.
    key: Arc<NodeKey>,
    /// Its disk.
    pub disk: MemoryDisk,
    /// How far its wall clock is off, in milliseconds.
    pub clock: Arc<AtomicI64>,
    /// Its node's configuration.
    config: Config,
    /// What its node does when it starts.
    pub plan: RefCell<Plan>,
    /// How often its node was started.
    pub boots: Cell<u32>,
    /// The node, while it runs.
    pub node: RefCell<Option<Rc<Node>>>,
    jobs: RefCell<Option<mpsc::Sender<Job>>>,
    shared: Shared,
}

/// A running node.
pub struct Node {
    /// The node itself.
    pub host: Host,
    /// What its configuration says.
    pub limits: Limits,
    /// Which run of its machine's.
    pub boot: u32,
    /// Tasks of the runtime right after the start.
    pub base_tasks: usize,
    /// Floods that are not over.
    pub floods: Cell<usize>,
    /// What is registered.
    pub couriers: RefCell<BTreeMap<u8, Arc<Courier>>>,
    registrations: Cell<u32>,
    index: usize,
    shared: Shared,
}

struct WallClock(Arc<AtomicI64>);

impl Clock for WallClock {
    fn unix_ms(&self) -> u64 {
        let elapsed = turmoil::sim_elapsed().unwrap_or_default().as_millis() as u64;
        (EPOCH_MS + elapsed).saturating_add_signed(self.0.load(Ordering::Relaxed))
    }
}

/// The key of the machine with this index.
pub fn key(seed: u64, index: usize) -> Arc<NodeKey> {
    Arc::new(NodeKey::generate(&SeededEntropy::from_seed(mix(&[seed, 1, index as u64]))))
}

impl Machine {
    /// A machine that is off.
    pub fn new(index: usize, config: Config, shared: Shared) -> Self {
        Self {
            index,
            name: format!("n{index}"),
            key: key(shared.seed, index),
            disk: MemoryDisk::default(),
            clock: Arc::default(),
            config,
            plan: RefCell::default(),
            boots: Cell::new(0),
            node: RefCell::default(),
            jobs: RefCell::default(),
            shared,
        }
    }

    /// Everybody's ids.
    pub fn directory(&self) -> Directory {
        self.shared.directory.clone()
    }

    /// Where its node listens.
    pub fn address(&self) -> SocketAddr {
        self.shared.addresses[self.index]
    }

    /// Gives the node a job; false when none runs or too many wait.
    pub fn post(&self, job: Job) -> bool {
        self.jobs.borrow().as_ref().is_some_and(|jobs| jobs.try_send(job).is_ok())
    }

    /// Whether a node runs here and has not begun to stop.
    pub fn runs(&self) -> bool {
        self.jobs.borrow().is_some()
    }

    /// Forgets the node that was killed or has stopped.
    pub fn clear(&self) {
        self.jobs.borrow_mut().take();
        self.node.borrow_mut().take();
    }

    /// The node takes no more jobs, and ends when those it has are done.
    pub fn let_go(&self) {
        self.jobs.borrow_mut().take();
    }

    /// What runs on the machine, from its start to its end.
    pub async fn run(self: Rc<Self>) -> turmoil::Result {
        let boot = self.boots.get() + 1;
        self.boots.set(boot);
        self.shared.trace.note(&self.name, format_args!("boot {boot}"));
        let node = self.start(boot).await?;
        let (sender, mut jobs) = mpsc::channel::<Job>(JOBS);
        *self.jobs.borrow_mut() = Some(sender);
        *self.node.borrow_mut() = Some(node.clone());
        while let Some(job) = jobs.recv().await {
            tokio::task::spawn_local(job(node.clone()));
        }
        // Kept by whoever stops it.
        std::future::pending().await
    }

    async fn start(&self, boot: u32) -> anyhow::Result<Rc<Node>> {
        let entropy = SeededEntropy::from_seed(mix(&[self.shared.seed, 2, self.index as u64, u64::from(boot)]));
        let runtime = Runtime { clock: Arc::new(WallClock(self.clock.clone())), entropy: Arc::new(entropy) };
        let io = Io::Simulated;
        let environment =
            Environment { io, preemption: Preemption::Fuel, disk: Some(self.disk.clone()), ..Environment::default() };
        let config = HostConfig {
            key: self.key.clone(),
            data_dir: PathBuf::from("/nowhere"),
            config: Config { access: self.plan.borrow().access.clone(), ..self.config.clone() },
            runtime,
            environment,
        };
        let host = Host::start(config).await?;
        // Tasks that were started count when they have been polled once.
        tokio::task::yield_now().await;
        let node = Rc::new(Node {
            host,
            limits: self.config.limits,
            boot,
            base_tasks: Handle::current().metrics().num_alive_tasks(),
            floods: Cell::new(0),
            couriers: RefCell::default(),
            registrations: Cell::new(0),
            index: self.index,
            shared: self.shared.clone(),
        });
        let plan = self.plan.borrow().clone();
        for (number, pace) in plan.protocols {
            node.register(number, pace);
        }
        for (peer, necessary) in plan.peers {
            node.watch(peer, necessary).await;
        }
        Ok(node)
    }
}

impl Node {
    /// What couriers and floods need.
    pub fn post(&self) -> Post {
        Post {
            node: self.index,
            boot: self.boot,
            directory: self.shared.directory.clone(),
            network: self.host.network(),
            oracle: self.shared.oracle.clone(),
            trace: self.shared.trace.clone(),
        }
    }

    fn next_registration(&self) -> u32 {
        self.registrations.set(self.registrations.get() + 1);
        self.registrations.get()
    }

    /// Registers a protocol, unless it is.
    pub fn register(&self, number: u8, pace: Duration) {
        if self.couriers.borrow().contains_key(&number) {
            return;
        }
        match Courier::register(self.post(), number, self.next_registration(), pace) {
            Ok(courier) => drop(self.couriers.borrow_mut().insert(number, courier)),
            Err(error) => self.shared.oracle.found("a free protocol can be registered", error.to_string()),
        }
    }

    /// Puts another handler in the place of the registered one.
    pub fn replace(&self, number: u8, pace: Duration) {
        if !self.couriers.borrow().contains_key(&number) {
            return;
        }
        // A replaced handler is the same registration to every peer.
        let registration = self.couriers.borrow()[&number].registration();
        match Courier::replace(self.post(), number, registration, pace) {
            Ok(courier) => drop(self.couriers.borrow_mut().insert(number, courier)),
            Err(error) => self.shared.oracle.found("a registered protocol can be replaced", error.to_string()),
        }
    }

    /// Unregisters a protocol, if it is registered.
    pub fn unregister(&self, number: u8) {
        if self.couriers.borrow_mut().remove(&number).is_some() {
            self.shared.trace.note(&format!("n{}", self.index), format_args!("unregister p{number}"));
            self.host.network().unregister(&crate::courier::protocol(number));
        }
    }

    /// Learns where a peer is.
    pub async fn watch(&self, peer: usize, necessary: bool) {
        let address = PeerAddr { peer: self.shared.directory[peer], address: self.shared.addresses[peer] };
        if let Err(error) = self.host.add_peer(address, necessary).await {
            self.shared.oracle.found("a peer can be added", error.to_string());
        }
    }

    /// Sends, and counts as busy until it is over.
    pub async fn flood(self: Rc<Self>, what: Flood) {
        self.floods.set(self.floods.get() + 1);
        flood(self.post(), what).await;
        self.floods.set(self.floods.get() - 1);
    }
}
