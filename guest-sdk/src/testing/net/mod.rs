//! `TestNet`: many nodes in one process, seeded, in virtual time.

mod links;
mod mailbox;
mod plan;
mod queue;
mod route;
mod steps;
mod trace;
mod turns;
mod wires;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde::Serialize;
use serde_json::Value;

use self::mailbox::{Mailbox, Waiting};
pub use self::plan::{Faults, LinkSpec, Network, Scenario, Step, Timed};
use self::queue::{Due, Queue};
pub use self::trace::{Body, Entry, Note, Trace, TraceMode};
use self::wires::{Link, Place, Wire};
use super::host::config_text;
use super::node::{Node, START_MS};
use super::seat::Seat;
use super::{Imports, LogLine, Native, Random, Revision};
use crate::abi::{Caller, Cause, Failure, PeerId, ProtocolKey, Verdict};
use crate::{Plugin, Result};

/// What a command came to: found with [`TestNet::answer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// What went over the network since the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Totals {
    /// Turns that were committed.
    pub turns: u64,
    /// Events in them.
    pub events: u64,
    /// Messages that were sent, each receiver counted.
    pub sent: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Messages that reached a plugin.
    pub delivered: u64,
    /// Requests that were sent.
    pub asks: u64,
    /// Bytes of requests and of their answers.
    pub ask_bytes: u64,
    /// Messages told as undelivered: never fewer than were lost.
    pub undelivered: u64,
    /// Instances thrown away.
    pub crashes: u64,
}

/// Who waits for the answer to a command.
#[derive(Debug, Clone)]
enum Waiter {
    Ticket(Ticket),
    Call { place: Place, call: u64, life: u32 },
}

/// An ask that has no outcome yet.
#[derive(Debug)]
struct OpenAsk {
    wire: usize,
    /// What it is called where it was asked, once it is there.
    request: Option<u64>,
}

/// One plugin of a node.
struct Slot {
    seat: Seat,
    mailbox: Mailbox,
    turn_planned: bool,
    busy_until_us: u64,
    turn_us: u64,
    /// Counts processes, so that what was planned for an earlier one is void.
    life: u32,
    /// By peer and key, the wire that goes out.
    wires: BTreeMap<(PeerId, ProtocolKey), usize>,
    /// Wires whose parcels wait for room here.
    blocked: BTreeSet<usize>,
    asks: BTreeMap<u64, OpenAsk>,
    /// Where the answer to a request goes: the wire it came on and the ask.
    requests: BTreeMap<u64, (usize, u64)>,
    commands: BTreeMap<u64, Waiter>,
}

/// One node.
struct Machine {
    id: PeerId,
    key: Rc<ed25519_dalek::SigningKey>,
    up: bool,
    skew_us: u64,
    slots: Vec<Slot>,
    /// By protocol id: who serves it and under which key.
    protocols: BTreeMap<String, (u32, ProtocolKey)>,
    links: BTreeSet<usize>,
    group: Option<usize>,
}

/// Many nodes in one process: the plugins are real, the network between them is drawn from a seed and the time is
/// virtual, so that a minute of it takes as long as its events do.
///
/// The rules are the host's: lanes are ordered and refuse when they are full, a connection that is lost takes with it
/// what was in flight and says so, a turn is a transaction, an instance that panics is replaced from its store.
///
/// ```
/// use weir_sdk::prelude::*;
/// use weir_sdk::testing::{Network, Step, TestNet};
///
/// struct Greeter(u32);
/// impl Plugin for Greeter {
///     fn manifest() -> Manifest {
///         Manifest::new("greeter", "0.1.0").protocol(Protocol::new(1, "/greeter/1.0.0"))
///     }
///     fn start(_: Init, _: &Context) -> Result<Self> {
///         Ok(Greeter(0))
///     }
///     fn on_peer_supported(&mut self, there: Reachable, ctx: &Context) -> Result {
///         ctx.send(there.peer, there.protocol, "hello")
///     }
///     fn on_message(&mut self, _: Message<'_>, _: &Context) -> Result {
///         self.0 += 1;
///         Ok(())
///     }
/// }
///
/// let mut net = TestNet::new(Network { nodes: 3, ..Network::default() });
/// net.install::<Greeter>(());
/// net.full_mesh();
/// net.run_ms(2_000);
/// assert!((0..3).all(|node| net.plugin::<Greeter, _>(node, |greeter| greeter.0 == 2)));
/// ```
pub struct TestNet {
    network: Network,
    now_us: u64,
    queue: Queue,
    random: Random,
    machines: Vec<Machine>,
    node_of: BTreeMap<PeerId, u32>,
    links: Vec<Link>,
    link_of: BTreeMap<(u32, u32), usize>,
    wires: Vec<Wire>,
    revisions: Vec<Rc<dyn Revision>>,
    answers: BTreeMap<Ticket, Result<Vec<u8>, Failure>>,
    next_ticket: u64,
    trace: Trace,
    totals: Totals,
}

