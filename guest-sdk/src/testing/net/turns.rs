//! Turns: what waits becomes a batch, and what came of it is traced and goes out.

use std::rc::Rc;

use super::queue::Due;
use super::wires::Place;
use super::{Note, TestNet, Waiter, Waiting, gone};
use crate::abi::{AskError, CallError, Cause};
use crate::testing::Effect;
use crate::testing::seat::Happening;

impl TestNet {
    /// Does what is due now.
    pub(super) fn happen(&mut self, due: Due) {
        match due {
            Due::Arrive { wire, epoch, parcel } => self.arrive(wire, epoch, parcel),
            Due::Turn(place) => self.take_turn(place),
            Due::Timer { place, id, at_ms, life } => self.fire(place, id, at_ms, life),
            Due::Reply { place, ask, life, outcome } => self.reply(place, ask, life, outcome),
            Due::AskTimeout { place, ask, life } => {
                if self.slot(place).life == life {
                    self.end_ask(place, ask, Err(AskError::TimedOut), true);
                }
            }
            Due::CommandTimeout { place, command, life } => self.command_timeout(place, command, life),
            Due::Withdraw { place, request, life } => {
                let slot = self.slot(place);
                if slot.life == life && slot.requests.remove(&request).is_some() {
                    slot.seat.imports.node().settle(request);
                    slot.mailbox.withdraw(request);
                    self.plan_turn(place);
                }
            }
            Due::Notice { link, change } => self.notice(link, change),
            Due::Up { link, change } => self.link_up(link, change),
            Due::Unpause { place, protocol, life } => {
                if self.slot(place).life == life {
                    self.slot(place).seat.imports.node().paused.remove(&protocol);
                    self.unblock(place);
                }
            }
            Due::Step(step) => self.step(*step),
        }
    }

    /// Starts an instance on a seat that has none.
    pub(super) fn start(&mut self, place: Place, cause: Cause) {
        self.set_clock(place);
        let started = self.slot(place).seat.begin(cause, None);
        let started = started.unwrap_or_else(|fault| panic!("the plugin does not start: {}", fault.message));
        self.carry_out(place, vec![started]);
    }

    fn set_clock(&mut self, place: Place) {
        let clock_us = self.clock_us(place.node);
        let sync_us = self.network.sync_ms * 1_000;
        let mut node = self.slot(place).seat.imports.node();
        node.now_us = clock_us;
        node.store.synced(clock_us.saturating_sub(sync_us));
    }

    /// Something waits for this plugin.
    pub(super) fn plan_turn(&mut self, place: Place) {
        let now_us = self.now_us;
        let slot = self.slot(place);
        if !slot.turn_planned && slot.seat.is_running() {
            slot.turn_planned = true;
            let at_us = slot.busy_until_us.max(now_us);
            self.queue.push(at_us, Due::Turn(place));
        }
    }

    fn take_turn(&mut self, place: Place) {
        let (most, most_bytes) = (self.network.batch_events as usize, self.network.batch_bytes as usize);
        let watch = self.network.watch_failed_events;
        let now_us = self.now_us;
        let slot = self.slot(place);
        slot.turn_planned = false;
        if !slot.seat.is_running() {
            return;
        }
        let seat = &slot.seat;
        let (events, bodies) = slot.mailbox.take(most, most_bytes, |(peer, key)| seat.has_told(*peer, *key));
        slot.busy_until_us = now_us + slot.turn_us;
        self.set_clock(place);
        let mut out = Vec::new();
        let slot = self.slot(place);
        slot.seat.turn(events, Rc::from(bodies), &mut out);
        if watch {
            slot.seat.check_failed_events();
        }
        self.carry_out(place, out);
        self.unblock(place);
        if !self.slot(place).mailbox.is_empty() {
            self.plan_turn(place);
        }
    }

