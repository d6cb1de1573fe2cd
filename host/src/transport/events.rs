//! What an endpoint tells while it runs: whose key each connection proved, how many handshakes are under way, and
//! when the endpoint has ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use s2n_quic::provider::event::events::{TlsExporterReady, TlsHandshakeFailed};
use s2n_quic::provider::event::{ConnectionInfo, ConnectionMeta, Subscriber};
use tokio::sync::oneshot;

use super::tls;
use crate::peer::PeerId;

/// Counts the handshakes under way on one endpoint; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Pending(Arc<AtomicU32>);

impl Pending {
    /// How many there are.
    pub(super) fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    fn begin(&self) -> PendingGuard {
        self.0.fetch_add(1, Ordering::Relaxed);
        PendingGuard(self.clone())
    }
}

/// One handshake under way.
#[derive(Debug)]
struct PendingGuard(Pending);

impl Drop for PendingGuard {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is known of one connection. s2n-quic keeps it beside the connection.
#[derive(Debug)]
pub(super) struct Proof {
    /// The key that signed the handshake; there before the connection is handed out.
    pub(super) peer: Option<PeerId>,
    /// Held until the handshake is over. A failed one counts until s2n-quic has forgotten it, because only then
    /// does it cost nothing any more.
    pending: Option<PendingGuard>,
}

/// Listens to one endpoint, which owns it.
#[derive(Debug)]
pub(super) struct Listener {
    pending: Pending,
    /// Never used to send: its end says that the endpoint has dropped its listener, which it does last.
    _end: oneshot::Sender<()>,
}

impl Listener {
    /// The second half resolves (to an error, there is nothing to say) when the endpoint has ended.
    pub(super) fn new(pending: Pending) -> (Self, oneshot::Receiver<()>) {
        let (end, ended) = oneshot::channel();
        (Self { pending, _end: end }, ended)
    }
}

impl Subscriber for Listener {
    type ConnectionContext = Proof;

    fn create_connection_context(&mut self, _: &ConnectionMeta, _: &ConnectionInfo) -> Proof {
        Proof { peer: None, pending: Some(self.pending.begin()) }
    }

    fn on_tls_exporter_ready(&mut self, proof: &mut Proof, _: &ConnectionMeta, event: &TlsExporterReady) {
        let shown = event.session.peer_cert_chain_der().unwrap_or_default();
        proof.peer = shown.first().and_then(|spki| tls::peer_of(spki));
        proof.pending = None;
    }

    fn on_tls_handshake_failed(&mut self, _: &mut Proof, meta: &ConnectionMeta, event: &TlsHandshakeFailed) {
        tracing::debug!(connection = meta.id, error = %event.error, "a handshake failed");
    }
}
