//! Building the manifest: what a plugin is called, which protocols it speaks and what it asks for.

use crate::abi::{Delivery, Manifest, Protocol, ProtocolKey};

impl Manifest {
    /// A plugin without protocols whose store has layout 1. `version` is usually
    /// `env!("CARGO_PKG_VERSION")`.
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            description: String::new(),
            data_version: 1,
            reads_data_from: 1,
            protocols: Vec::new(),
            capabilities: Vec::new(),
            listens: Vec::new(),
            more: Vec::new(),
        }
    }

    /// One sentence for `weir plugin list`.
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = description.into();
        self
    }

    /// Adds a protocol that the host registers when this revision becomes active.
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.protocols.push(protocol);
        self
    }

    /// Asks for something that the operator has to grant, for instance `call:staking`.
    pub fn capability(mut self, capability: impl Into<String>) -> Self {
        self.capabilities.push(capability.into());
        self
    }

    /// The layout of what the store holds, and the oldest layout this version can read.
    pub fn data(mut self, version: u32, reads_from: u32) -> Self {
        (self.data_version, self.reads_data_from) = (version, reads_from);
        self
    }

    /// A kind of extension event that `on_extension` understands.
    pub fn listens(mut self, kind: impl Into<String>) -> Self {
        self.listens.push(kind.into());
        self
    }
}

impl Protocol {
    /// The largest body in bytes unless [`Protocol::max_message`] says otherwise.
    pub const DEFAULT_MAX_MESSAGE: u32 = 64 * 1024;

    /// An ordered protocol. `key` is the plugin's own number for it; `id` reads `/name/version`.
    pub fn new(key: ProtocolKey, id: impl Into<String>) -> Self {
        Self { key, id: id.into(), delivery: Delivery::Ordered, max_message: Self::DEFAULT_MAX_MESSAGE }
    }

    /// Messages may overtake each other, and several streams carry them.
    pub fn unordered(mut self) -> Self {
        self.delivery = Delivery::Unordered;
        self
    }

    /// The largest body in bytes, in either direction.
    pub fn max_message(mut self, bytes: u32) -> Self {
        self.max_message = bytes;
        self
    }
}
