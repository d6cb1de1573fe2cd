//! iroh without relays, discovery and DNS: endpoints that know each other's addresses.

use std::net::Ipv4Addr;
use std::sync::Arc;

use ::iroh::endpoint::{Connection, QuicTransportConfig, RecvStream, SendStream, presets};
use ::iroh::{Endpoint, EndpointAddr, RelayMode};
use anyhow::{Context as _, Result};
use tokio::sync::{Mutex, mpsc};

use super::{WINDOW, crypto};
use crate::node::Node;
use crate::tally::Tally;

const ALPN: &[u8] = b"weir-bench/1";

super::quic::streams!(Endpoint, Connection, SendStream, RecvStream, read_many_chunks);

/// See the module.
pub struct IrohNode {
    endpoint: Endpoint,
    received: Arc<Tally>,
    /// Links that others made, as they come.
    accepted: Mutex<mpsc::Receiver<()>>,
}

impl Node for IrohNode {
    type Link = Connection;

    async fn start() -> Result<Self> {
        let endpoint = Endpoint::builder(presets::Empty)
            .crypto_provider(crypto())
            .relay_mode(RelayMode::Disabled)
            .clear_ip_transports()
            .bind_addr((Ipv4Addr::LOCALHOST, 0))?
            .alpns(vec![ALPN.to_vec()])
            // Every handshake is a whole one.
            .max_tls_tickets(0)
            .transport_config(transport())
            .bind()
            .await?;
        let (tell, accepted) = mpsc::channel(1);
        let received = Arc::<Tally>::default();
        tokio::spawn(accept(endpoint.clone(), received.clone(), tell));
        Ok(Self { endpoint, received, accepted: accepted.into() })
    }

    async fn connect(&self, to: &Self) -> Result<Connection> {
        let mut accepted = to.accepted.lock().await;
        let address = *to.endpoint.bound_sockets().first().context("a socket")?;
        let link = self.endpoint.connect(EndpointAddr::new(to.endpoint.id()).with_ip_addr(address), ALPN).await?;
        accepted.recv().await.context("the endpoint accepts")?;
        Ok(link)
    }

    fn received(&self) -> &Arc<Tally> {
        &self.received
    }
}

impl Drop for IrohNode {
    fn drop(&mut self) {
        let endpoint = self.endpoint.clone();
        // Outside of the runtime there is nobody left to tell.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { endpoint.close().await });
        }
    }
}

fn transport() -> QuicTransportConfig {
    QuicTransportConfig::builder().stream_receive_window(WINDOW.into()).send_window(WINDOW.into()).build()
}
