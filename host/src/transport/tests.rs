//! The transport over real sockets on loopback.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::net::UdpSocket;

use super::dials::Dials;
use super::testing::{TestNode, config, pair, pair_with, soon};
use super::*;
use crate::identity::NodeKey;
use crate::peer::{PeerAddr, PeerId};
use crate::runtime::SeededEntropy;
use crate::wire::{ALPN, CloseCode, StopCode};

type Outcome = Result<(), Box<dyn std::error::Error>>;

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_see_the_others_key() -> Outcome {
    let (alice, mut bob) = (TestNode::start(1), TestNode::start(2));
    let dialed = soon(alice.transport.dial(bob.address())).await?;
    let accepted = bob.accept().await;
    assert_eq!((dialed.peer, dialed.direction), (bob.transport.peer_id(), Direction::Outbound));
    assert_eq!((accepted.peer, accepted.direction), (alice.transport.peer_id(), Direction::Inbound));
    assert_eq!(dialed.handle.remote_address()?, bob.transport.local_address());
    assert_ne!(accepted.handle.remote_address()?, alice.transport.local_address(), "another socket dials");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ipv6_is_dialed_from_a_socket_of_its_own() -> Outcome {
    let alice = TestNode::start(1);
    let Ok((bob, mut incoming)) = Transport::bind(TransportConfig { listen: "[::1]:0".parse()?, ..config(2) }) else {
        return Ok(()); // A machine without IPv6.
    };
    let v4 = TestNode::start(3);
    soon(alice.transport.dial(v4.address())).await?;
    // Kept, or it is closed before it is accepted.
    let _link = soon(alice.transport.dial(PeerAddr { peer: bob.peer_id(), address: bob.local_address() })).await?;
    assert_eq!(soon(incoming.accept()).await.map(|link| link.peer), Some(alice.transport.peer_id()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_than_the_dialed_one_is_named_beside_it() {
    let (alice, mut bob) = (TestNode::start(1), TestNode::start(2));
    let expected = NodeKey::generate(&SeededEntropy::from_seed(3)).peer_id();
    let wrong = PeerAddr { peer: expected, ..bob.address() };
    let error = soon(alice.transport.dial(wrong)).await.expect_err("another key answers");
    let text = error.to_string();
    assert!(matches!(error, DialError::WrongPeer { .. }), "{text}");
    for part in [expected.to_string(), bob.transport.peer_id().to_string(), bob.address().address.to_string()] {
        assert!(text.contains(&part), "{text}");
    }
    // The listening side saw no link from it: the next one is that of another node.
    let carol = TestNode::start(4);
    let _link = soon(carol.transport.dial(bob.address())).await.expect("a right dial");
    assert_eq!(bob.accept().await.peer, carol.transport.peer_id());
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_that_cannot_be_are_refused_without_a_packet() {
    let alice = TestNode::start(1);
    let own = alice.transport.dial(alice.address()).await;
    assert!(matches!(own, Err(DialError::OwnId(_))));
    let peer = PeerId::from_bytes([9; 32]);
    for address in ["127.0.0.1:0", "0.0.0.0:4433", "224.0.0.1:4433", "[::]:4433"] {
        let to = PeerAddr { peer, address: address.parse().expect("an address") };
        assert!(matches!(alice.transport.dial(to).await, Err(DialError::Address { .. })), "{to}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dial_that_nobody_answers_ends_at_its_deadline() -> Outcome {
    let silent = UdpSocket::bind("127.0.0.1:0").await?;
    let alice = TestNode::start_with(TransportConfig { handshake_timeout: Duration::from_millis(200), ..config(1) });
    let to = PeerAddr { peer: PeerId::from_bytes([9; 32]), address: silent.local_addr()? };
    let error = soon(alice.transport.dial(to)).await.expect_err("nobody answers");
    assert!(matches!(error, DialError::Timeout { .. }), "{error}");
    assert!(error.to_string().contains(&to.to_string()), "{error}");
    Ok(())
}

/// First packets of `count` real handshakes, each of which goes no further.
async fn first_packets(count: usize) -> Result<Vec<Vec<u8>>, Box<dyn std::error::Error>> {
    let mut packets = Vec::new();
    for _ in 0..count {
        let trap = UdpSocket::bind("127.0.0.1:0").await?;
        let dialer = TestNode::start(9);
        let to = PeerAddr { peer: PeerId::from_bytes([9; 32]), address: trap.local_addr()? };
        let mut packet = vec![0; 2_000];
        let length = tokio::select! {
            _ = dialer.transport.dial(to) => return Err("the trap answered".into()),
            length = soon(trap.recv(&mut packet)) => length?,
        };
        packet.truncate(length);
        packets.push(packet);
    }
    Ok(packets)
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_clients_delay_nobody_and_cannot_take_all_places() -> Outcome {
    // Four places: two for anybody, two for whoever answers a Retry.
    let mut bob = TestNode::start_with(TransportConfig { max_pending_handshakes: 4, ..config(2) });
    let silent = UdpSocket::bind("127.0.0.1:0").await?;
    for packet in first_packets(8).await? {
        silent.send_to(&packet, bob.transport.local_address()).await?;
        silent.send_to(b"no QUIC at all", bob.transport.local_address()).await?;
    }
    let alice = TestNode::start(1);
    let begin = Instant::now();
    for _ in 0..4 {
        let _link = soon(alice.transport.dial(bob.address())).await?;
        assert_eq!(bob.accept().await.peer, alice.transport.peer_id());
    }
    assert!(begin.elapsed() < Duration::from_secs(5), "took {:?}", begin.elapsed());
    Ok(())
}

/// Believes any server.
#[derive(Debug)]
struct Credulous;

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// A client of its own making tries to connect and to be served; how it learns that it is not.
async fn foreign(tls: ClientConfig, server_name: &str, to: SocketAddr) -> Result<String, Box<dyn std::error::Error>> {
    // What a listener cannot agree with in a first packet it leaves unanswered.
    let limits = s2n_quic::provider::limits::Limits::new().with_max_handshake_duration(Duration::from_secs(1))?;
    let client = s2n_quic::Client::builder()
        .with_io(SocketAddr::from(([127, 0, 0, 1], 0)))?
        .with_limits(limits)?
        .with_tls(s2n_quic::provider::tls::rustls::Client::from(tls))?
        .start()?;
    let connect = s2n_quic::client::Connect::new(to).with_server_name(server_name);
    match soon(client.connect(connect)).await {
        Err(error) => Ok(error.to_string()),
        // In TLS 1.3 the client's handshake ends before the server has seen the client's certificate.
        Ok(mut connection) => match soon(connection.accept_receive_stream()).await {
            Err(error) => Ok(error.to_string()),
            Ok(_) => Err("was served".into()),
        },
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_a_key_or_with_another_protocol_is_refused() -> Outcome {
    let mut bob = TestNode::start(2);
    let address = bob.transport.local_address();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut anonymous = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous))
        .with_no_client_auth();
    anonymous.alpn_protocols = vec![ALPN.to_vec()];
    foreign(anonymous, "localhost", address).await?;

    let dials = Dials::default();
    let ticket = dials.begin(bob.transport.peer_id());
    let key = NodeKey::generate(&SeededEntropy::from_seed(5));
    let mut stranger = tls::client(&key, dials.clone())?;
    stranger.alpn_protocols = vec![b"h3".to_vec()];
    foreign(stranger, &ticket.server_name(), address).await?;

    let alice = TestNode::start(1);
    let _link = soon(alice.transport.dial(bob.address())).await?;
    assert_eq!(bob.accept().await.peer, alice.transport.peer_id(), "neither of the two came through");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn close_codes_arrive_and_closing_waits_until_they_are_sent() -> Outcome {
    let (mut alice, mut bob) = (TestNode::start(1), TestNode::start(2));
    let mut dialed = soon(alice.transport.dial(bob.address())).await?;
    let accepted = bob.accept().await;
    let mut acceptor = accepted.acceptor;
    accepted.handle.close(CloseCode::Shutdown);
    let seen = soon(dialed.acceptor.accept_receive_stream()).await.expect_err("closed");
    assert_eq!(seen, LinkError::Closed { code: CloseCode::Shutdown, local: false });
    let own = soon(acceptor.accept_control_stream()).await.expect_err("closed");
    assert_eq!(own, LinkError::Closed { code: CloseCode::Shutdown, local: true });
    assert!(matches!(soon(dialed.handle.open_send_stream()).await, Err(LinkError::Closed { .. })));

    assert!(bob.transport.close(Duration::from_secs(10)).await, "the farewells are sent in time");
    assert!(soon(bob.incoming.accept()).await.is_none());
    assert!(matches!(bob.transport.dial(alice.address()).await, Err(DialError::Closing)));
    assert!(alice.transport.close(Duration::from_secs(10)).await, "idle endpoints end too");
    assert!(soon(alice.incoming.accept()).await.is_none());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_transport_gives_its_port_back_and_a_taken_one_is_named() -> Outcome {
    let first = TestNode::start(1);
    let taken = TransportConfig { listen: first.transport.local_address(), ..config(2) };
    let error = Transport::bind(taken.clone()).map(|_| ()).expect_err("the port is taken");
    assert!(error.to_string().contains("another program has this port"), "{error}");
    assert!(first.transport.close(Duration::from_secs(10)).await);
    let again = async {
        while Transport::bind(taken.clone()).is_err() {
            tokio::task::yield_now().await;
        }
    };
    soon(again).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn useless_configurations_are_refused() {
    let slow = TransportConfig { keep_alive: Duration::from_secs(20), ..config(1) };
    assert!(matches!(Transport::bind(slow), Err(BindError::KeepAlive { .. })));
    let closed = TransportConfig { max_pending_handshakes: 0, ..config(1) };
    assert!(matches!(Transport::bind(closed), Err(BindError::NoHandshakes)));
    let limits = StreamLimits { send_buffer: 0, ..StreamLimits::default() };
    assert!(matches!(Transport::bind(TransportConfig { limits, ..config(1) }), Err(BindError::Limits(_))));
}

/// Bytes that tell their place.
fn pattern(from: usize, length: usize) -> Bytes {
    (from..from + length).map(|at| (at % 251) as u8).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_that_are_dropped_again_and_again_lose_and_repeat_nothing() -> Outcome {
    let (mut alice, mut bob) = pair().await;
    let lengths = [0, 1, MAX_CHUNK, MAX_CHUNK + 1, 3, 1 << 20, 700, 0, 100_000];
    let total: usize = lengths.iter().sum();
    let writer = tokio::spawn(async move {
        let mut stream = alice.handle.open_send_stream().await?;
        let mut from = 0;
        let mut chunks = lengths.map(|length| {
            from += length;
            pattern(from - length, length)
        });
        // A deadline that has passed lets the write be polled once and drops it.
        while tokio::time::timeout(Duration::ZERO, stream.write(&mut chunks)).await.is_err() {
            tokio::task::yield_now().await;
        }
        assert!(chunks.iter().all(Bytes::is_empty));
        stream.finish()?;
        stream.flush().await
    });
    let mut stream = soon(bob.acceptor.accept_receive_stream()).await?.ok_or("no stream")?;
    let (mut read, mut open) = (Vec::new(), true);
    while open {
        open = soon(stream.read_many(&mut read)).await?;
    }
    assert_eq!(read.concat(), pattern(0, total));
    assert!(!soon(stream.read_many(&mut read)).await?, "an end stays an end");
    soon(writer).await??;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_stream_runs_freely_while_all_others_are_full() -> Outcome {
    let limits = StreamLimits { max_streams: 8, stream_window: 64 << 10, ..StreamLimits::default() };
    let (mut alice, mut bob) = pair_with(limits).await;
    let mut unread = Vec::new();
    for _ in 1..limits.max_streams {
        let mut sending = soon(alice.handle.open_send_stream()).await?;
        let filler = async {
            loop {
                sending.write(&mut [pattern(0, 4_096)]).await?;
            }
        };
        let full: Result<Result<(), StreamError>, _> = tokio::time::timeout(Duration::from_millis(50), filler).await;
        assert!(full.is_err(), "the window and the buffer end");
        unread.push((sending, soon(bob.acceptor.accept_receive_stream()).await?));
    }
    let mut free = soon(alice.handle.open_send_stream()).await?;
    let writer = tokio::spawn(async move {
        free.write(&mut [pattern(0, 4 << 20)]).await?;
        free.finish()?;
        free.flush().await
    });
    let mut stream = soon(bob.acceptor.accept_receive_stream()).await?.ok_or("no stream")?;
    let mut length = 0;
    while let Some(chunk) = soon(stream.read()).await? {
        length += chunk.len();
    }
    assert_eq!(length, 4 << 20);
    soon(writer).await??;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_stream_tells_its_sender_why() -> Outcome {
    let (mut alice, mut bob) = pair().await;
    let mut control = soon(alice.handle.open_control_stream()).await?;
    control.send.write(&mut [Bytes::from_static(b"hello")]).await?;
    let mut other = soon(bob.acceptor.accept_control_stream()).await?.ok_or("no control stream")?;
    assert_eq!(soon(other.receive.read()).await?.as_deref(), Some(&b"hello"[..]));

    let mut sending = soon(alice.handle.open_send_stream()).await?;
    sending.write(&mut [pattern(0, 10)]).await?;
    let mut receiving = soon(bob.acceptor.accept_receive_stream()).await?.ok_or("no stream")?;
    receiving.stop(StopCode::Unregistered);
    let stopped = async {
        loop {
            if let Err(error) = sending.write(&mut [pattern(0, 4_096)]).await {
                return error;
            }
        }
    };
    assert_eq!(soon(stopped).await, StreamError::Stopped(StopCode::Unregistered));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_source_that_knocks_holds_up_no_other() -> Outcome {
    // Of one source four handshakes: two for anybody, two for whoever answers a Retry.
    let limits = TransportConfig { max_pending_per_source: 4, limit_loopback: true, ..config(2) };
    let mut bob = TestNode::start_with(limits);
    let silent = UdpSocket::bind("127.0.0.2:0").await?;
    for packet in first_packets(8).await? {
        silent.send_to(&packet, bob.transport.local_address()).await?;
    }
    let alice = TestNode::start(1);
    let _link = soon(alice.transport.dial(bob.address())).await?;
    assert_eq!(bob.accept().await.peer, alice.transport.peer_id());
    // One socket, one order: what was sent before the dial was looked at before it.
    let pending = bob.transport.pending_handshakes();
    assert_eq!((pending.all, pending.most_of_one_source), (2, 2), "the rest was asked to prove its address");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_address_gets_no_answer_and_costs_nothing() -> Outcome {
    let mut lists = AccessLists::default();
    lists.block.insert("127.0.0.0/8".parse()?);
    let bob = TestNode::start_with(TransportConfig { access: Access::new(lists), ..config(2) });
    let alice = TestNode::start_with(TransportConfig { handshake_timeout: Duration::from_millis(300), ..config(1) });
    let error = soon(alice.transport.dial(bob.address())).await.expect_err("left unanswered");
    assert!(matches!(error, DialError::Timeout { .. }), "{error}");
    assert_eq!(bob.transport.pending_handshakes(), PendingHandshakes::default());
    bob.transport.access().replace(AccessLists::default());
    soon(alice.transport.dial(bob.address())).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_moves_is_told_with_its_new_address() -> Outcome {
    let (alice, mut bob) = (TestNode::start(1), TestNode::start(2));
    let relay = relay::Relay::start(bob.transport.local_address()).await?;
    let mut dialed = soon(alice.transport.dial(PeerAddr { address: relay.address(), ..bob.address() })).await?;
    let accepted = bob.accept().await;
    assert_eq!(accepted.handle.remote_address()?.ip().to_string(), "127.0.0.1");
    relay.move_to([127, 0, 0, 2]);
    dialed.handle.ping()?;
    soon(bob.transport.moved()).await;
    assert_eq!(accepted.handle.remote_address()?.ip().to_string(), "127.0.0.2");
    Ok(())
}
