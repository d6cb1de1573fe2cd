//! A peer written against `docs/wire.md` with plain s2n-quic, without a line of the host: what it can say is what
//! anybody on the network could say.

mod codec;
mod tls;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use ed25519_dalek::SigningKey;
use s2n_quic::client::Connect;
use s2n_quic::connection::{Handle, StreamAcceptor};
use s2n_quic::stream::{ReceiveStream, SendStream};
use s2n_quic::{Client, Connection};
use tokio::time::timeout;

pub use codec::{Control, Entry, Hello, Outcome, SetChange, frame, header, message, request, varint};

/// How long a step of a test may take before it counts as hung.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A connection to the node under test, before or after hellos.
pub struct RawPeer {
    /// Opens streams.
    pub handle: Handle,
    /// Takes streams.
    pub acceptor: StreamAcceptor,
    /// To the node, on the control stream.
    pub control: SendStream,
    from_node: ReceiveStream,
    unread: Vec<u8>,
    key: SigningKey,
    _client: Client,
}

impl RawPeer {
    /// Shakes hands as the peer with this key and opens the control stream, but says nothing.
    pub async fn connect(node: SocketAddr, seed: u8) -> Result<Self> {
        Self::connect_as(node, [seed; 32]).await
    }

    async fn connect_as(node: SocketAddr, secret: [u8; 32]) -> Result<Self> {
        let key = SigningKey::from_bytes(&secret);
        let (client, connection) = handshake(node, &key).await?;
        let (mut handle, acceptor) = connection.split();
        let (from_node, control) = handle.open_bidirectional_stream().await?.split();
        Ok(Self { handle, acceptor, control, from_node, unread: Vec::new(), key, _client: client })
    }

    /// Connects, says a sound hello with these protocols, and waits until both sides said `Admitted`. Gives the
    /// node's hello.
    pub async fn admitted(node: SocketAddr, seed: u8, protocols: &[&str]) -> Result<(Self, Hello)> {
        Self::admitted_as(node, [seed; 32], Hello::with(u64::from(seed) + 1, protocols)).await
    }

    /// The same with a secret key and a hello of one's own.
    pub async fn admitted_as(node: SocketAddr, secret: [u8; 32], hello: Hello) -> Result<(Self, Hello)> {
        let mut peer = Self::connect_as(node, secret).await?;
        peer.say(&Control::Hello(hello)).await?;
        let Control::Hello(hello) = peer.hear().await? else { bail!("the node's first message is no hello") };
        peer.say(&Control::Admitted).await?;
        match peer.hear().await? {
            Control::Admitted => Ok((peer, hello)),
            other => bail!("not admitted: {other:?}"),
        }
    }

    /// The peer's public key.
    pub fn id(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }

    /// Sends a control message.
    pub async fn say(&mut self, message: &Control) -> Result<()> {
        self.control.send(Bytes::from(codec::control(message)?)).await?;
        Ok(())
    }

    /// The next control message.
    pub async fn hear(&mut self) -> Result<Control> {
        loop {
            if let Some((message, used)) = codec::take_control(&self.unread)? {
                self.unread.drain(..used);
                return Ok(message);
            }
            let chunk = timeout(PATIENCE, self.from_node.receive()).await.context("the node is silent")??;
            self.unread.extend_from_slice(&chunk.context("the node ended its control stream")?);
        }
    }

    /// The next control message that `wanted` takes something from; others are passed over.
    pub async fn hear_until<T>(&mut self, wanted: impl Fn(&Control) -> Option<T>) -> Result<T> {
        loop {
            if let Some(found) = wanted(&self.hear().await?) {
                return Ok(found);
            }
        }
    }

    /// Opens a data stream and writes these bytes first.
    pub async fn open(&mut self, first: Vec<u8>) -> Result<SendStream> {
        let mut stream = timeout(PATIENCE, self.handle.open_send_stream()).await.context("no stream credit")??;
        stream.send(Bytes::from(first)).await?;
        Ok(stream)
    }

    /// Waits until the node closes the connection; the application code, when it is one.
    pub async fn closed(&mut self) -> Result<Option<u64>> {
        loop {
            match timeout(PATIENCE, self.acceptor.accept_receive_stream()).await.context("still open")? {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(Some(0)),
                Err(s2n_quic::connection::Error::Application { error, .. }) => return Ok(Some(*error)),
                Err(_) => return Ok(None),
            }
        }
    }
}

async fn handshake(node: SocketAddr, key: &SigningKey) -> Result<(Client, Connection)> {
    let limits = s2n_quic::provider::limits::Limits::new().with_max_open_local_unidirectional_streams(1 << 16)?;
    let client = Client::builder().with_tls(tls::client(key)?)?.with_limits(limits)?.with_io("127.0.0.1:0")?.start()?;
    let connect = Connect::new(node).with_server_name("weir");
    let connection = timeout(PATIENCE, client.connect(connect)).await.context("no handshake")??;
    Ok((client, connection))
}
