//! The driver of a run: machines, network, faults and time, and the rules after every step.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, UNIX_EPOCH};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use weir_host::config::{Config, Limits, Timeouts};
use weir_host::connection::Eviction;
use weir_host::transport::{AccessEntry, AccessLists};

use crate::courier::{Flood, MAX_MESSAGE};
use crate::entropy::mix;
use crate::invariants::{self, Picture};
use crate::look::Look;
use crate::machine::{EPOCH_MS, Machine, Node, PORT, Shared, key};
use crate::oracle::Oracle;
use crate::trace::Trace;
use crate::violation::Violation;

/// A connection that is silent for this long is dead.
pub const IDLE: Duration = Duration::from_secs(6);
/// A handshake takes no longer.
pub const HANDSHAKE: Duration = Duration::from_secs(4);
/// How soon machines that were started are connected and know each other's protocols.
pub const STARTED: Duration = Duration::from_secs(20);
/// How often nodes are asked and the rules are checked while time passes.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Packets that wait in a socket; what comes beyond is lost, as on a real machine.
const SOCKET_QUEUE: usize = 1024;
/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long after its lists have changed a node may show a connection that they deny: until its end is noticed.
const CLOSING: Duration = Duration::from_secs(1);
/// How long after its deadline an ask may end.
const ASK_SLACK: Duration = Duration::from_millis(500);

/// What scenarios return.
pub type Outcome<T = ()> = Result<T, Violation>;

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
}

