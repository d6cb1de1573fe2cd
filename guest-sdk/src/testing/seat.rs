//! A plugin's seat on a node: starts instances, runs turns by the host's rules, recovers after a fault.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::{Effect, Fault, Imports, Revision, Running};
use crate::abi::{Cause, Event, Init, Manifest, PeerId, Predecessor, ProtocolKey, Reachable};

/// A turn that was thrown away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crash {
    /// The event's position in its batch; none for the start and for the end of a turn.
    pub event: Option<u32>,
    /// What the panic said.
    pub message: String,
}

/// What became of something the seat was told to do, in order.
#[derive(Debug)]
pub(crate) enum Happening {
    /// An instance started.
    Started { cause: Cause, version: String, effects: Vec<Effect> },
    /// A turn was committed.
    Turned { events: Vec<Event>, bodies: Rc<[u8]>, effects: Vec<Effect> },
    /// An instance is gone, by a crash where there is one, and these requests and commands will not be answered.
    Lost { crash: Option<Crash>, gone: Vec<u64> },
}

/// See the module.
pub(crate) struct Seat {
    pub imports: Imports,
    pub revision: Rc<dyn Revision>,
    pub manifest: Manifest,
    pub config: String,
    instance: Option<Box<dyn Running>>,
    /// Whom the plugin was told of.
    told: BTreeMap<(PeerId, ProtocolKey), u32>,
}

impl Seat {
    pub(crate) fn new(imports: Imports, revision: Rc<dyn Revision>, config: String) -> Self {
        let manifest = revision.manifest();
        let mut seat = Self { imports, revision, manifest, config, instance: None, told: BTreeMap::new() };
        seat.adopt_manifest();
        seat
    }

    pub(crate) fn is_running(&self) -> bool {
        self.instance.is_some()
    }

    pub(crate) fn has_told(&self, peer: PeerId, protocol: ProtocolKey) -> bool {
        self.told.contains_key(&(peer, protocol))
    }

    pub(crate) fn instance(&self) -> Option<&dyn Running> {
        self.instance.as_deref()
    }

    /// What a new instance begins with: protocols that an earlier one registered beside its manifest are not among it.
    fn adopt_manifest(&mut self) {
        let mut node = self.imports.node();
        node.name = self.manifest.name.clone();
        node.granted = self.manifest.capabilities.clone();
        node.protocols = self.manifest.protocols.iter().map(|protocol| (protocol.key, protocol.clone())).collect();
        self.told.retain(|(_, key), _| node.protocols.contains_key(key));
    }

    /// `start` as a turn of its own.
    pub(crate) fn begin(&mut self, cause: Cause, predecessor: Option<Predecessor>) -> Result<Happening, Fault> {
        let init = {
            let node = self.imports.node();
            Init {
                node: node.id,
                cause,
                predecessor,
                config: self.config.clone(),
                granted: node.granted.clone(),
                limits: node.limits,
                more: Vec::new(),
            }
        };
        let started = self.revision.start(init, &self.imports);
        let mut node = self.imports.node();
        match started {
            Ok(instance) => {
                self.instance = Some(instance);
                let effects = node.commit();
                Ok(Happening::Started { cause, version: self.manifest.version.clone(), effects })
            }
            Err(fault) => {
                node.keep(0);
                Err(fault)
            }
        }
    }

    /// The process ends: the instance and all it knew are gone.
    pub(crate) fn end(&mut self) -> Vec<u64> {
        self.instance = None;
        self.told.clear();
        self.adopt_manifest();
        let mut node = self.imports.node();
        node.keep(0);
        node.timers.clear();
        node.paused.clear();
        node.lanes.clear();
        node.forget_instance()
    }

    /// One turn. After a fault: a new instance, then what came before the culprit, then what came after it.
    pub(crate) fn turn(&mut self, events: Vec<Event>, bodies: Rc<[u8]>, out: &mut Vec<Happening>) {
        if events.is_empty() {
            return;
        }
        let Some(instance) = &mut self.instance else { panic!("the plugin is not running") };
        let fault = match instance.handle(events.clone(), &bodies, &self.imports) {
            Ok(()) => {
                self.note_told(&events);
                let effects = self.imports.node().commit();
                out.push(Happening::Turned { events, bodies, effects });
                return;
            }
            Err(fault) => fault,
        };
        let event = fault.event.or((events.len() == 1).then_some(0)).map(|event| event as usize);
        self.recover(fault, &events, event, out);
        match event {
            Some(culprit) => {
                let after = events.get(culprit + 1..).unwrap_or_default().to_vec();
                let before = events.into_iter().take(culprit).collect();
                self.turn(before, bodies.clone(), out);
                self.turn(after, bodies, out);
            }
            // The end of the turn failed: each event has to show whether it was the one.
            None => events.into_iter().for_each(|event| self.turn(vec![event], bodies.clone(), out)),
        }
    }