impl TestNet {
    /// Nodes without plugins and connections.
    ///
    /// # Panics
    /// When there are no nodes.
    pub fn new(network: Network) -> Self {
        assert!(network.nodes > 0, "a network has at least one node");
        let mut random = Random::new(network.seed);
        let machines: Vec<_> = (0..network.nodes)
            .map(|_| {
                let node = Node::new(random.number());
                let skew_us = random.within(0..network.clock_skew_ms + 1) * 1_000;
                Machine {
                    id: node.id,
                    key: node.key,
                    up: true,
                    skew_us,
                    slots: Vec::new(),
                    protocols: BTreeMap::new(),
                    links: BTreeSet::new(),
                    group: None,
                }
            })
            .collect();
        let node_of = machines.iter().zip(0..).map(|(machine, number)| (machine.id, number)).collect();
        Self {
            network,
            now_us: 0,
            queue: Queue::default(),
            random,
            machines,
            node_of,
            links: Vec::new(),
            link_of: BTreeMap::new(),
            wires: Vec::new(),
            revisions: Vec::new(),
            answers: BTreeMap::new(),
            next_ticket: 0,
            trace: Trace::new(TraceMode::Off),
            totals: Totals::default(),
        }
    }

    /// Keeps a trace from now on.
    pub fn record(&mut self, mode: TraceMode) {
        self.trace = Trace::new(mode);
        self.node_of.iter().for_each(|(peer, node)| self.trace.name(*peer, *node));
    }

    /// Puts `P` on every node, with this configuration; `()` for none. Returns the plugin's number on the nodes.
    pub fn install<P: Plugin>(&mut self, config: impl Serialize) -> u32 {
        let revision: Rc<dyn Revision> = Rc::new(Native::<P>::default());
        let config = config_text(config);
        let seats =
            self.nodes().map(|node| self.install_on(node, revision.clone(), config.clone())).collect::<Vec<_>>();
        seats.last().copied().unwrap_or(0)
    }

    /// Puts anything that runs as a plugin on one node, with its configuration as JSON. Returns its number there.
    ///
    /// # Panics
    /// When it does not start.
    pub fn install_on(&mut self, node: u32, revision: Rc<dyn Revision>, config: String) -> u32 {
        let seed = self.random.number();
        let machine = &mut self.machines[node as usize];
        let mut inner = Node::with_key(machine.key.clone(), seed);
        inner.watch_failed_events = self.network.watch_failed_events;
        inner.store.can_lose = true;
        // A run may log for hours; the last lines are the ones that tell.
        inner.most_logs = 1_000;
        machine.slots.push(Slot {
            seat: Seat::new(Imports::new(inner), revision, config),
            mailbox: Mailbox::default(),
            turn_planned: false,
            busy_until_us: 0,
            turn_us: self.network.turn_us,
            life: 0,
            wires: BTreeMap::new(),
            blocked: BTreeSet::new(),
            asks: BTreeMap::new(),
            requests: BTreeMap::new(),
            commands: BTreeMap::new(),
        });
        let seat = machine.slots.len() as u32 - 1;
        self.start(Place { node, seat }, Cause::Boot);
        seat
    }

    /// Announces a revision for [`Step::Upgrade`]; its number.
    pub fn revision<P: Plugin>(&mut self) -> u32 {
        self.add_revision(Rc::new(Native::<P>::default()))
    }

    /// The same for anything that runs as a plugin.
    pub fn add_revision(&mut self, revision: Rc<dyn Revision>) -> u32 {
        self.revisions.push(revision);
        self.revisions.len() as u32 - 1
    }

    /// Connects everybody with everybody.
    pub fn full_mesh(&mut self) {
        let scenario = Scenario::new(self.network.clone(), 0).full_mesh();
        scenario.steps.into_iter().for_each(|timed| self.step(timed.step));
    }

    /// Connects each node with about `degree` others, so that all are connected.
    pub fn random_mesh(&mut self, degree: u32) {
        let scenario = Scenario::new(self.network.clone(), 0).random_mesh(degree);
        scenario.steps.into_iter().for_each(|timed| self.step(timed.step));
    }

    /// Plans the steps of a scenario, from now on, and runs it to its end. Its network is the one this was made with.
    pub fn play(&mut self, scenario: &Scenario) {
        self.plan(scenario);
        self.run_ms(scenario.until_ms);
    }

    /// Plans the steps of a scenario, from now on.
    pub fn plan(&mut self, scenario: &Scenario) {
        for timed in &scenario.steps {
            self.at(timed.at_ms, timed.step.clone());
        }
    }

    /// Plans a step for so many milliseconds from now.
    pub fn at(&mut self, after_ms: u64, step: Step) {
        self.queue.push(self.now_us + after_ms * 1_000, Due::Step(Box::new(step)));
    }

    /// Lets time pass.
    pub fn run_ms(&mut self, ms: u64) {
        let until = self.now_us + ms * 1_000;
        self.run_to(until);
    }

