//! Runs one instance: turns a batch into method calls and keeps a failed event's effects out of the turn.

use std::cell::Cell;

use crate::abi::{Event, Init, Span};
use crate::bindings::weir::plugin::types as wire;
use crate::{Called, Command, Context, Error, Extension, Message, Plugin, Request, Response, Result};

thread_local! {
    /// The position in the batch of the event that is being handled, for the panic hook.
    static POSITION: Cell<Option<u32>> = const { Cell::new(None) };
}

/// The event that is being handled, if one is.
pub(crate) fn position() -> Option<u32> {
    POSITION.get()
}

/// An instance whose type is forgotten: one indirect call a batch.
pub(crate) trait Instance {
    fn handle(&mut self, events: Vec<Event>, bodies: &[u8]) -> Result<(), String>;
    fn snapshot(&self) -> Result<Vec<u8>, String>;
    /// The plugin itself, for a test to look at.
    #[cfg(not(target_arch = "wasm32"))]
    fn plugin(&self) -> &dyn std::any::Any;
}

/// Starts an instance of `P`.
pub(crate) fn start<P: Plugin>(init: Init) -> Result<Box<dyn Instance>, String> {
    POSITION.set(None);
    crate::collections::reseed();
    let plugin = P::start(init, &Context::new()).map_err(|error| error.to_string())?;
    Ok(Box::new(Runner { plugin }))
}

struct Runner<P> {
    plugin: P,
}

impl<P: Plugin> Instance for Runner<P> {
    fn handle(&mut self, events: Vec<Event>, bodies: &[u8]) -> Result<(), String> {
        let ctx = Context::new();
        for (position, event) in events.into_iter().enumerate() {
            POSITION.set(Some(position as u32));
            self.one(event, bodies, &ctx)?;
        }
        POSITION.set(None);
        let mark = ctx.staged();
        match self.plugin.on_turn_end(&ctx) {
            Err(error) if error.is_fatal() => Err(error.to_string()),
            Err(error) => {
                ctx.keep(mark);
                crate::warn!("the end of the turn failed: {error}");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn snapshot(&self) -> Result<Vec<u8>, String> {
        self.plugin.snapshot().map_err(|error| error.to_string())
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn plugin(&self) -> &dyn std::any::Any {
        &self.plugin
    }
}

impl<P: Plugin> Runner<P> {
    /// One event; its failure is its own.
    fn one(&mut self, event: Event, bodies: &[u8], ctx: &Context) -> Result<(), String> {
        let mark = ctx.staged();
        let waiting = Waiting::of(&event);
        #[cfg(not(target_arch = "wasm32"))]
        let before = crate::backend::watches_failed_events().then(|| self.plugin.snapshot().ok()).flatten();
        let Err(error) = self.dispatch(event, bodies, ctx) else { return Ok(()) };
        if error.is_fatal() {
            return Err(error.to_string());
        }
        #[cfg(not(target_arch = "wasm32"))]
        if before.is_some_and(|before| self.plugin.snapshot().ok() != Some(before)) {
            crate::backend::note_changed_by_failed_event(&error);
        }
        ctx.keep(mark);
        waiting.fail(ctx, error);
        Ok(())
    }

    fn dispatch(&mut self, event: Event, bodies: &[u8], ctx: &Context) -> Result {
        let plugin = &mut self.plugin;
        match event {
            Event::Message(wire::Message { peer, protocol, body }) => {
                plugin.on_message(Message { peer, protocol, body: slice(bodies, body)? }, ctx)
            }
            Event::Request(wire::Request { peer, protocol, id, timeout_ms, body }) => {
                plugin.on_request(Request { peer, protocol, id, timeout_ms, body: slice(bodies, body)? }, ctx)
            }
            Event::Response(wire::Response { id, outcome }) => {
                let outcome = outcome.map(|body| slice(bodies, body)).transpose_body()?;
                plugin.on_response(Response { id, outcome }, ctx)
            }
            Event::Command(wire::Command { id, caller, name, timeout_ms, body }) => {
                plugin.on_command(Command { id, caller, name, timeout_ms, body: slice(bodies, body)? }, ctx)
            }
            Event::Called(wire::Called { id, outcome }) => {
                let outcome = outcome.map(|body| slice(bodies, body)).transpose_body()?;
                plugin.on_called(Called { id, outcome }, ctx)
            }
            Event::PeerSupported(reachable) => plugin.on_peer_supported(reachable, ctx),
            Event::PeerUnsupported(lane) => plugin.on_peer_unsupported(lane, ctx),
            Event::Congested(lane) => plugin.on_congested(lane, ctx),
            Event::Relieved(lane) => plugin.on_relieved(lane, ctx),
            Event::Undelivered(count) => plugin.on_undelivered(count, ctx),
            Event::Missed(count) => plugin.on_missed(count, ctx),
            Event::Withdrawn(id) => plugin.on_withdrawn(id, ctx),
            Event::Timer(id) => plugin.on_timer(id, ctx),
            Event::Stopping => plugin.on_stopping(ctx),
            Event::Other(wire::Extension { kind, id, body }) => {
                plugin.on_extension(Extension { kind, id, body: slice(bodies, body)? }, ctx)
            }
        }
    }
}

/// A body's bytes. A span beyond the bodies is the host's mistake, and no event of this batch can be trusted then.
fn slice(bodies: &[u8], span: Span) -> Result<&[u8]> {
    let start = span.at as usize;
    start
        .checked_add(span.len as usize)
        .and_then(|end| bodies.get(start..end))
        .ok_or_else(|| Error::fatal(format!("the host named {span:?} in {} bytes of bodies", bodies.len())))
}

/// Turns a body that may be out of range inside an outcome into an outcome that may be out of range.
trait TransposeBody<'a, E> {
    fn transpose_body(self) -> Result<Result<&'a [u8], E>>;
}

impl<'a, E> TransposeBody<'a, E> for Result<Result<&'a [u8]>, E> {
    fn transpose_body(self) -> Result<Result<&'a [u8], E>> {
        match self {
            Ok(body) => body.map(Ok),
            Err(error) => Ok(Err(error)),
        }
    }
}

/// Who waits for an answer to an event, and therefore hears of its failure.
enum Waiting {
    Nobody(&'static str),
    Peer(u64),
    Caller(u64),
}

impl Waiting {
    fn of(event: &Event) -> Self {
        match event {
            Event::Request(request) => Self::Peer(request.id),
            Event::Command(command) => Self::Caller(command.id),
            Event::Message(_) => Self::Nobody("a message"),
            Event::Response(_) => Self::Nobody("a response"),
            Event::Called(_) => Self::Nobody("the outcome of a call"),
            Event::Timer(_) => Self::Nobody("a timer"),
            _ => Self::Nobody("news"),
        }
    }

    fn fail(self, ctx: &Context, error: Error) {
        match self {
            Self::Nobody(what) => crate::warn!("{what} failed: {error}"),
            Self::Peer(request) => {
                crate::debug!("a request failed: {error}");
                ctx.refuse(request, error);
            }
            Self::Caller(command) => {
                crate::debug!("a command failed: {error}");
                ctx.fail(command, error);
            }
        }
    }
}
