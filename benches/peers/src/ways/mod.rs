//! The libraries.

mod iroh;
mod libp2p;
mod quic;
mod quinn;

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};

pub use self::iroh::IrohNode;
pub use self::libp2p::{Asker, Mesh, StreamNode};
pub use self::quinn::QuinnNode;

/// How much a stream may have on its way, and how much of it the sender keeps: at each library's default of 1.25 to 10 MB a
/// burst overflows the sockets' buffers on loopback, and quinn looks through all that is kept for each packet it sends.
const WINDOW: u32 = 512 << 10;

/// The crypto of Weir, for libraries that let it be chosen. Named in full, because features of one library would change
/// the defaults of another: here libp2p would make the others' key exchange a post-quantum one, which it is not by itself.
fn crypto() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider { kx_groups: vec![aws_lc_rs::kx_group::X25519], ..aws_lc_rs::default_provider() })
}
