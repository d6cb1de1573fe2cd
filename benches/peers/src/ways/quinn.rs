//! quinn by itself, with a self-signed certificate on both sides.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ::quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use ::quinn::{ClientConfig, Connection, Endpoint, RecvStream, SendStream, ServerConfig, TransportConfig};
use anyhow::{Context as _, Result};
use rustls::RootCertStore;
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use tokio::sync::{Mutex, mpsc};

use super::{WINDOW, crypto};
use crate::node::Node;
use crate::tally::Tally;

const NAME: &str = "localhost";
/// Well below the 30 seconds after which quinn gives up a quiet link: others take their turns meanwhile.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

super::quic::streams!(Endpoint, Connection, SendStream, RecvStream, read_chunks);

/// See the module.
pub struct QuinnNode {
    endpoint: Endpoint,
    received: Arc<Tally>,
    /// Links that others made, as they come.
    accepted: Mutex<mpsc::Receiver<()>>,
}

impl Node for QuinnNode {
    type Link = Connection;

    async fn start() -> Result<Self> {
        let identity = Identity::get()?;
        let mut endpoint = Endpoint::server(identity.server()?, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        endpoint.set_default_client_config(identity.client()?);
        let (tell, accepted) = mpsc::channel(1);
        let received = Arc::<Tally>::default();
        tokio::spawn(accept(endpoint.clone(), received.clone(), tell));
        Ok(Self { endpoint, received, accepted: accepted.into() })
    }

    async fn connect(&self, to: &Self) -> Result<Connection> {
        let mut accepted = to.accepted.lock().await;
        let link = self.endpoint.connect(to.endpoint.local_addr()?, NAME)?.await?;
        accepted.recv().await.context("the endpoint accepts")?;
        Ok(link)
    }

    fn received(&self) -> &Arc<Tally> {
        &self.received
    }
}

impl Drop for QuinnNode {
    fn drop(&mut self) {
        self.endpoint.close(0u32.into(), b"");
    }
}

/// The one key and certificate of all nodes here, which are in one process: each proves it and checks the other's.
struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
}

impl Identity {
    fn get() -> Result<&'static Self> {
        static ONE: OnceLock<Identity> = OnceLock::new();
        if ONE.get().is_none() {
            let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519)?;
            let certificate = rcgen::CertificateParams::new([NAME.to_owned()])?.self_signed(&pair)?;
            let one = Self { certificate: certificate.into(), key: pair.serialize_der().into() };
            // Whoever was first has made one.
            let _ = ONE.set(one);
        }
        ONE.get().context("an identity")
    }

    fn roots(&self) -> Result<Arc<RootCertStore>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone())?;
        Ok(roots.into())
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        self.key.clone_key().into()
    }

    fn server(&self) -> Result<ServerConfig> {
        let verifier = WebPkiClientVerifier::builder_with_provider(self.roots()?, crypto()).build()?;
        let mut tls = rustls::ServerConfig::builder_with_provider(crypto())
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![self.certificate.clone()], self.key())?;
        tls.send_tls13_tickets = 0;
        let mut server = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
        server.transport_config(transport());
        Ok(server)
    }

    fn client(&self) -> Result<ClientConfig> {
        let mut tls = rustls::ClientConfig::builder_with_provider(crypto())
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(self.roots()?)
            .with_client_auth_cert(vec![self.certificate.clone()], self.key())?;
        tls.resumption = Resumption::disabled();
        let mut client = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
        client.transport_config(transport());
        Ok(client)
    }
}

fn transport() -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport.keep_alive_interval(Some(KEEP_ALIVE));
    transport.stream_receive_window(WINDOW.into()).send_window(WINDOW.into());
    transport.into()
}
