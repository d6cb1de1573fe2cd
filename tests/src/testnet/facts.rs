//! What a host's imports ask while compiled code runs under the kit: lanes, ids, dates and random numbers of the node that is
//! entered on this thread.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;
use weir_host::peer::PeerId;
use weir_host::plugin::Signer;
use weir_host::protocol::{
    AskId, Handler, LaneStatus, Network, Outgoing, ProtocolId, ProtocolSpec, Reachable, RegisterError, RequestToken,
    SendError,
};
use weir_host::runtime::{Clock, Entropy};
use weir_host::wire::Failure;
use weir_sdk::abi;
use weir_sdk::testing::Imports;

use super::convert;

thread_local! {
    static CURRENT: RefCell<Vec<Imports>> = const { RefCell::new(Vec::new()) };
}

/// Leaves the node again when dropped.
pub(super) struct Entered(());

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.with_borrow_mut(|nodes| drop(nodes.pop()));
    }
}

/// Makes a node the one that compiled code on this thread acts on.
pub(super) fn enter(imports: &Imports) -> Entered {
    CURRENT.with_borrow_mut(|nodes| nodes.push(imports.clone()));
    Entered(())
}

/// None outside of a call: while a file is compiled.
fn on<R>(ask: impl FnOnce(&Imports) -> R) -> Option<R> {
    CURRENT.with_borrow(|nodes| nodes.last().map(ask))
}

/// The node's clock.
pub(super) struct KitClock;

impl Clock for KitClock {
    fn unix_ms(&self) -> u64 {
        on(Imports::now).unwrap_or(0)
    }

    fn micros_since(&self, _: Instant) -> u64 {
        on(Imports::monotonic).unwrap_or(0)
    }
}

/// The node's random numbers.
pub(super) struct KitEntropy;

impl Entropy for KitEntropy {
    fn fill(&self, out: &mut [u8]) {
        let len = u32::try_from(out.len()).unwrap_or(u32::MAX);
        if let Some(bytes) = on(|imports| imports.random_bytes(len)) {
            out.copy_from_slice(&bytes);
        }
    }

    fn number(&self) -> u64 {
        on(Imports::random_number).unwrap_or(0)
    }
}

/// The node's key. The label that the host puts before a plugin's message is the kit's as well.
pub(super) struct KitKey;

impl Signer for KitKey {
    fn sign(&self, labelled: &[u8]) -> [u8; 64] {
        let message = labelled.iter().position(|byte| *byte == 0).map(|end| &labelled[end + 1..]);
        let signature = message.and_then(|message| on(|imports| imports.sign(message)));
        signature.and_then(|signature| signature.try_into().ok()).unwrap_or([0; 64])
    }
}

/// The node's lanes and numbers. What leaves goes through the kit, so nothing is committed here.
pub(super) struct KitNetwork;

impl Network for KitNetwork {
    fn node(&self) -> PeerId {
        PeerId::from_bytes([0; 32])
    }

    fn lane(&self, to: &PeerId, protocol: &ProtocolId) -> Result<LaneStatus, SendError> {
        let found = on(|imports| {
            let protocols = imports.protocols();
            let key = protocols.iter().find(|of| of.id == protocol.to_string())?.key;
            Some(imports.lane(convert::to_sdk(*to), key))
        });
        match found.flatten() {
            Some(Ok((room, max_message))) => Ok(LaneStatus { room, shared: usize::MAX, max_message }),
            Some(Err(abi::SendError::NotConnected)) => Err(SendError::NotConnected),
            Some(Err(abi::SendError::Unsupported)) => Err(SendError::Unsupported),
            _ => Err(SendError::Closed),
        }
    }

    fn next_ask(&self) -> AskId {
        AskId(on(Imports::draw_id).unwrap_or(0))
    }

    fn awaits(&self, request: RequestToken) -> bool {
        on(|imports| imports.awaited().contains(&request.0)).unwrap_or(false)
    }

    fn owner(&self, _: &ProtocolId) -> Option<String> {
        None
    }

    fn reachable(&self, _: &ProtocolId) -> Vec<Reachable> {
        Vec::new()
    }

    fn commit(&self, _: &PeerId, _: &ProtocolId, _: Vec<Outgoing>) {}

    fn wants_room(&self, _: &PeerId, _: &ProtocolId) {}

    fn settled<'a>(&'a self, _: &'a ProtocolId) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(std::future::ready(()))
    }

    fn cancel(&self, _: AskId) {}

    fn respond(&self, _: RequestToken, _: Result<Bytes, Failure>) -> bool {
        false
    }

    fn register(&self, _: ProtocolSpec, _: &str, _: Arc<dyn Handler>) -> Result<(), RegisterError> {
        Ok(())
    }

    fn replace(&self, _: &ProtocolId, _: &str, _: Arc<dyn Handler>) -> Result<(), RegisterError> {
        Ok(())
    }

    fn unregister(&self, _: &ProtocolId) {}
}
