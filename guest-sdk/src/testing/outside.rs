//! What a harness for compiled plugins needs of a node beside the imports: the facts that they decide by, and a way to
//! stage what they decided.

use super::{Effect, Imports};
use crate::abi::{PeerId, Protocol, ProtocolKey, SendError};

impl Imports {
    /// What a lane takes before its sends are busy, in bytes, and its largest body.
    ///
    /// # Errors
    /// Why there is no such lane.
    pub fn lane(&self, to: PeerId, protocol: ProtocolKey) -> Result<(usize, u32), SendError> {
        self.node().lane(to, protocol)
    }

    /// The protocols of the plugin, as of the last commit.
    pub fn protocols(&self) -> Vec<Protocol> {
        self.node().protocols.values().cloned().collect()
    }

    /// Requests and commands that wait for an answer.
    pub fn awaited(&self) -> Vec<u64> {
        self.node().open.iter().copied().collect()
    }

    /// Asks and calls that have no outcome yet.
    pub fn asking(&self) -> Vec<u64> {
        let node = self.node();
        node.asks.keys().chain(node.calls.keys()).copied().collect()
    }

    /// A number for an ask or a call, as [`Imports::ask`] draws it.
    pub fn draw_id(&self) -> u64 {
        self.node().new_id()
    }

    /// A send was refused as busy: the plugin waits for `relieved`.
    pub fn wants_room(&self, to: PeerId, protocol: ProtocolKey) {
        self.node().refuse(to, protocol);
    }

    /// Stages what was accepted elsewhere by the same facts, after the checks of the import that it comes from.
    ///
    /// # Errors
    /// When that import would have refused it.
    pub fn stage(&self, effect: Effect) -> Result<(), String> {
        let mut node = self.node();
        let refused = match &effect {
            Effect::Send { to, protocol, body } => {
                // The bytes count once, and with the effect.
                to.iter().find_map(|peer| node.admit(*peer, *protocol, body.len()).err()).map(|why| format!("{why:?}"))
            }
            Effect::Ask { to, protocol, body, .. } => {
                node.admit(*to, *protocol, body.len()).err().map(|why| format!("{why:?}"))
            }
            Effect::Put { key, value } => node.admit_write(key, value).err().map(|why| format!("{why:?}")),
            Effect::Respond { request: id, .. } | Effect::Answer { command: id, .. } => {
                (!node.settle(*id)).then(|| "nobody waits for it".to_owned())
            }
            Effect::Register(protocol) => {
                node.protocols.contains_key(&protocol.key).then(|| "the key is in use".to_owned())
            }
            _ => None,
        };
        match refused {
            Some(why) => Err(why),
            None => {
                node.stage(effect);
                Ok(())
            }
        }
    }
}
