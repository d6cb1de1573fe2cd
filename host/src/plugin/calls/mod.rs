//! The desk where commands and calls between plugins wait for their answer: each gets exactly one outcome.
//!
//! `state` decides; here are the mailboxes and those who wait. Actions are carried out without the lock, because a
//! mailbox may be full and a waiter may be gone.

mod error;
mod state;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

pub use self::error::CallError;
use self::state::{DeskAction, DeskEvent, DeskState, End};
pub(super) use self::state::{PairLimits, PairRefused};
use super::PluginPolicy;
use super::mailbox::{Caller, CommandHead, Mailbox};
use super::store::CommitTicket;

impl PairLimits {
    /// What the policy of a caller says.
    pub(super) fn of(policy: &PluginPolicy) -> Self {
        Self { open: policy.open_calls, per_second: policy.calls_per_second }
    }
}

/// An outcome, and the commit that it must not be told before.
pub(super) struct Answer {
    pub(super) outcome: Result<Bytes, CallError>,
    pub(super) ticket: Option<CommitTicket>,
}

/// Who waits for an outcome.
pub(super) enum Waiter {
    Operator(oneshot::Sender<Answer>),
    /// A plugin reads the outcome in a later turn, and turns survive a crash in order, so it need not wait for the disk;
    /// a strict plugin's turn waits for all that it heard of.
    Plugin {
        mailbox: Arc<Mailbox>,
        call: u64,
    },
}

impl Waiter {
    fn tell(self, answer: Answer) {
        match self {
            // Nobody listens any more when the receiver is gone.
            Self::Operator(sender) => drop(sender.send(answer)),
            Self::Plugin { mailbox, call } => {
                mailbox.called(call, answer.outcome.as_ref().map(AsRef::as_ref).map_err(Clone::clone));
            }
        }
    }
}

/// A command to be put into a plugin's mailbox.
pub(super) struct Submission {
    pub(super) plugin: String,
    pub(super) caller: Caller,
    /// The caller's, if it is a plugin.
    pub(super) limits: Option<PairLimits>,
    pub(super) name: String,
    pub(super) timeout_ms: u32,
    pub(super) body: Bytes,
}

struct Inner {
    state: DeskState,
    directory: HashMap<String, Arc<Mailbox>>,
    waiters: HashMap<u64, Waiter>,
}

/// All plugins that take commands, and all commands without an outcome.
pub(super) struct CallDesk {
    last: AtomicU64,
    /// Where numbers come from instead, if they do.
    #[cfg(feature = "simulation")]
    numbers: Option<Arc<dyn crate::protocol::Network>>,
    began: Instant,
    inner: Mutex<Inner>,
}

impl CallDesk {
    pub(super) fn new() -> Self {
        let inner = Inner { state: DeskState::default(), directory: HashMap::new(), waiters: HashMap::new() };
        Self {
            last: AtomicU64::new(0),
            #[cfg(feature = "simulation")]
            numbers: None,
            began: Instant::now(),
            inner: Mutex::new(inner),
        }
    }

