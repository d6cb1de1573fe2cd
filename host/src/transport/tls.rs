//! TLS as Weir uses it: 1.3 only, an Ed25519 raw public key (RFC 7250) on both sides, no resumption.
//!
//! There are no certificates, names or authorities: a peer *is* its key. What is verified is that the other side
//! can sign with the key it shows and, for a dial, that the key is the dialed one. Resumption and tickets are off
//! (they are on by default in rustls), so that every connection proves its peer anew.

use std::sync::Arc;

use ed25519_dalek::VerifyingKey;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, ServerConfig,
    SignatureScheme,
};

use super::dials::Dials;
use crate::identity::NodeKey;
use crate::peer::PeerId;
use crate::wire::ALPN;

/// What stands before the 32 bytes of an Ed25519 key in a SubjectPublicKeyInfo (RFC 8410, 4). DER has no second way
/// to write it, so comparing bytes is parsing it.
const ED25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The peer behind a SubjectPublicKeyInfo: `None` unless it is exactly that of an Ed25519 key that only the owner
/// of its secret half can sign for (for a key of small order, anybody can).
pub(super) fn peer_of(spki: &[u8]) -> Option<PeerId> {
    let bytes: [u8; 32] = spki.strip_prefix(&ED25519_SPKI)?.try_into().ok()?;
    let key = VerifyingKey::from_bytes(&bytes).ok()?;
    (!key.is_weak()).then(|| PeerId::from_bytes(bytes))
}

fn spki_of(peer: &PeerId) -> Vec<u8> {
    [&ED25519_SPKI[..], peer.as_bytes()].concat()
}

/// For the listening endpoint.
///
/// # Errors
/// When the TLS library does not take the key or the versions; it does for every [`NodeKey`].
pub(super) fn server(key: &NodeKey) -> Result<ServerConfig, Error> {
    let provider = provider();
    let resolver = AlwaysResolvesServerRawPublicKeys::new(Arc::new(certified(key)?));
    let verifier = AnyPeer { algorithms: provider.signature_verification_algorithms };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// For the endpoints that dial; `dials` says which key each dial expects.
///
/// # Errors
/// As for [`server`].
pub(super) fn client(key: &NodeKey, dials: Dials) -> Result<ClientConfig, Error> {
    let provider = provider();
    let resolver = AlwaysResolvesClientRawPublicKeys::new(Arc::new(certified(key)?));
    let verifier = DialedPeer { dials, algorithms: provider.signature_verification_algorithms };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    // The server name is the number of the dial and nobody else's business.
    config.enable_sni = false;
    Ok(config)
}

/// Named explicitly, because rustls panics on a default when two providers are linked into a program.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn certified(key: &NodeKey) -> Result<CertifiedKey, Error> {
    let secret = key.to_pkcs8().map_err(|error| Error::General(error.to_string()))?;
    let signing = aws_lc_rs::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(secret.as_bytes()))?;
    // For a raw public key, rustls takes the SubjectPublicKeyInfo in the place of a certificate.
    Ok(CertifiedKey::new(vec![CertificateDer::from(spki_of(&key.peer_id()))], signing))
}

fn shown(spki: &CertificateDer<'_>, rest: &[CertificateDer<'_>]) -> Result<PeerId, Error> {
    peer_of(spki).filter(|_| rest.is_empty()).ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))
}

fn proven(
    message: &[u8],
    spki: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let spki = SubjectPublicKeyInfoDer::from(spki.as_ref());
    verify_tls13_signature_with_raw_key(message, &spki, signature, algorithms)
}

/// TLS 1.2 is never negotiated; this is what the traits want said about it.
fn no_tls12() -> Error {
    PeerIncompatible::Tls13RequiredForQuic.into()
}

/// The listening side takes whoever proves a key; who is welcome is decided above.
#[derive(Debug)]
struct AnyPeer {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for AnyPeer {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        spki: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        shown(spki, rest).map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _spki: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        spki: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        proven(message, spki, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// The dialing side takes the key it dialed.
#[derive(Debug)]
struct DialedPeer {
    dials: Dials,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for DialedPeer {
    fn verify_server_cert(
        &self,
        spki: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let found = shown(spki, rest)?;
        match self.dials.answered(&server_name.to_str(), found) {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _spki: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        spki: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        proven(message, spki, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::SeededEntropy;

    #[test]
    fn only_the_one_encoding_of_a_sound_key_is_a_peer() {
        let peer = NodeKey::generate(&SeededEntropy::from_seed(3)).peer_id();
        let spki = spki_of(&peer);
        assert_eq!(peer_of(&spki), Some(peer));
        assert_eq!(peer_of(&spki[..43]), None, "too short");
        assert_eq!(peer_of(&[&spki[..], &[0]].concat()), None, "too long");
        for at in 0..ED25519_SPKI.len() {
            let mut other = spki.clone();
            other[at] ^= 1;
            assert_eq!(peer_of(&other), None, "another head");
        }
        let mut neutral = [0; 32];
        neutral[0] = 1;
        assert_eq!(peer_of(&spki_of(&PeerId::from_bytes(neutral))), None, "small order");
    }
}
