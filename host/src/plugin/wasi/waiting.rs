//! `wasi:io/poll` without waiting: what is ready is told, and who would have to wait is ended.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::p2::DynPollable;
use wasmtime_wasi_io::bindings::wasi::io::poll::{self, Host, HostPollable};

/// Puts the functions of this file in the place of those that wait.
pub(super) fn refuse<T: WasiView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    poll::add_to_linker::<T, WithoutWaiting>(linker, |state| Pollables(state.ctx().table))?;
    linker.allow_shadowing(false);
    Ok(())
}

struct WithoutWaiting;

impl HasData for WithoutWaiting {
    type Data<'a> = Pollables<'a>;
}

struct Pollables<'a>(&'a mut ResourceTable);

/// The outcome, if it is there at once.
async fn at_once<T>(outcome: impl Future<Output = wasmtime::Result<T>>) -> wasmtime::Result<T> {
    let mut outcome = pin!(outcome);
    std::future::poll_fn(|cx| {
        Poll::Ready(match outcome.as_mut().poll(cx) {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => Err(wasmtime::format_err!(
                "it waits inside of a turn, which no plugin may, because its mailbox would wait with it: set a timer, and go \
                 on when it fires"
            )),
        })
    })
    .await
}

impl Host for Pollables<'_> {
    async fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> wasmtime::Result<Vec<u32>> {
        at_once(self.0.poll(pollables)).await
    }
}

impl HostPollable for Pollables<'_> {
    async fn block(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        at_once(self.0.block(pollable)).await
    }

    async fn ready(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<bool> {
        self.0.ready(pollable).await
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        HostPollable::drop(self.0, pollable)
    }
}