impl Setup {
    fn limits(&self) -> Limits {
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

/// See the module.
pub struct World {
    sim: turmoil::Sim<'static>,
    /// All machines, running or not.
    pub machines: Vec<Rc<Machine>>,
    /// Judges.
    pub oracle: Oracle,
    /// Writes down.
    pub trace: Trace,
    /// For everything a scenario draws.
    pub rng: StdRng,
    /// The limits of every node.
    pub limits: Limits,
    /// See [`Setup::spare_connection`].
    pub spare_connection: Duration,
    registered: BTreeSet<usize>,
    stopped: BTreeSet<usize>,
    cuts: BTreeSet<(usize, usize)>,
    /// When each node's lists were changed last.
    access_changed: BTreeMap<usize, Duration>,
    step: usize,
    looked: Duration,
    worst: Duration,
}

impl World {
    /// Machines that are all off.
    pub fn new(setup: Setup, trace: Trace) -> Self {
        let Setup { seed, machines, tick, latency, .. } = setup;
        let sim = turmoil::Builder::new()
            .rng_seed(mix(&[seed, 3]))
            .epoch(UNIX_EPOCH + Duration::from_millis(EPOCH_MS))
            .simulation_duration(Duration::from_secs(1 << 30))
            .tick_duration(tick)
            .min_message_latency(latency.0)
            .max_message_latency(latency.1)
            .udp_capacity(SOCKET_QUEUE)
            .enable_random_order()
            .build();
        let addresses = (0..machines).map(|index| SocketAddr::new(sim.lookup(format!("n{index}")), PORT));
        let addresses: Arc<Vec<_>> = Arc::new(addresses.collect());
        let directory = Arc::new((0..machines).map(|index| key(seed, index).peer_id()).collect::<Vec<_>>());
        directory.iter().enumerate().for_each(|(index, id)| trace.rename(id, &format!("n{index}")));
        let oracle = Oracle::default();
        let shared =
            Shared { seed, directory, addresses: addresses.clone(), oracle: oracle.clone(), trace: trace.clone() };
        let limits = setup.limits();
        let spare_connection = setup.spare_connection;
        let timeouts = Timeouts { idle: IDLE, keep_alive: IDLE / 3, handshake: HANDSHAKE, spare_connection };
        let machine = |index: usize| {
            let config = Config { listen: addresses[index], limits, timeouts, ..Config::default() };
            Rc::new(Machine::new(index, config, shared.clone()))
        };
        Self {
            sim,
            machines: (0..machines).map(machine).collect(),
            oracle,
            trace,
            rng: StdRng::seed_from_u64(mix(&[seed, 4])),
            limits,
            spare_connection,
            registered: BTreeSet::new(),
            stopped: BTreeSet::new(),
            cuts: BTreeSet::new(),
            access_changed: BTreeMap::new(),
            step: 0,
            looked: Duration::ZERO,
            worst: Duration::ZERO,
        }
    }

    // --- time ---

    /// Virtual time since the start.
    pub fn now(&self) -> Duration {
        self.sim.elapsed()
    }

    /// Steps made so far.
    pub fn steps(&self) -> usize {
        self.step
    }

    /// The longest that [`World::settle`] had to wait.
    pub fn worst_settling(&self) -> Duration {
        self.worst
    }

    /// Begins a step of the scenario, which is what a violation names.
    pub fn step(&mut self, what: &str) {
        self.step += 1;
        self.trace.note("-", format_args!("step {}: {what}", self.step));
    }

    /// One grain of time for the network and for every node.
    fn tick(&mut self) -> Outcome {
        self.trace.set_now(self.sim.elapsed());
        self.oracle.set_now(self.sim.elapsed());
        if let Err(error) = self.sim.step() {
            return Err(self.violation("nodes start and run", format!("{error:#}")));
        }
        if let Some(panic) = crate::run::take_panic() {
            return Err(self.violation("nothing panics", panic));
        }
        match self.oracle.take_found() {
            Some((invariant, detail)) => Err(self.violation(invariant, detail)),
            None => Ok(()),
        }
    }

    /// Lets time pass, and checks what always holds.
    ///
    /// # Errors
    /// What was broken.
    pub fn run_for(&mut self, time: Duration) -> Outcome {
        let until = self.now() + time;
        while self.now() < until {
            if self.now() >= self.looked + LOOK_EVERY {
                self.look()?;
            }
            self.tick()?;
        }
        Ok(())
    }

    /// Asks every node, and checks what always holds.
    ///
    /// # Errors
    /// What was broken.
    pub fn look(&mut self) -> Outcome<BTreeMap<usize, Look>> {
        let looks = Rc::new(RefCell::new(BTreeMap::new()));
        let asked: Vec<_> = self.running();
        for index in &asked {
            let (into, index, directory) = (looks.clone(), *index, self.machines[*index].directory());
            self.post(index, move |node| async move {
                let look = Look::at(&node, &directory).await;
                into.borrow_mut().insert(index, look);
            });
        }
        self.wait("a node answers", || looks.borrow().len() == asked.len())?;
        self.looked = self.now();
        let looks = looks.take();
        for (index, look) in &looks {
            self.trace.note(&self.machines[*index].name, look);
        }
        invariants::always(&looks).map_err(|(rule, detail)| self.violation(rule, detail))?;
        self.lists_are_kept(&looks)?;
        if let Some(late) = self.oracle.overdue(ASK_SLACK) {
            return Err(self.violation("an ask ends in time", late));
        }
        Ok(looks)
    }

    /// Nobody is connected whom a node's lists deny, but for the moment in which that ends.
    fn lists_are_kept(&self, looks: &BTreeMap<usize, Look>) -> Outcome {
        for (node, look) in looks {
            let settled = self.access_changed.get(node).is_none_or(|at| self.looked >= *at + CLOSING);
            if let Some(peer) = look.peers.keys().find(|peer| settled && self.denies(*node, **peer)) {
                let detail = format!("n{node} is connected to n{peer}, whom its lists deny");
                return Err(self.violation("nobody is connected whom the lists deny", detail));
            }
        }
        Ok(())
    }

    /// Whether the lists of a node keep out another one.
    fn denies(&self, node: usize, peer: usize) -> bool {
        let lists = &self.machines[node].plan.borrow().access;
        let (ids, at) = (self.machines[node].directory(), self.machines[peer].address());
        lists.check(ids.get(peer), at).is_err()
    }

    fn wait(&mut self, what: &'static str, mut done: impl FnMut() -> bool) -> Outcome {
        let until = self.now() + PATIENCE;
        while !done() {
            if self.now() > until {
                return Err(self.violation(what, format!("not within {PATIENCE:?}")));
            }
            self.tick()?;
        }
        Ok(())
    }

    /// Leaves the network alone until everything is as it should be, and checks that it gets there in time.
    ///
    /// # Errors
    /// What was broken, or is not so when `bound` is over.
    pub fn settle(&mut self, bound: Duration) -> Outcome {
        let (began, mut calm) = (self.now(), 0);
        loop {
            let looks = self.look()?;
            let necessary = self.necessary();
            let found = invariants::settled(&Picture { looks: &looks, necessary: &necessary });
            let found = found.and_then(|()| match self.oracle.missing() {
                Some(missing) => Err(("nothing is lost that its sender is not told of", missing)),
                None => Ok(()),
            });
            match found {
                Ok(()) => calm += 1,
                Err((rule, detail)) if self.now() > began + bound => {
                    let detail = format!("{detail} (within {} ms)", bound.as_millis());
                    return Err(self.violation(rule, detail));
                }
                Err(_) => calm = 0,
            }
            if calm == 2 {
                let took = self.now() - began;
                self.worst = self.worst.max(took);
                self.trace.note("-", format_args!("settled after {} ms", took.as_millis()));
                return Ok(());
            }
            self.run_for(Duration::from_millis(250))?;
        }
    }

    fn necessary(&self) -> BTreeSet<(usize, usize)> {
        let of = |machine: &Rc<Machine>| {
            let plan = machine.plan.borrow();
            plan.peers.iter().filter(|(_, n)| **n).map(|(peer, _)| (machine.index, *peer)).collect::<Vec<_>>()
        };
        let cut = |(from, to): &(usize, usize)| self.cuts.contains(&(*from, *to)) || self.cuts.contains(&(*to, *from));
        let denied = |(from, to): &(usize, usize)| self.denies(*from, *to) || self.denies(*to, *from);
        self.machines.iter().flat_map(of).filter(|pair| !cut(pair) && !denied(pair)).collect()
    }

    /// A rule was broken, here and now.
    pub fn violation(&self, invariant: &'static str, detail: impl Into<String>) -> Violation {
        Violation { invariant, detail: detail.into(), at: self.now(), step: self.step }
    }

    /// Ends all nodes, so that what they hold is dropped while the network is still there.
    pub fn end(mut self) {
        for index in 0..self.machines.len() {
            if self.machines[index].runs() {
                self.crash(index);
            }
        }
    }

    // --- nodes ---

    /// Indexes of all nodes that run.
    pub fn running(&self) -> Vec<usize> {
        self.machines.iter().filter(|machine| machine.runs()).map(|machine| machine.index).collect()
    }

    /// Starts a node and waits until it takes jobs.
    ///
    /// # Errors
    /// When it does not start.
    pub fn boot(&mut self, index: usize) -> Outcome {
        self.boot_all(&[index])
    }

    /// Starts nodes at the same time.
    ///
    /// # Errors
    /// When one does not start.
    pub fn boot_all(&mut self, which: &[usize]) -> Outcome {
        for index in which {
            let machine = self.machines[*index].clone();
            if self.registered.insert(*index) {
                let of = machine.clone();
                self.sim.host(machine.name.as_str(), move || {
                    let machine = of.clone();
                    async move { machine.run().await }
                });
            } else {
                self.sim.bounce(machine.name.as_str());
            }
            self.stopped.remove(index);
        }
        let machines: Vec<_> = which.iter().map(|index| self.machines[*index].clone()).collect();
        self.wait("a node starts", || machines.iter().all(|machine| machine.runs()))
    }

    /// Cuts a node's power: what it had not written is lost, and nobody hears a word.
    pub fn crash(&mut self, index: usize) {
        let machine = self.machines[index].clone();
        self.trace.note(&machine.name, "crash");
        self.oracle.dies(index);
        machine.disk.crash();
        machine.clear();
        self.sim.crash(machine.name.as_str());
        self.oracle.died(index);
    }

    /// Stops a node as its operator would.
    ///
    /// # Errors
    /// When it does not end in time or leaves tasks behind.
    pub fn stop(&mut self, index: usize) -> Outcome {
        let machine = self.machines[index].clone();
        self.trace.note(&machine.name, "stop");
        let left = self.call(index, |node| async move {
            node.host.shutdown().await;
            node.host.tasks()
        })?;
        machine.let_go();
        if left > 0 {
            return Err(self.violation("nothing is leaked", format!("n{index} stopped with {left} tasks left")));
        }
        self.crash(index);
        self.stopped.insert(index);
        Ok(())
    }

    /// Gives a node something to do; it does it with its next grain of time.
    pub fn post<F>(&self, index: usize, job: impl FnOnce(Rc<Node>) -> F + 'static)
    where
        F: Future<Output = ()> + 'static,
    {
        self.machines[index].post(Box::new(move |node| Box::pin(job(node))));
    }

    /// Has a node do something, and waits for what comes of it.
    ///
    /// # Errors
    /// When it takes longer than 10 s, or something breaks meanwhile.
    pub fn call<T, F>(&mut self, index: usize, job: impl FnOnce(Rc<Node>) -> F + 'static) -> Outcome<T>
    where
        T: 'static,
        F: Future<Output = T> + 'static,
    {
        let slot = Rc::new(RefCell::new(None));
        let into = slot.clone();
        self.post(index, move |node| async move {
            let value = job(node).await;
            into.borrow_mut().replace(value);
        });
        self.wait("a node does what it is told", || slot.borrow().is_some())?;
        let value = slot.borrow_mut().take();
        value.ok_or_else(|| self.violation("a node does what it is told", "it was killed"))
    }

    /// A node learns of a peer, now and after every restart.
    pub fn watch(&self, index: usize, peer: usize, necessary: bool) {
        self.machines[index].plan.borrow_mut().peers.insert(peer, necessary);
        self.post(index, move |node| async move { node.watch(peer, necessary).await });
    }

    /// A node forgets a peer and closes its connections.
    pub fn unwatch(&self, index: usize, peer: usize) {
        self.machines[index].plan.borrow_mut().peers.remove(&peer);
        let id = self.machines[index].directory()[peer];
        self.post(index, move |node| async move {
            node.host.remove_peer(id).await;
        });
    }

    /// Decides anew whom a node lets in, now and after every restart.
    pub fn set_access(&mut self, index: usize, lists: AccessLists) {
        self.trace.note(&self.machines[index].name, format_args!("lists {lists:?}"));
        self.machines[index].plan.borrow_mut().access = lists.clone();
        self.access_changed.insert(index, self.now());
        self.post(index, move |node| async move {
            node.host.set_access(lists).await;
        });
    }

    /// Everybody lets in everybody.
    pub fn lift_all(&mut self) {
        for index in 0..self.machines.len() {
            let lists = !self.machines[index].plan.borrow().access.eq(&AccessLists::default());
            if lists {
                self.set_access(index, AccessLists::default());
            }
        }
    }

    /// A node blocks one, or allows some only, or lifts what it had: as it is drawn.
    pub fn draw_access(&mut self, node: usize) {
        let all: Vec<usize> = (0..self.machines.len()).filter(|other| *other != node).collect();
        let mut lists = self.machines[node].plan.borrow().access.clone();
        let of = |world: &mut Self| {
            let peer = world.pick(&all);
            let (id, at) = (world.machines[peer].directory()[peer], world.machines[peer].address());
            if world.chance(50) { AccessEntry::Peer(id) } else { AccessEntry::Ip(at.ip()) }
        };
        match self.draw(0..=4) {
            0 | 1 => drop(lists.block.insert(of(self))),
            2 => drop(lists.allow.insert(of(self))),
            _ => lists = AccessLists::default(),
        }
        self.set_access(node, lists);
    }

    /// Starts all machines; every one keeps every other one connected.
    ///
    /// # Errors
    /// When one does not start.
    pub fn start_mesh(&mut self) -> Outcome<Vec<usize>> {
        let all: Vec<usize> = (0..self.machines.len()).collect();
        self.step("start");
        self.boot_all(&all)?;
        self.mesh(&all);
        Ok(all)
    }

    /// The same with so many protocols at each, waits until everything is as it should be, and says who they are.
    ///
    /// # Errors
    /// What was broken, or is not so in time.
    pub fn start_with(&mut self, protocols: u8) -> Outcome<Vec<usize>> {
        let all = self.start_mesh()?;
        self.register_all(protocols);
        self.settle(STARTED)?;
        Ok(all)
    }

    /// Every machine registers the first so many protocols, with handlers that take no time.
    pub fn register_all(&self, protocols: u8) {
        for node in 0..self.machines.len() {
            (0..protocols).for_each(|number| self.register(node, number, Duration::ZERO));
        }
    }

    /// Every one of these keeps every other one connected.
    pub fn mesh(&self, nodes: &[usize]) {
        for a in nodes {
            nodes.iter().filter(|b| *b != a).for_each(|b| self.watch(*a, *b, true));
        }
    }

    /// A node registers a protocol, now and after every restart.
    pub fn register(&self, index: usize, number: u8, pace: Duration) {
        self.machines[index].plan.borrow_mut().protocols.insert(number, pace);
        self.post(index, move |node| async move { node.register(number, pace) });
    }

    /// A node unregisters a protocol.
    pub fn unregister(&self, index: usize, number: u8) {
        self.machines[index].plan.borrow_mut().protocols.remove(&number);
        self.post(index, move |node| async move { node.unregister(number) });
    }

    /// A node begins to send.
    pub fn flood(&self, index: usize, flood: Flood) {
        self.trace.note(&self.machines[index].name, format_args!("{flood:?}"));
        self.post(index, move |node| node.flood(flood));
    }

    /// Sets a wall clock off by so many milliseconds.
    pub fn set_clock(&self, index: usize, off: i64) {
        self.trace.note(&self.machines[index].name, format_args!("clock off by {off} ms"));
        self.machines[index].clock.store(off, Ordering::Relaxed);
    }

    // --- network ---

    fn names(&self, nodes: &[usize]) -> Vec<String> {
        nodes.iter().map(|index| self.machines[*index].name.clone()).collect()
    }

    fn pairs<'a>(a: &'a [usize], b: &'a [usize]) -> impl Iterator<Item = (usize, usize)> + 'a {
        a.iter().flat_map(move |x| b.iter().filter(move |y| x != *y).map(move |y| (*x, *y)))
    }

    /// No packet passes between these groups, in either direction.
    pub fn partition(&mut self, a: &[usize], b: &[usize]) {
        self.trace.note("-", format_args!("partition {a:?} {b:?}"));
        for (x, y) in Self::pairs(a, b) {
            self.cuts.extend([(x, y), (y, x)]);
            self.sim.partition(self.machines[x].name.as_str(), self.machines[y].name.as_str());
        }
    }

    /// Nothing passes from one to the other; the way back is open.
    pub fn cut_one_way(&mut self, from: usize, to: usize) {
        self.trace.note("-", format_args!("cut n{from} -> n{to}"));
        self.cuts.insert((from, to));
        self.sim.partition_oneway(self.machines[from].name.as_str(), self.machines[to].name.as_str());
    }

    /// Everything passes again, without loss.
    pub fn heal(&mut self) {
        self.trace.note("-", "heal");
        self.set_loss(0.0);
        for (x, y) in std::mem::take(&mut self.cuts) {
            self.sim.repair_oneway(self.machines[x].name.as_str(), self.machines[y].name.as_str());
        }
    }

    /// With this probability a packet is lost, and with it all that are on their way on the same link.
    pub fn set_loss(&mut self, probability: f64) {
        self.trace.note("-", format_args!("loss {probability}"));
        self.sim.set_fail_rate(probability);
    }

    /// How long packets take at most; each takes its own time, so they overtake each other.
    pub fn set_latency(&mut self, most: Duration) {
        self.trace.note("-", format_args!("latency up to {} ms", most.as_millis()));
        self.sim.set_max_message_latency(most);
    }

    /// How long packets between these take, all the same.
    pub fn set_link_latency(&mut self, a: usize, b: usize, time: Duration) {
        let names = self.names(&[a, b]);
        self.sim.set_link_latency(names[0].as_str(), names[1].as_str(), time);
    }

    // --- chance ---

    /// A number of the range.
    pub fn draw(&mut self, range: std::ops::RangeInclusive<u64>) -> u64 {
        self.rng.random_range(range)
    }

    /// So many milliseconds.
    pub fn draw_ms(&mut self, range: std::ops::RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.draw(range))
    }

    /// True in so many of a hundred cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.draw(1..=100) <= percent
    }

    /// One of them.
    ///
    /// # Panics
    /// When there is none.
    pub fn pick(&mut self, of: &[usize]) -> usize {
        assert!(!of.is_empty(), "a scenario picks from something");
        of[self.rng.random_range(0..of.len())]
    }

    /// Two different ones; `None` when there are fewer.
    pub fn pick_two(&mut self, of: &[usize]) -> Option<(usize, usize)> {
        if of.len() < 2 {
            return None;
        }
        let a = self.rng.random_range(0..of.len());
        let b = (a + self.rng.random_range(1..of.len())) % of.len();
        Some((of[a], of[b]))
    }

    /// A flood of drawn size and speed.
    pub fn draw_flood(&mut self, to: usize, protocol: u8) -> Flood {
        let size = match self.draw(0..=9) {
            0 => self.draw(20_000..=60_000),
            1..=3 => self.draw(1_000..=8_000),
            _ => self.draw(24..=600),
        };
        let gap = if self.chance(40) { Duration::ZERO } else { self.draw_ms(1..=40) };
        let count = if gap.is_zero() { self.draw(50..=1_500) } else { self.draw(20..=300) };
        let count = if size > 10_000 { count.min(200) } else { count };
        let asks = if self.chance(30) { self.draw(1..=20) } else { 0 };
        Flood { to, protocol, count, size: size as usize, gap, asks, until: None }
    }

    /// Floods between random nodes by random protocols.
    pub fn draw_floods(&mut self, count: u64, protocols: u8) {
        for _ in 0..count {
            let running = self.running();
            let Some((from, to)) = self.pick_two(&running) else { return };
            let protocol = self.draw(0..=u64::from(protocols - 1)) as u8;
            let flood = self.draw_flood(to, protocol);
            self.flood(from, flood);
        }
    }
}