    /// Traces what became of a turn, and lets out what it staged.
    pub(super) fn carry_out(&mut self, place: Place, happenings: Vec<Happening>) {
        for happening in happenings {
            match happening {
                Happening::Started { cause, version, effects } => {
                    self.note(place, || Note { text: format!("{version} {}", cause_name(cause)), ..Note::of("start") });
                    self.let_out(place, effects);
                    // What the instance before had registered beside its manifest is gone with it.
                    self.protocols_changed(place.node);
                }
                Happening::Turned { events, bodies, effects } => {
                    self.totals.turns += 1;
                    self.totals.events += events.len() as u64;
                    if self.trace.is_on() {
                        events.iter().for_each(|event| self.note(place, || Note::of_event(event, &bodies)));
                    }
                    self.let_out(place, effects);
                }
                Happening::Lost { crash, gone } => {
                    if let Some(crash) = crash {
                        self.totals.crashes += 1;
                        let number = crash.event.map(u64::from);
                        self.note(place, || Note { number, text: crash.message, ..Note::of("crash") });
                    }
                    self.instance_gone(place, &gone);
                }
            }
        }
    }

    fn let_out(&mut self, place: Place, effects: Vec<Effect>) {
        let mut registered = false;
        for effect in effects {
            self.note(place, || Note::of_effect(&effect));
            registered |= matches!(effect, Effect::Register(_) | Effect::Unregister(_));
            self.route(place, effect);
        }
        if registered {
            self.protocols_changed(place.node);
        }
    }

    /// An instance died: what it asked is withdrawn, who waited for it hears so.
    fn instance_gone(&mut self, place: Place, ids: &[u64]) {
        let asks: Vec<_> = self.slot(place).asks.keys().copied().collect();
        asks.into_iter().for_each(|ask| self.forget_ask(place, ask));
        for id in ids {
            if let Some((wire, ask)) = self.slot(place).requests.remove(id) {
                self.send_reply(wire, ask, Err(AskError::Refused(gone("the plugin was restarted"))));
            }
            if let Some(waiter) = self.slot(place).commands.remove(id) {
                self.answered(waiter, Err(CallError::Gone));
            }
        }
    }

    /// A command or a call has its outcome.
    pub(super) fn answered(&mut self, waiter: Waiter, outcome: Result<Rc<[u8]>, CallError>) {
        match waiter {
            Waiter::Ticket(ticket) => {
                let outcome = outcome.map(|body| body.to_vec()).map_err(|error| match error {
                    CallError::Failed(failure) => failure,
                    CallError::TimedOut => crate::Error::from(CallError::TimedOut).into(),
                    _ => gone("the plugin was restarted"),
                });
                self.answers.insert(ticket, outcome);
            }
            Waiter::Call { place, call, life } => {
                let slot = self.slot(place);
                let open = slot.life == life && slot.seat.imports.node().calls.remove(&call).is_some();
                if open {
                    slot.mailbox.push(Waiting::Called(call, outcome));
                    self.plan_turn(place);
                }
            }
        }
    }

    fn fire(&mut self, place: Place, id: u64, at_ms: u64, life: u32) {
        let slot = self.slot(place);
        let due = slot.life == life && {
            let mut node = slot.seat.imports.node();
            let due = node.timers.get(&id) == Some(&at_ms);
            if due {
                node.timers.remove(&id);
            }
            due
        };
        if due {
            slot.mailbox.push(Waiting::Timer(id));
            self.plan_turn(place);
        }
    }

    fn command_timeout(&mut self, place: Place, command: u64, life: u32) {
        let slot = self.slot(place);
        if slot.life != life {
            return;
        }
        if let Some(waiter) = slot.commands.remove(&command) {
            slot.seat.imports.node().settle(command);
            slot.mailbox.withdraw(command);
            self.answered(waiter, Err(CallError::TimedOut));
            self.plan_turn(place);
        }
    }
}

fn cause_name(cause: Cause) -> &'static str {
    match cause {
        Cause::Boot => "boot",
        Cause::Load => "load",
        Cause::Crash => "crash",
        Cause::Upgrade => "upgrade",
        Cause::Rollback => "rollback",
    }
}
