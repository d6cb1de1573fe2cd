//! The driver of a run: machines and time, and the rules after every step. What befalls the machines meanwhile is in
//! the files below.

mod access;
mod chance;
mod network;
mod nodes;
mod plans;
mod setup;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use rand::SeedableRng;
use rand::rngs::StdRng;
use weir_host::config::{Config, Limits, Timeouts};

pub use self::setup::Setup;
use crate::entropy::mix;
use crate::invariants::{self, Picture};
use crate::look::Look;
use crate::machine::{EPOCH_MS, Machine, PORT, Shared, key};
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
/// How long after its deadline an ask may end.
const ASK_SLACK: Duration = Duration::from_millis(500);

/// What scenarios return.
pub type Outcome<T = ()> = Result<T, Violation>;

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
    /// How long a packet takes at most, when no scenario says otherwise.
    pub latency: Duration,
    registered: BTreeSet<usize>,
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
            latency: latency.1,
            registered: BTreeSet::new(),
            cuts: BTreeSet::new(),
            access_changed: BTreeMap::new(),
            step: 0,
            looked: Duration::ZERO,
            worst: Duration::ZERO,
        }
    }

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
}