    fn note_told(&mut self, events: &[Event]) {
        for event in events {
            match event {
                Event::PeerSupported(it) => drop(self.told.insert((it.peer, it.protocol), it.max_message)),
                Event::PeerUnsupported(lane) => drop(self.told.remove(&(lane.peer, lane.protocol))),
                _ => {}
            }
        }
    }

    /// Forgets a failed turn and its instance, and starts anew. What the batch's other events wait for stays open.
    fn recover(&mut self, fault: Fault, events: &[Event], culprit: Option<usize>, out: &mut Vec<Happening>) {
        self.imports.node().keep(0);
        let waiting = events.iter().enumerate().filter(|(position, _)| Some(*position) != culprit);
        let waiting: Vec<_> = waiting.filter_map(|(_, event)| awaited(event)).collect();
        self.imports.node().open.retain(|id| !waiting.contains(id));
        self.restart(Some(Crash { event: fault.event, message: fault.message }), out);
        self.imports.node().open.extend(waiting);
    }

    /// Throws the instance away and starts a new one from the store, as the host does after a trap.
    ///
    /// # Panics
    /// When the new instance does not start.
    pub(crate) fn restart(&mut self, crash: Option<Crash>, out: &mut Vec<Happening>) {
        self.instance = None;
        let gone = self.imports.node().forget_instance();
        out.push(Happening::Lost { crash, gone });
        self.adopt_manifest();
        let predecessor = Predecessor { snapshot: None, ..self.predecessor() };
        let started = self.begin(Cause::Crash, Some(predecessor));
        out.push(started.unwrap_or_else(|fault| panic!("the plugin does not restart: {}", fault.message)));
        self.announce(out);
    }

    fn predecessor(&self) -> Predecessor {
        let (version, data_version) = (self.manifest.version.clone(), self.manifest.data_version);
        Predecessor { version, data_version, snapshot: None }
    }

    /// What `snapshot` returns now.
    pub(crate) fn snapshot(&mut self) -> Result<Vec<u8>, String> {
        let instance = self.instance.as_mut().ok_or_else(|| "no instance".to_owned())?;
        let snapshot = instance.snapshot(&self.imports);
        self.imports.node().keep(0);
        snapshot
    }

    /// Replaces the revision, with the snapshot. On an error the old one goes on.
    pub(crate) fn upgrade(&mut self, revision: Rc<dyn Revision>, out: &mut Vec<Happening>) -> Result<(), String> {
        let manifest = revision.manifest();
        if manifest.name != self.manifest.name {
            return Err(format!("the plugin is called `{}`, not `{}`", manifest.name, self.manifest.name));
        }
        let snapshot = self.snapshot().ok();
        let carried = snapshot.is_some();
        let predecessor = Predecessor { snapshot, ..self.predecessor() };
        let old = (
            std::mem::replace(&mut self.revision, revision),
            std::mem::replace(&mut self.manifest, manifest),
            self.instance.take(),
        );
        let (told, protocols) = (self.told.clone(), self.imports.node().protocols.clone());
        self.adopt_manifest();
        match self.begin(Cause::Upgrade, Some(predecessor)) {
            Ok(started) => {
                if !carried {
                    let gone = self.imports.node().forget_instance();
                    out.push(Happening::Lost { crash: None, gone });
                }
                out.push(started);
                self.announce(out);
                Ok(())
            }
            Err(fault) => {
                (self.revision, self.manifest, self.instance) = old;
                self.adopt_manifest();
                self.told = told;
                self.imports.node().protocols = protocols;
                Err(fault.message)
            }
        }
    }

    /// Tells a new instance who is there.
    fn announce(&mut self, out: &mut Vec<Happening>) {
        let there = self.told.iter().map(|((peer, protocol), max_message)| {
            Event::PeerSupported(Reachable { peer: *peer, protocol: *protocol, max_message: *max_message })
        });
        self.turn(there.collect(), Rc::from([]), out);
    }

    /// # Panics
    /// When an event failed after it had changed the plugin, unless that is allowed.
    pub(crate) fn check_failed_events(&self) {
        let changed = self.imports.node().changed_by_failed_event.take();
        if let Some(error) = changed {
            panic!(
                "an event failed with \"{error}\" and had already changed the plugin's memory: \
                 its effects are dropped, its changes are not. Check first, change afterwards"
            );
        }
    }
}

fn awaited(event: &Event) -> Option<u64> {
    match event {
        Event::Request(request) => Some(request.id),
        Event::Command(command) => Some(command.id),
        _ => None,
    }
}
