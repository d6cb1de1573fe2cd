//! rust-libp2p over QUIC: streams, requests, gossip.

mod ask;
mod mesh;
mod stream;

use std::time::Duration;

use ::libp2p::futures::StreamExt as _;
use ::libp2p::identity::Keypair;
use ::libp2p::quic::Config;
use ::libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use ::libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use ::libp2p::{Multiaddr, PeerId, Swarm, SwarmBuilder};
use anyhow::Result;

pub use self::ask::Asker;
pub use self::mesh::Mesh;
pub use self::stream::StreamNode;
use super::WINDOW;

/// Links stay, however long others take their turns.
const IDLE: Duration = Duration::from_secs(24 * 60 * 60);

/// A swarm that listens on loopback, and its address.
async fn listening<B: NetworkBehaviour>(
    behaviour: impl FnOnce(&Keypair) -> Result<B>,
) -> Result<(Swarm<B>, Multiaddr)> {
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_quic_config(windows)
        .with_behaviour(|key| Ok(behaviour(key)?))?
        .with_swarm_config(|config| config.with_idle_connection_timeout(IDLE))
        .build();
    swarm.listen_on("/ip4/127.0.0.1/udp/0/quic-v1".parse()?)?;
    loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            return Ok((swarm, address));
        }
    }
}

fn windows(mut config: Config) -> Config {
    config.max_stream_data = WINDOW;
    config
}

/// A dial of this peer, whether or not there is a link already.
fn dial(peer: PeerId, address: Multiaddr) -> DialOpts {
    DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(vec![address]).build()
}