    /// One whose numbers are drawn where those of asks are.
    #[cfg(feature = "simulation")]
    pub(super) fn numbered_by(network: Arc<dyn crate::protocol::Network>) -> Self {
        Self { numbers: Some(network), ..Self::new() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for a command or call; never used twice.
    pub(super) fn next(&self) -> u64 {
        #[cfg(feature = "simulation")]
        if let Some(numbers) = &self.numbers {
            return numbers.next_ask().0;
        }
        self.last.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Lets the state decide and does what it says with what is known of the command: true when it was open.
    fn handle(&self, event: DeskEvent, mut answer: Option<Answer>, command: Option<(CommandHead, Bytes)>) -> bool {
        let now = self.began.elapsed();
        let target = if let DeskEvent::Submitted { target, .. } = &event { target.clone() } else { String::new() };
        let (mut told, mut recalled, mut deliver, mut over) = (Vec::new(), Vec::new(), None, false);
        {
            let mut inner = self.inner();
            for action in inner.state.handle(event, now) {
                match action {
                    DeskAction::Tell { id, end } => {
                        over = true;
                        told.extend(inner.waiters.remove(&id).map(|waiter| (waiter, end)));
                    }
                    DeskAction::Forget { id } => {
                        over = true;
                        inner.waiters.remove(&id);
                    }
                    DeskAction::Recall { id, target } => {
                        recalled.extend(inner.directory.get(&target).cloned().map(|mailbox| (mailbox, id)));
                    }
                    DeskAction::Deliver { id, target } => {
                        deliver = inner.directory.get(&target).cloned().map(|mailbox| (mailbox, id));
                    }
                }
            }
        }
        for (waiter, end) in told {
            let failed = |error| Answer { outcome: Err(error), ticket: None };
            waiter.tell(match end {
                End::Answer => answer.take().unwrap_or_else(|| failed(CallError::Gone)),
                End::Unknown => failed(CallError::UnknownPlugin(target.clone())),
                End::Busy => failed(CallError::Busy),
                End::Gone => failed(CallError::Gone),
            });
        }
        for (mailbox, id) in recalled {
            mailbox.command_withdrawn(id);
        }
        if let (Some((mailbox, id)), Some((head, body))) = (deliver, command)
            && !mailbox.command(head, &body)
        {
            self.handle(DeskEvent::NotTaken { id }, None, None);
        }
        over
    }

    pub(super) fn enter(&self, plugin: &str, mailbox: Arc<Mailbox>) {
        let mut inner = self.inner();
        inner.directory.insert(plugin.to_owned(), mailbox);
        inner.state.handle(DeskEvent::Entered { plugin: plugin.to_owned() }, self.began.elapsed());
    }

    /// Takes a plugin out of the directory, fails everything it has not answered, and recalls everything it asked for.
    pub(super) fn leave(&self, plugin: &str) {
        self.inner().directory.remove(plugin);
        self.handle(DeskEvent::Left { plugin: plugin.to_owned() }, None, None);
    }

    /// Whether a plugin may call another now, beside `staged` calls to it that its turn has staged.
    pub(super) fn may_call(
        &self,
        caller: &str,
        target: &str,
        staged: u32,
        limits: PairLimits,
    ) -> Result<(), PairRefused> {
        self.inner().state.may_call(caller, target, staged, limits, self.began.elapsed())
    }

    /// Puts a command into the plugin's mailbox. What cannot be put there is told to the waiter at once.
    pub(super) fn submit(&self, id: u64, what: Submission, waiter: Waiter) {
        // Entered first: the plugin may answer before this function returns.
        self.inner().waiters.insert(id, waiter);
        let caller = match &what.caller {
            Caller::Plugin(name) => what.limits.map(|limits| (name.clone(), limits)),
            Caller::Operator(_) => None,
        };
        let target = what.plugin;
        let head = CommandHead { id, caller: what.caller, name: what.name, timeout_ms: what.timeout_ms };
        self.handle(DeskEvent::Submitted { id, caller, target }, None, Some((head, what.body)));
    }

    /// Whether somebody waits for the outcome.
    pub(super) fn awaits(&self, id: u64) -> bool {
        self.inner().state.awaits(id)
    }

    pub(super) fn answer(&self, id: u64, outcome: Result<Bytes, CallError>, ticket: Option<CommitTicket>) {
        self.handle(DeskEvent::Answered { id }, Some(Answer { outcome, ticket }), None);
    }

    /// Nobody waits any more; the plugin is told. False when it has its outcome already.
    pub(super) fn withdraw(&self, id: u64) -> bool {
        self.handle(DeskEvent::Withdrawn { id }, None, None)
    }
}

/// Somebody waits for the outcome of a command. Dropped before it has come, it withdraws the command.
pub(super) struct Waiting {
    pub(super) desk: Arc<CallDesk>,
    pub(super) id: u64,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.desk.withdraw(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desk() -> Arc<CallDesk> {
        Arc::new(CallDesk::new())
    }

    fn mailbox(policy: &PluginPolicy) -> Arc<Mailbox> {
        Arc::new(Mailbox::new(policy))
    }

    fn submission(plugin: &str) -> Submission {
        let caller = Caller::Operator("local".into());
        Submission {
            plugin: plugin.into(),
            caller,
            limits: None,
            name: "stats".into(),
            timeout_ms: 1,
            body: Bytes::new(),
        }
    }

    fn submit(desk: &CallDesk, plugin: &str) -> (u64, oneshot::Receiver<Answer>) {
        let (sender, receiver) = oneshot::channel();
        let id = desk.next();
        desk.submit(id, submission(plugin), Waiter::Operator(sender));
        (id, receiver)
    }

    #[test]
    fn every_command_gets_exactly_one_outcome() {
        let desk = desk();
        let mut unknown = submit(&desk, "a").1;
        let outcome = unknown.try_recv().expect("an outcome").outcome;
        assert_eq!(outcome, Err(CallError::UnknownPlugin("a".into())));
        desk.enter("a", mailbox(&PluginPolicy::default()));
        let ((first, mut answered), (_, mut left)) = (submit(&desk, "a"), submit(&desk, "a"));
        desk.answer(first, Ok(Bytes::new()), None);
        desk.answer(first, Err(CallError::Busy), None);
        assert_eq!(answered.try_recv().expect("an outcome").outcome, Ok(Bytes::new()));
        desk.leave("a");
        assert_eq!(left.try_recv().expect("an outcome").outcome, Err(CallError::Gone));
    }

    #[test]
    fn a_plugin_with_too_many_commands_is_busy() {
        let desk = desk();
        desk.enter("a", mailbox(&PluginPolicy { mailbox_commands: 1, ..PluginPolicy::default() }));
        let mut answers = [submit(&desk, "a").1, submit(&desk, "a").1];
        assert!(answers[0].try_recv().is_err());
        assert_eq!(answers[1].try_recv().expect("an outcome").outcome, Err(CallError::Busy));
    }

    #[test]
    fn who_stops_waiting_withdraws_at_once() {
        let desk = desk();
        let mailbox = mailbox(&PluginPolicy::default());
        desk.enter("a", mailbox.clone());
        let (id, receiver) = submit(&desk, "a");
        assert_eq!((mailbox.take().items.len(), desk.awaits(id)), (1, true), "the plugin has heard it");
        drop((Waiting { desk: desk.clone(), id }, receiver));
        assert!(!desk.awaits(id) && !desk.withdraw(id));
        assert_eq!(mailbox.take().items, [super::super::mailbox::Item::CommandWithdrawn(id)]);
    }
}
