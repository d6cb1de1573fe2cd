//! What an endpoint tells while it runs: whose key each connection proved, how many handshakes are under way, that
//! a peer's address has changed, and when the endpoint has ended.

use std::sync::Arc;

use s2n_quic::provider::event::events::{ActivePathUpdated, TlsExporterReady, TlsHandshakeFailed};
use s2n_quic::provider::event::{ConnectionInfo, ConnectionMeta, Subscriber};
use tokio::sync::{Notify, oneshot};

use super::pending::{Pending, PendingGuard};
use super::tls;
use crate::peer::PeerId;

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
    moved: Arc<Notify>,
    /// Never used to send: its end says that the endpoint has dropped its listener, which it does last.
    _end: oneshot::Sender<()>,
}

impl Listener {
    /// `moved` is told when a peer's packets begin to come from another address. The second half resolves (to an
    /// error, there is nothing to say) when the endpoint has ended.
    pub(super) fn new(pending: Pending, moved: Arc<Notify>) -> (Self, oneshot::Receiver<()>) {
        let (end, ended) = oneshot::channel();
        (Self { pending, moved, _end: end }, ended)
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

    /// Only says that something moved: whoever is told asks all links where their peers are now, so that no storm of
    /// migrations makes a queue grow. A connection cannot be closed from here anyway.
    fn on_active_path_updated(&mut self, _: &mut Proof, meta: &ConnectionMeta, event: &ActivePathUpdated) {
        tracing::debug!(connection = meta.id, path = ?event.active, "the peer moved");
        self.moved.notify_one();
    }

    fn on_tls_handshake_failed(&mut self, _: &mut Proof, meta: &ConnectionMeta, event: &TlsHandshakeFailed) {
        tracing::debug!(connection = meta.id, error = %event.error, "a handshake failed");
    }
}
