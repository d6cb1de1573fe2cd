//! libp2p's request-response, with messages as plain bytes behind their length.

use std::collections::HashMap;
use std::io;
use std::time::Instant;

use ::libp2p::futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, StreamExt as _};
use ::libp2p::request_response::{Behaviour, Codec, Config, Event, Message, OutboundRequestId, ProtocolSupport};
use ::libp2p::swarm::SwarmEvent;
use ::libp2p::{PeerId, StreamProtocol, Swarm};
use anyhow::{Result, bail, ensure};
use tokio::task::JoinSet;

use super::{dial, listening};
use crate::ends::{Ends, Round};
use crate::work::RoundTrip;

const PROTOCOL: StreamProtocol = StreamProtocol::new("/weir-bench-ask/1");
/// Largest message.
const LARGEST: usize = 1 << 20;

/// Two swarms: one is driven by the round itself, which asks again as soon as an answer comes.
pub struct Asker {
    work: RoundTrip,
    swarm: Swarm<Behaviour<Raw>>,
    peer: PeerId,
    /// The other one, for as long as this lives.
    _answers: JoinSet<()>,
}

impl Asker {
    /// Starts both and connects them.
    ///
    /// # Errors
    /// When that fails.
    pub async fn start(work: RoundTrip) -> Result<Self> {
        let behaviour = || Behaviour::new([(PROTOCOL, ProtocolSupport::Full)], Config::default());
        let (mut swarm, _) = listening(|_| Ok(behaviour())).await?;
        let (far, address) = listening(|_| Ok(behaviour())).await?;
        let peer = *far.local_peer_id();
        let mut answers = JoinSet::new();
        answers.spawn(answer(far));
        swarm.dial(dial(peer, address))?;
        while !swarm.is_connected(&peer) {
            if let SwarmEvent::OutgoingConnectionError { error, .. } = swarm.select_next_some().await {
                return Err(error.into());
            }
        }
        Ok(Self { work, swarm, peer, _answers: answers })
    }

    async fn ask(&mut self) -> Result<Vec<f64>> {
        let RoundTrip { requests, size, in_flight, .. } = self.work;
        let (mut left, mut open, mut took) = (requests, HashMap::new(), Vec::new());
        let began = Instant::now();
        while (took.len() as u64) < requests {
            while left > 0 && open.len() < in_flight {
                let asked = Instant::now();
                open.insert(self.swarm.behaviour_mut().send_request(&self.peer, vec![7; size]), asked);
                left -= 1;
            }
            let (id, body) = self.answer().await?;
            ensure!(body.len() == size, "an answer is not what was asked");
            took.extend(open.remove(&id).map(|asked: Instant| asked.elapsed().as_secs_f64() * 1e6));
        }
        Ok(self.work.values(took, began.elapsed().as_secs_f64()))
    }

    async fn answer(&mut self) -> Result<(OutboundRequestId, Vec<u8>)> {
        loop {
            match self.swarm.select_next_some().await {
                SwarmEvent::Behaviour(Event::Message {
                    message: Message::Response { request_id, response }, ..
                }) => {
                    return Ok((request_id, response));
                }
                SwarmEvent::Behaviour(Event::OutboundFailure { error, .. }) => bail!("a request failed: {error}"),
                _ => {}
            }
        }
    }
}

impl Ends for Asker {
    fn round(&mut self) -> Round<'_> {
        Box::pin(self.ask())
    }
}

/// Sends back what comes.
async fn answer(mut swarm: Swarm<Behaviour<Raw>>) {
    loop {
        let event = swarm.select_next_some().await;
        if let SwarmEvent::Behaviour(Event::Message { message: Message::Request { request, channel, .. }, .. }) = event
        {
            // Who asked may be gone.
            let _ = swarm.behaviour_mut().send_response(channel, request);
        }
    }
}

/// Messages as they are, behind their length in four bytes.
#[derive(Clone, Default)]
struct Raw;

impl Codec for Raw {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        read(io).await
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        read(io).await
    }

    async fn write_request<T>(&mut self, _: &StreamProtocol, io: &mut T, body: Vec<u8>) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write(io, &body).await
    }

    async fn write_response<T>(&mut self, _: &StreamProtocol, io: &mut T, body: Vec<u8>) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write(io, &body).await
    }
}

async fn read(io: &mut (impl AsyncRead + Unpin + Send)) -> io::Result<Vec<u8>> {
    let mut prefix = [0; 4];
    io.read_exact(&mut prefix).await?;
    let length = u32::from_be_bytes(prefix) as usize;
    if length > LARGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut body = vec![0; length];
    io.read_exact(&mut body).await?;
    Ok(body)
}

/// In one write.
async fn write(io: &mut (impl AsyncWrite + Unpin + Send), body: &[u8]) -> io::Result<()> {
    let frame = [&(body.len() as u32).to_be_bytes(), body].concat();
    io.write_all(&frame).await
}
