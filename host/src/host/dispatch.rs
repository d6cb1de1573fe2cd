//! Brings news of the connections to the layers above, which never wait.

use tokio::sync::mpsc;

use crate::connection::{ConnectionEvent, ConnectionHandle};
use crate::protocol::ProtocolManager;
use crate::supervisor::{ConnectionSupervisor, PeerPlace};
use crate::transport::Direction;
use crate::wire::{AddressRecord, Hello};

/// Runs until the connections say nothing more.
pub(super) async fn dispatch(
    mut events: mpsc::Receiver<ConnectionEvent>,
    supervisor: ConnectionSupervisor,
    protocols: ProtocolManager,
) {
    while let Some(event) = events.recv().await {
        match &event {
            ConnectionEvent::Up { connection, hello, address, first, .. } => {
                if let Some(place) = place(connection, hello, address.as_ref()) {
                    supervisor.peer_place(place);
                }
                if *first {
                    supervisor.peer_up(connection.peer);
                }
            }
            ConnectionEvent::Down { peer, cause, last: true, .. } => supervisor.peer_down(*peer, cause),
            _ => {}
        }
        protocols.handle(event);
    }
}

/// What a connection told about where its peer is.
fn place(connection: &ConnectionHandle, hello: &Hello, record: Option<&AddressRecord>) -> Option<PeerPlace> {
    let remote = connection.link.remote_address().ok()?;
    let record = hello.address.clone().zip(record.cloned());
    let dialed = (connection.direction == Direction::Outbound).then_some(remote);
    Some(PeerPlace { peer: connection.peer, seen: remote.ip(), dialed, record })
}