    /// Lets time pass until the condition holds, looking every 10 ms of it. False when it never did.
    pub fn run_until(&mut self, most_ms: u64, mut holds: impl FnMut(&mut Self) -> bool) -> bool {
        let until = self.now_us + most_ms * 1_000;
        loop {
            if holds(self) {
                return true;
            }
            if self.now_us >= until {
                return false;
            }
            self.run_to((self.now_us + 10_000).min(until));
        }
    }

    fn run_to(&mut self, until_us: u64) {
        while let Some((at_us, due)) = self.queue.pop(until_us) {
            self.now_us = self.now_us.max(at_us);
            self.happen(due);
        }
        self.now_us = until_us;
    }

    // What a test looks at.

    /// The numbers of all nodes.
    pub fn nodes(&self) -> std::ops::Range<u32> {
        0..self.machines.len() as u32
    }

    /// Milliseconds since the beginning.
    pub fn now_ms(&self) -> u64 {
        self.now_us / 1_000
    }

    /// A node's id.
    pub fn id(&self, node: u32) -> PeerId {
        self.machines[node as usize].id
    }

    /// Whether a node's process runs.
    pub fn is_up(&self, node: u32) -> bool {
        self.machines[node as usize].up
    }

    /// Looks at the first plugin of a node that is a running native `P`.
    ///
    /// # Panics
    /// When there is none.
    pub fn plugin<P: Plugin, R>(&self, node: u32, look: impl FnOnce(&P) -> R) -> R {
        let slots = self.machines[node as usize].slots.iter();
        let mut plugins = slots.filter_map(|slot| slot.seat.instance()?.plugin()?.downcast_ref::<P>());
        look(plugins.next().unwrap_or_else(|| panic!("node {node} does not run this plugin natively")))
    }

    /// A committed value of the store of a node's first plugin.
    pub fn stored(&self, node: u32, key: impl AsRef<[u8]>) -> Option<Vec<u8>> {
        let slot = self.machines[node as usize].slots.first()?;
        slot.seat.imports.node().store.kept().get(key.as_ref()).cloned()
    }

    /// What the first plugin of a node reported of its peers.
    pub fn reports(&self, node: u32) -> Vec<(PeerId, ProtocolKey, Verdict, String)> {
        let slot = self.machines[node as usize].slots.first();
        slot.map(|slot| slot.seat.imports.node().reports.clone()).unwrap_or_default()
    }

    /// The last lines that the first plugin of a node logged.
    pub fn logs(&self, node: u32) -> Vec<LogLine> {
        let slot = self.machines[node as usize].slots.first();
        slot.map(|slot| slot.seat.imports.node().logs.iter().cloned().collect()).unwrap_or_default()
    }

    /// What went over the network.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// What happened.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Calls a command of a node's first plugin; it is taken in the next turn.
    pub fn submit(&mut self, node: u32, name: &str, args: &Value) -> Ticket {
        self.submit_to(node, 0, name, args.to_string())
    }

    /// Calls a command of one of a node's plugins, with its arguments as JSON.
    pub fn submit_to(&mut self, node: u32, plugin: u32, name: &str, args: String) -> Ticket {
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        if !self.machines[node as usize].up {
            self.answers.insert(ticket, Err(gone("the node does not run")));
            return ticket;
        }
        let place = Place { node, seat: plugin };
        let caller = Caller::Operator("test".to_owned());
        self.command_in(place, caller, name.to_owned(), 30_000, args.into_bytes().into(), Waiter::Ticket(ticket));
        ticket
    }

    /// The answer to a command, once, as JSON.
    ///
    /// # Panics
    /// When the plugin answered something else.
    pub fn answer(&mut self, ticket: Ticket) -> Option<Result<Value, Failure>> {
        let outcome = self.answers.remove(&ticket)?;
        Some(outcome.map(|body| serde_json::from_slice(&body).expect("an answer is JSON")))
    }

    /// Calls a command of a node's first plugin and lets time pass until it is answered.
    ///
    /// # Panics
    /// When it has no answer within a minute.
    pub fn command(&mut self, node: u32, name: &str, args: &Value) -> Result<Value, Failure> {
        let ticket = self.submit(node, name, args);
        let answered = self.run_until(60_000, |net| net.answers.contains_key(&ticket));
        assert!(answered, "`{name}` is not answered within a minute");
        self.answer(ticket).expect("it was answered")
    }

    fn slot(&mut self, place: Place) -> &mut Slot {
        &mut self.machines[place.node as usize].slots[place.seat as usize]
    }

    fn note(&mut self, place: Place, note: impl FnOnce() -> Note) {
        if self.trace.is_on() {
            let Place { node, seat: plugin } = place;
            self.trace.push(Entry { at_us: self.now_us, node, plugin, note: note() });
        }
    }

    /// A node's own clock, in microseconds.
    fn clock_us(&self, node: u32) -> u64 {
        START_MS * 1_000 + self.now_us + self.machines[node as usize].skew_us
    }
}

fn gone(message: &str) -> Failure {
    Failure { code: "gone".to_owned(), message: message.to_owned() }
}
