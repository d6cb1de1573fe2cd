//! `net.send`, `net.send-all` and `net.ask` once more, by hand: bodies are read where they lie in the plugin's memory,
//! where the generated functions would make a list of each first.

use bytes::Bytes;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, WasmList};

use crate::plugin::abi::types;
use crate::plugin::abi::weir::plugin::net::SendError;
use crate::plugin::instance::InstanceState;

type Store<'a> = StoreContextMut<'a, InstanceState>;

/// Puts them in the place of the generated ones.
pub(in crate::plugin) fn add_to_linker(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut net = linker.instance("weir:plugin/net@0.1.0")?;
    net.func_wrap("send", send)?;
    net.func_wrap("send-all", send_all)?;
    net.func_wrap("ask", ask)?;
    linker.allow_shadowing(false);
    Ok(())
}

type Sent = (Result<(), SendError>,);

fn send(mut store: Store<'_>, (to, key, body): (types::PeerId, u32, WasmList<u8>)) -> wasmtime::Result<Sent> {
    let lane = store.data_mut().may_send(to, key, body.len());
    let sent = lane.and_then(|lane| {
        let body = copy(&mut store, &body);
        store.data_mut().stage_message(lane, body)
    });
    Ok((sent,))
}

type Refused = (Vec<(u32, SendError)>,);

fn send_all(
    mut store: Store<'_>,
    (to, key, body): (Vec<types::PeerId>, u32, WasmList<u8>),
) -> wasmtime::Result<Refused> {
    if !store.data().staged.fits(body.len()) {
        return Ok((all_refused(&to),));
    }
    let body = copy(&mut store, &body);
    Ok((store.data_mut().stage_for_all(to, key, body)?,))
}

type Asked = (Result<u64, SendError>,);

fn ask(
    mut store: Store<'_>,
    (to, key, timeout_ms, body): (types::PeerId, u32, u32, WasmList<u8>),
) -> wasmtime::Result<Asked> {
    let lane = match store.data_mut().may_ask(to, key, body.len()) {
        Ok(lane) => lane,
        Err(refused) => return Ok((Err(refused),)),
    };
    let body = copy(&mut store, &body);
    Ok((Ok(store.data_mut().stage_ask(lane, timeout_ms, body)?),))
}

/// A copy of the body, among the others of the turn.
fn copy(store: &mut Store<'_>, body: &WasmList<u8>) -> Bytes {
    // Taken out meanwhile, because the plugin's memory and its state cannot both be borrowed.
    let mut bodies = std::mem::take(&mut store.data_mut().staged.bodies);
    let copied = bodies.copy(body.as_le_slice(&*store));
    store.data_mut().staged.bodies = bodies;
    copied
}

/// Nothing fits the turn's budget.
pub(super) fn all_refused(to: &[types::PeerId]) -> Vec<(u32, SendError)> {
    let everyone = 0..u32::try_from(to.len()).unwrap_or(u32::MAX);
    everyone.map(|at| (at, SendError::OverBudget)).collect()
}
