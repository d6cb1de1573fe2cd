//! The desk where commands and calls between plugins wait for their answer: each gets exactly one outcome.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::CallError;
use super::mailbox::{Caller, CommandHead, Mailbox};
use super::store::CommitTicket;

/// An outcome, and the commit that it must not be told before.
pub(super) struct Answer {
    pub(super) outcome: Result<Bytes, CallError>,
    pub(super) ticket: Option<CommitTicket>,
}

/// Who waits for an outcome.
pub(super) enum Waiter {
    Operator(oneshot::Sender<Answer>),
    /// A plugin reads the outcome in a later turn, and turns survive a crash in order, so it need not wait for the disk.
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

struct OpenCommand {
    target: String,
    waiter: Waiter,
}

/// A command to be put into a plugin's mailbox.
pub(super) struct Submission {
    pub(super) plugin: String,
    pub(super) caller: Caller,
    pub(super) name: String,
    pub(super) timeout_ms: u32,
    pub(super) body: Bytes,
}

/// All plugins that take commands, and all commands without an outcome.
#[derive(Default)]
pub(super) struct CallDesk {
    last: AtomicU64,
    directory: Mutex<HashMap<String, Arc<Mailbox>>>,
    open: Mutex<HashMap<u64, OpenCommand>>,
}

impl CallDesk {
    fn open(&self) -> MutexGuard<'_, HashMap<u64, OpenCommand>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn directory(&self) -> MutexGuard<'_, HashMap<String, Arc<Mailbox>>> {
        self.directory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for a command or call; never used twice.
    pub(super) fn next(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn enter(&self, plugin: &str, mailbox: Arc<Mailbox>) {
        self.directory().insert(plugin.to_owned(), mailbox);
    }

    /// Takes a plugin out of the directory and fails everything it has not answered.
    pub(super) fn leave(&self, plugin: &str) {
        self.directory().remove(plugin);
        let gone: Vec<_> = self.open().extract_if(|_, command| command.target == plugin).collect();
        for (_, command) in gone {
            command.waiter.tell(Answer { outcome: Err(CallError::Gone), ticket: None });
        }
    }

    /// Puts a command into the plugin's mailbox. What cannot be put there is told to the waiter at once.
    pub(super) fn submit(&self, id: u64, what: Submission, waiter: Waiter) {
        let Some(mailbox) = self.directory().get(&what.plugin).cloned() else {
            let outcome = Err(CallError::UnknownPlugin(what.plugin));
            return waiter.tell(Answer { outcome, ticket: None });
        };
        // Entered first: the plugin may answer before this function returns.
        self.open().insert(id, OpenCommand { target: what.plugin, waiter });
        let head = CommandHead { id, caller: what.caller, name: what.name, timeout_ms: what.timeout_ms };
        if !mailbox.command(head, &what.body) {
            self.answer(id, Err(CallError::Busy), None);
        }
    }

    /// Whether somebody waits for the outcome.
    pub(super) fn awaits(&self, id: u64) -> bool {
        self.open().contains_key(&id)
    }

    pub(super) fn answer(&self, id: u64, outcome: Result<Bytes, CallError>, ticket: Option<CommitTicket>) {
        let command = self.open().remove(&id);
        if let Some(command) = command {
            command.waiter.tell(Answer { outcome, ticket });
        }
    }

    /// Nobody waits any more; the plugin is told.
    pub(super) fn withdraw(&self, id: u64) {
        let Some(command) = self.open().remove(&id) else { return };
        let mailbox = self.directory().get(&command.target).cloned();
        if let Some(mailbox) = mailbox {
            mailbox.command_withdrawn(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::PluginPolicy;

    fn submission(plugin: &str) -> Submission {
        let caller = Caller::Operator("local".into());
        Submission { plugin: plugin.into(), caller, name: "stats".into(), timeout_ms: 1, body: Bytes::new() }
    }

    fn submit(desk: &CallDesk, plugin: &str) -> (u64, oneshot::Receiver<Answer>) {
        let (sender, receiver) = oneshot::channel();
        let id = desk.next();
        desk.submit(id, submission(plugin), Waiter::Operator(sender));
        (id, receiver)
    }

    #[test]
    fn every_command_gets_exactly_one_outcome() {
        let desk = CallDesk::default();
        let mut unknown = submit(&desk, "a").1;
        let outcome = unknown.try_recv().expect("an outcome").outcome;
        assert_eq!(outcome, Err(CallError::UnknownPlugin("a".into())));
        desk.enter("a", Arc::new(Mailbox::new(&PluginPolicy::default())));
        let ((first, mut answered), (_, mut left)) = (submit(&desk, "a"), submit(&desk, "a"));
        desk.answer(first, Ok(Bytes::new()), None);
        desk.answer(first, Err(CallError::Busy), None);
        assert_eq!(answered.try_recv().expect("an outcome").outcome, Ok(Bytes::new()));
        desk.leave("a");
        assert_eq!(left.try_recv().expect("an outcome").outcome, Err(CallError::Gone));
    }

    #[test]
    fn a_plugin_with_too_many_commands_is_busy() {
        let desk = CallDesk::default();
        let policy = PluginPolicy { mailbox_commands: 1, ..PluginPolicy::default() };
        desk.enter("a", Arc::new(Mailbox::new(&policy)));
        let mut answers = [submit(&desk, "a").1, submit(&desk, "a").1];
        assert!(answers[0].try_recv().is_err());
        assert_eq!(answers[1].try_recv().expect("an outcome").outcome, Err(CallError::Busy));
    }
}
