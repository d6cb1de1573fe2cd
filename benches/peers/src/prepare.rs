//! Which library does which case, and how.

use anyhow::{Context as _, Result};

use crate::ends::{Connecting, Ends, Flows, Pair, StreamEach, Trips};
use crate::ways::{Asker, IrohNode, Mesh, QuinnNode, StreamNode};
use crate::work::{Broadcast, OneWay, RoundTrip, Work};

const QUINN: &str = "quinn";
const IROH: &str = "iroh";
const LIBP2P: &str = "libp2p";

/// The ways of a case, in the order of their turns.
pub type Ways = Vec<(&'static str, Box<dyn Ends>)>;

/// Starts everything that this work needs.
///
/// # Errors
/// What does not start.
pub async fn prepare(work: Work) -> Result<Ways> {
    match work {
        Work::OneWay(work) => flows(work).await,
        Work::StreamEach(work) => stream_each(work).await,
        Work::RoundTrip(work) => trips(work).await,
        Work::Connect(handshakes) => connecting(handshakes).await,
        Work::Broadcast(work) => broadcast(work).await,
    }
}

async fn flows(work: OneWay) -> Result<Ways> {
    Ok(vec![
        (QUINN, Box::new(Flows::<QuinnNode>::start(work).await.context(QUINN)?)),
        (IROH, Box::new(Flows::<IrohNode>::start(work).await.context(IROH)?)),
        (LIBP2P, Box::new(Flows::<StreamNode>::start(work).await.context(LIBP2P)?)),
    ])
}

async fn stream_each(work: OneWay) -> Result<Ways> {
    // Each waits for the last one, so fewer of them show as much.
    let few = OneWay { messages: work.messages.div_ceil(10), ..work };
    Ok(vec![
        (QUINN, Box::new(StreamEach(Pair::<QuinnNode, _>::start(work).await.context(QUINN)?))),
        (IROH, Box::new(StreamEach(Pair::<IrohNode, _>::start(work).await.context(IROH)?))),
        (LIBP2P, Box::new(StreamEach(Pair::<StreamNode, _>::start(few).await.context(LIBP2P)?))),
    ])
}

async fn trips(work: RoundTrip) -> Result<Ways> {
    Ok(vec![
        (QUINN, Box::new(Trips(Pair::<QuinnNode, _>::start(work).await.context(QUINN)?))),
        (IROH, Box::new(Trips(Pair::<IrohNode, _>::start(work).await.context(IROH)?))),
        (LIBP2P, Box::new(Asker::start(work).await.context(LIBP2P)?)),
    ])
}

async fn connecting(handshakes: u64) -> Result<Ways> {
    Ok(vec![
        (QUINN, Box::new(Connecting::<QuinnNode>::start(handshakes).await.context(QUINN)?)),
        (IROH, Box::new(Connecting::<IrohNode>::start(handshakes).await.context(IROH)?)),
        (LIBP2P, Box::new(Connecting::<StreamNode>::start(handshakes).await.context(LIBP2P)?)),
    ])
}

async fn broadcast(work: Broadcast) -> Result<Ways> {
    Ok(vec![(LIBP2P, Box::new(Mesh::start(work).await.context(LIBP2P)?))])
}
