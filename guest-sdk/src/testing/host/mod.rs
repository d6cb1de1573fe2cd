//! `TestHost`: one plugin, events in, effects out. Seeded, with a clock that only the test moves.

mod feed;
mod look;

use std::collections::BTreeMap;
use std::rc::Rc;

use serde::Serialize;
use serde_json::Value;

use super::node::{Node, Sent};
use super::seat::{Happening, Seat};
use super::{Crash, Effect, Imports, Native, Revision};
use crate::abi::{Cause, Event, Failure, Protocol, ProtocolKey};
use crate::{Plugin, Result};

/// One plugin on a node that is a value in the test.
///
/// Every method that hands the plugin an event runs one turn, with the host's rules: what a turn staged is
/// committed after it, a panic discards turn and instance, a new instance starts from the store, and of the
/// batch only the culprit is lost. A test also fails when an event that returned `Err` changed the
/// plugin's snapshot ([`TestHost::allow_changes_by_failed_events`] turns that off).
pub struct TestHost {
    seat: Seat,
    sent: Vec<Sent>,
    settled: BTreeMap<u64, Result<Vec<u8>, Failure>>,
    crashes: Vec<Crash>,
}

impl TestHost {
    /// Starts `P` with this configuration, `()` for none.
    ///
    /// # Panics
    /// When `start` fails.
    pub fn new<P: Plugin>(config: impl Serialize) -> Self {
        Self::with_seed::<P>(config, 1)
    }

    /// As [`TestHost::new`], with other randomness: the node's key, ids and `Context::random_*` follow the seed.
    ///
    /// # Panics
    /// When `start` fails.
    pub fn with_seed<P: Plugin>(config: impl Serialize, seed: u64) -> Self {
        Self::with_revision(Rc::new(Native::<P>::default()), config, seed)
    }

    /// The same for anything that can be run as a plugin.
    ///
    /// # Panics
    /// When `start` fails.
    pub fn with_revision(revision: Rc<dyn Revision>, config: impl Serialize, seed: u64) -> Self {
        let seat = Seat::new(Imports::new(Node::new(seed)), revision, config_text(config));
        let mut host = Self { seat, sent: Vec::new(), settled: BTreeMap::new(), crashes: Vec::new() };
        let started = host.seat.begin(Cause::Boot, None);
        let started = started.unwrap_or_else(|fault| panic!("the plugin does not start: {}", fault.message));
        host.take(vec![started]);
        host
    }

    /// Lets a failed event change `self`: for plugins that repair that themselves.
    pub fn allow_changes_by_failed_events(&mut self) {
        self.seat.imports.node().watch_failed_events = false;
    }

    /// Throws the instance away and starts a new one from the store, as the host does after a trap.
    ///
    /// # Panics
    /// When the new instance does not start.
    pub fn crash(&mut self) {
        let mut out = Vec::new();
        self.seat.restart(Crash { event: None, message: String::new() }, &mut out);
        self.crashes.pop();
        self.take(out);
        // The test asked for this one.
        self.crashes.retain(|crash| !crash.message.is_empty());
    }

    /// What `snapshot` returns now.
    pub fn snapshot(&mut self) -> Result<Vec<u8>, String> {
        self.seat.snapshot()
    }

    /// Replaces the revision by `Q`, with the snapshot. On an error the old one goes on.
    pub fn upgrade<Q: Plugin>(&mut self) -> Result<(), String> {
        let mut out = Vec::new();
        let outcome = self.seat.upgrade(Rc::new(Native::<Q>::default()), &mut out);
        let crashes = self.crashes.len();
        self.take(out);
        self.crashes.truncate(crashes);
        outcome
    }

    fn protocol(&self, key: ProtocolKey) -> Protocol {
        let protocol = self.seat.imports.node().protocols.get(&key).cloned();
        protocol.unwrap_or_else(|| panic!("the plugin has no protocol with the key {key}"))
    }

    fn turn(&mut self, events: Vec<Event>, bodies: &[u8]) {
        let mut out = Vec::new();
        self.seat.turn(events, bodies.into(), &mut out);
        self.take(out);
        self.seat.check_failed_events();
    }

    /// Puts what came out where the test looks for it.
    fn take(&mut self, happenings: Vec<Happening>) {
        for happening in happenings {
            match happening {
                Happening::Started { effects, .. } | Happening::Turned { effects, .. } => {
                    effects.into_iter().for_each(|effect| self.keep(effect));
                }
                Happening::Crashed { crash, gone } => {
                    self.crashes.push(crash);
                    let failure =
                        || Failure { code: "gone".to_owned(), message: "the plugin was restarted".to_owned() };
                    self.settled.extend(gone.into_iter().map(|id| (id, Err(failure()))));
                }
            }
        }
    }

    fn keep(&mut self, effect: Effect) {
        match effect {
            Effect::Send { to, protocol, body } => {
                self.sent.extend(to.into_iter().map(|to| Sent { to, protocol, body: body.to_vec() }));
            }
            Effect::Respond { request: id, outcome } | Effect::Answer { command: id, outcome } => {
                self.settled.insert(id, outcome.map(|body| body.to_vec()));
            }
            _ => {}
        }
    }
}

/// A configuration as the host hands it over; `()` is none.
pub(crate) fn config_text(config: impl Serialize) -> String {
    match serde_json::to_value(config).expect("the configuration becomes JSON") {
        Value::Null => String::new(),
        config => config.to_string(),
    }
}
