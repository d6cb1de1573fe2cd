//! What a test sees of the plugin: what it sent, asked, stored and said.

use super::TestHost;
use crate::abi::{Manifest, PeerId, ProtocolKey, Verdict};
use crate::testing::{Asked, CallMade, Crash, LogLine, Sent};

impl TestHost {
    // What came out.

    /// The messages sent since the last look.
    pub fn sent(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.sent)
    }

    /// The asks that wait for [`TestHost::respond`].
    pub fn asks(&self) -> Vec<Asked> {
        self.seat.imports.node().asks.values().cloned().collect()
    }

    /// The calls that wait for [`TestHost::return_call`].
    pub fn calls(&self) -> Vec<CallMade> {
        self.seat.imports.node().calls.values().cloned().collect()
    }

    /// What the plugin said about its peers.
    pub fn reports(&self) -> Vec<(PeerId, ProtocolKey, Verdict, String)> {
        self.seat.imports.node().reports.clone()
    }

    /// Whether the plugin has paused this protocol.
    pub fn is_paused(&self, protocol: ProtocolKey) -> bool {
        self.seat.imports.node().paused.contains(&protocol)
    }

    /// The lines logged since the last look.
    pub fn logs(&mut self) -> Vec<LogLine> {
        std::mem::take(&mut self.seat.imports.node().logs).into()
    }

    /// One of the plugin's counters.
    pub fn counter(&self, name: &str) -> u64 {
        self.seat.imports.node().counters.get(name).copied().unwrap_or(0)
    }

    /// One of the plugin's gauges.
    pub fn gauge(&self, name: &str) -> Option<f64> {
        self.seat.imports.node().gauges.get(name).copied()
    }

    /// A committed value of the store.
    pub fn stored(&self, key: impl AsRef<[u8]>) -> Option<Vec<u8>> {
        self.seat.imports.node().store.get(key.as_ref()).cloned()
    }

    /// Bytes of the store in use.
    pub fn used(&self) -> u64 {
        self.seat.imports.node().store.bytes()
    }

    /// The turns that were thrown away since the last look.
    pub fn crashes(&mut self) -> Vec<Crash> {
        std::mem::take(&mut self.crashes)
    }

    /// The running revision's manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.seat.manifest
    }

    /// The node's own id.
    pub fn node(&self) -> PeerId {
        self.seat.imports.node().id
    }

    /// Milliseconds since the Unix epoch, on the test's clock.
    pub fn now_ms(&self) -> u64 {
        self.seat.imports.node().now_ms()
    }
}
