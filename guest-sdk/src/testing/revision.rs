//! What a test can run as a plugin: native code, or anything else that speaks the ABI's types.

use std::any::Any;
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;

use super::Imports;
use super::node::Trap;
use crate::abi::{Event, Init, Manifest};
use crate::runner::{self, Instance};
use crate::{Plugin, backend};

/// Why a call into a plugin failed. Its turn is thrown away with the instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The position in the batch of the event that was being handled, if it was one and the plugin could tell: it
    /// panicked.
    pub event: Option<u32>,
    /// What the panic or the error said.
    pub message: String,
}

/// One revision of a plugin: makes instances.
///
/// [`Native`] is the one for Rust plugins. A harness that has a host's instance wrapper implements it for compiled
/// ones, and then [`super::TestNet`] runs both under one scheduler.
pub trait Revision {
    /// Who it is.
    fn manifest(&self) -> Manifest;

    /// Makes an instance and runs its `start`. What it stages goes to `imports`.
    ///
    /// # Errors
    /// When `start` failed; nothing of it may be used then.
    fn start(&self, init: Init, imports: &Imports) -> Result<Box<dyn Running>, Fault>;
}

/// One instance.
pub trait Running {
    /// One turn. What it stages goes to `imports`.
    ///
    /// # Errors
    /// When the turn failed; the instance is not used again.
    fn handle(&mut self, events: Vec<Event>, bodies: &[u8], imports: &Imports) -> Result<(), Fault>;

    /// What `snapshot` returns.
    ///
    /// # Errors
    /// When there is none.
    fn snapshot(&mut self, imports: &Imports) -> Result<Vec<u8>, String>;

    /// The plugin itself, where it is native.
    fn plugin(&self) -> Option<&dyn Any> {
        None
    }
}

/// The revision that a Rust type is.
pub struct Native<P>(PhantomData<P>);

impl<P> Default for Native<P> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<P: Plugin> Revision for Native<P> {
    fn manifest(&self) -> Manifest {
        P::manifest()
    }

    fn start(&self, init: Init, imports: &Imports) -> Result<Box<dyn Running>, Fault> {
        let instance = guarded(imports, || runner::start::<P>(init))?;
        Ok(Box::new(NativeInstance(instance)))
    }
}

struct NativeInstance(Box<dyn Instance>);

impl Running for NativeInstance {
    fn handle(&mut self, events: Vec<Event>, bodies: &[u8], imports: &Imports) -> Result<(), Fault> {
        guarded(imports, || self.0.handle(events, bodies))
    }

    fn snapshot(&mut self, imports: &Imports) -> Result<Vec<u8>, String> {
        let _entered = backend::enter(imports.clone());
        self.0.snapshot()
    }

    fn plugin(&self) -> Option<&dyn Any> {
        Some(self.0.plugin())
    }
}

/// Runs plugin code on a node; a panic becomes an error.
fn guarded<R>(imports: &Imports, run: impl FnOnce() -> Result<R, String>) -> Result<R, Fault> {
    let _entered = backend::enter(imports.clone());
    match std::panic::catch_unwind(AssertUnwindSafe(run)) {
        // As a host has it: only the panic hook tells the position.
        Ok(outcome) => outcome.map_err(|message| Fault { event: None, message }),
        Err(payload) => {
            if let Some(Trap(message)) = payload.downcast_ref() {
                return Err(Fault { event: None, message: message.clone() });
            }
            let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
            let message = text.unwrap_or_else(|| "a panic without a message".to_owned());
            Err(Fault { event: runner::position(), message })
        }
    }
}
