//! What a test sees of the network, and the commands it calls.

use std::collections::BTreeMap;

use serde_json::Value;

use super::wires::Place;
use super::{TestNet, Ticket, Totals, Trace, Waiter, gone};
use crate::abi::{Caller, Failure, PeerId, ProtocolKey, Verdict};
use crate::testing::LogLine;
use crate::{Plugin, Result};

impl TestNet {
    /// The numbers of all nodes.
    pub fn nodes(&self) -> std::ops::Range<u32> {
        0..self.machines.len() as u32
    }

    /// How many plugins a node has.
    pub fn plugins(&self, node: u32) -> u32 {
        self.machines[node as usize].slots.len() as u32
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

    /// All that is committed of the store of one of a node's plugins.
    pub fn store(&self, node: u32, plugin: u32) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let slot = self.machines[node as usize].slots.get(plugin as usize);
        slot.map(|slot| slot.seat.imports.node().store.kept().clone()).unwrap_or_default()
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
}
