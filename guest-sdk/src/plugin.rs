//! `Plugin`: the one trait an author implements.

use crate::abi::{Count, Init, Lane, Manifest, Reachable};
use crate::{Called, Command, Context, Error, Extension, Message, Request, Response, Result};

/// A protocol as a state machine: events in, effects staged in the [`Context`].
///
/// All that one batch of events staged is committed together after the batch; nothing of it is visible
/// outside before. An `Err` from one method drops what that event staged and nothing else: changes to
/// `self` stay, so check first and change afterwards. A panic discards the whole turn and the instance,
/// and a new one is started; only the store survives.
pub trait Plugin: Sized + 'static {
    /// Who this plugin is. Called in a sandbox: no clock, no randomness, no store.
    fn manifest() -> Manifest;

    /// Makes an instance from the configuration, the store and what the predecessor left.
    fn start(init: Init, ctx: &Context) -> Result<Self>;

    /// A peer's one-way message.
    fn on_message(&mut self, message: Message<'_>, ctx: &Context) -> Result {
        let _ = (message, ctx);
        Ok(())
    }

    /// A peer's question, to be answered now or later. An `Err` is sent as the answer.
    fn on_request(&mut self, request: Request<'_>, ctx: &Context) -> Result {
        let _ = (request, ctx);
        Err(Error::new("no-requests", "this protocol answers no requests"))
    }

    /// The outcome of an `ask`.
    fn on_response(&mut self, response: Response<'_>, ctx: &Context) -> Result {
        let _ = (response, ctx);
        Ok(())
    }

    /// A call from an operator, an app or another plugin, to be answered now or later. An `Err` is the answer.
    fn on_command(&mut self, command: Command<'_>, ctx: &Context) -> Result {
        let _ = ctx;
        Err(command.unknown(&[]))
    }

    /// The outcome of a `call`.
    fn on_called(&mut self, called: Called<'_>, ctx: &Context) -> Result {
        let _ = (called, ctx);
        Ok(())
    }

    /// A peer can be reached by a protocol. A new instance hears it for all that are there, before anything else.
    fn on_peer_supported(&mut self, reachable: Reachable, ctx: &Context) -> Result {
        let _ = (reachable, ctx);
        Ok(())
    }

    /// A peer can no longer be reached by a protocol.
    fn on_peer_unsupported(&mut self, lane: Lane, ctx: &Context) -> Result {
        let _ = (lane, ctx);
        Ok(())
    }

    /// A lane took a `send` that left it above its soft limit: further ones are refused as busy.
    fn on_congested(&mut self, lane: Lane, ctx: &Context) -> Result {
        let _ = (lane, ctx);
        Ok(())
    }

    /// A congested lane takes sends again.
    fn on_relieved(&mut self, lane: Lane, ctx: &Context) -> Result {
        let _ = (lane, ctx);
        Ok(())
    }

    /// Messages of ours that were committed and can no longer arrive.
    fn on_undelivered(&mut self, count: Count, ctx: &Context) -> Result {
        let _ = (count, ctx);
        Ok(())
    }

    /// Messages of theirs that this plugin will never see.
    fn on_missed(&mut self, count: Count, ctx: &Context) -> Result {
        let _ = (count, ctx);
        Ok(())
    }

    /// The request or command with this id needs no answer any more.
    fn on_withdrawn(&mut self, id: u64, ctx: &Context) -> Result {
        let _ = (id, ctx);
        Ok(())
    }

    /// A timer fired.
    fn on_timer(&mut self, id: u64, ctx: &Context) -> Result {
        let _ = (id, ctx);
        Ok(())
    }

    /// The last event before the instance is unloaded or the node stops.
    fn on_stopping(&mut self, ctx: &Context) -> Result {
        let _ = ctx;
        Ok(())
    }

    /// News of a kind that the manifest `listens` to.
    fn on_extension(&mut self, extension: Extension<'_>, ctx: &Context) -> Result {
        let _ = (extension, ctx);
        Ok(())
    }

    /// After the last event of every batch: the place for one store write instead of one a message.
    fn on_turn_end(&mut self, ctx: &Context) -> Result {
        let _ = ctx;
        Ok(())
    }

    /// Memory that the next revision may want; it finds it with [`Init::restore`]. Optional: the store is
    /// the truth. An `Err` means there is none.
    fn snapshot(&self) -> Result<Vec<u8>> {
        Err(Error::new("no-snapshot", "this plugin keeps all it needs in its store"))
    }
}
