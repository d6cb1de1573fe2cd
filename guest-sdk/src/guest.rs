//! The exported `handler` interface, for any [`Plugin`], and the panic hook that names event and place.

use std::cell::RefCell;
use std::marker::PhantomData;

use crate::Plugin;
use crate::abi::{Event, Init, Manifest};
use crate::bindings::exports::weir::plugin::handler;
use crate::runner::{self, Instance};

thread_local! {
    /// The one instance of this module. A component has one thread, so this is a plain static there.
    static INSTANCE: RefCell<Option<Box<dyn Instance>>> = const { RefCell::new(None) };
}

/// What `weir_sdk::export!` exports for `P`.
#[doc(hidden)]
pub struct Guest<P>(PhantomData<P>);

impl<P: Plugin> handler::Guest for Guest<P> {
    fn describe() -> Manifest {
        P::manifest()
    }

    fn start(init: Init) -> Result<(), String> {
        std::panic::set_hook(Box::new(report_panic));
        #[cfg(feature = "tracing")]
        crate::trace::install();
        let instance = runner::start::<P>(init)?;
        INSTANCE.with_borrow_mut(|place| *place = Some(instance));
        Ok(())
    }

    fn handle(events: Vec<Event>, bodies: Vec<u8>) -> Result<(), String> {
        INSTANCE.with_borrow_mut(|place| match place {
            Some(instance) => instance.handle(events, &bodies),
            None => Err("`handle` was called before `start`".to_owned()),
        })
    }

    fn snapshot() -> Result<Vec<u8>, String> {
        INSTANCE.with_borrow(|place| match place {
            Some(instance) => instance.snapshot(),
            None => Err("`snapshot` was called before `start`".to_owned()),
        })
    }
}

fn report_panic(info: &std::panic::PanicHookInfo<'_>) {
    let message = info.payload_as_str().unwrap_or("a panic without a message");
    let place = info.location().map(|place| place.to_string()).unwrap_or_default();
    crate::backend::log::panicked(runner::position(), message, &place);
}
