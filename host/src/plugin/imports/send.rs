//! `net.send`, `net.send-all` and `net.ask`, by hand: bodies are read where they lie in the plugin's memory, where generated
//! functions would make a list of each first.

use std::time::Duration;

use bytes::Bytes;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, WasmList};

use crate::plugin::abi::types;
use crate::plugin::abi::weir::plugin::net::SendError;
use crate::plugin::instance::InstanceState;
use crate::plugin::turn::Effect;

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

impl InstanceState {
    /// The lane, if it takes a body of this length now, and the turn does.
    fn may_send(&mut self, to: types::PeerId, key: u32, len: usize) -> Result<usize, SendError> {
        let lane = self.lane(to, key)?;
        self.staged.lanes.accept(lane, len)?;
        if self.staged.fits(len) { Ok(lane) } else { Err(SendError::OverBudget) }
    }

    /// The lane, if it takes a request of this length now.
    fn may_ask(&mut self, to: types::PeerId, key: u32, len: usize) -> Result<usize, SendError> {
        if self.open_asks() >= self.policy.open_asks as usize {
            return Err(SendError::OverBudget);
        }
        self.may_send(to, key, len)
    }
}

type Sent = (Result<(), SendError>,);

fn send(mut store: Store<'_>, (to, key, body): (types::PeerId, u32, WasmList<u8>)) -> wasmtime::Result<Sent> {
    let lane = match store.data_mut().may_send(to, key, body.len()) {
        Ok(lane) => lane,
        Err(refused) => return Ok((Err(refused),)),
    };
    let body = copy(&mut store, &body);
    store.data_mut().stage(Effect::Message { lane, body })?;
    Ok((Ok(()),))
}

type Refused = (Vec<(u32, SendError)>,);

fn send_all(
    mut store: Store<'_>,
    (to, key, body): (Vec<types::PeerId>, u32, WasmList<u8>),
) -> wasmtime::Result<Refused> {
    if !store.data().staged.fits(body.len()) {
        let everyone = 0..u32::try_from(to.len()).unwrap_or(u32::MAX);
        return Ok((everyone.map(|at| (at, SendError::OverBudget)).collect(),));
    }
    let body = copy(&mut store, &body);
    let state = store.data_mut();
    let lanes: Vec<_> = to.into_iter().map(|to| state.lane(to, key)).collect();
    let refused = state.staged.push_all(lanes, body);
    Ok((refused.map_err(|_| wasmtime::format_err!("a body that fits the budget was refused for it"))?,))
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
    let state = store.data_mut();
    let id = state.home.network().next_ask();
    let timeout = Duration::from_millis(timeout_ms.into());
    state.stage(Effect::Ask { lane, id, timeout, body })?;
    Ok((Ok(id.0),))
}

/// A copy of the body, among the others of the turn.
fn copy(store: &mut Store<'_>, body: &WasmList<u8>) -> Bytes {
    // Taken out meanwhile, because the plugin's memory and its state cannot both be borrowed.
    let mut bodies = std::mem::take(&mut store.data_mut().staged.bodies);
    let copied = bodies.copy(body.as_le_slice(&*store));
    store.data_mut().staged.bodies = bodies;
    copied
}
