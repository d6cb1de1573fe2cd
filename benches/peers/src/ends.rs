//! Both ends of a library, ready to do a case's work again and again.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::Result;
use bytes::Bytes;
use tokio::task::JoinSet;

use crate::framing::framed;
use crate::node::{Asking, Link, Node, Outgoing};
use crate::work::{OneWay, RoundTrip};

/// What one round gives: one value for each row of the case.
pub type Round<'a> = Pin<Box<dyn Future<Output = Result<Vec<f64>>> + Send + 'a>>;

/// See the module.
pub trait Ends: Send {
    /// Does the work once.
    fn round(&mut self) -> Round<'_>;
}

/// One stream from each sender to each receiver.
pub struct Flows<N: Node> {
    work: OneWay,
    receivers: Vec<N>,
    streams: Vec<<N::Link as Link>::Stream>,
    _open: (Vec<N>, Vec<N::Link>),
}

impl<N: Node> Flows<N> {
    /// Starts everybody and opens the streams.
    ///
    /// # Errors
    /// When that fails.
    pub async fn start(work: OneWay) -> Result<Self> {
        let (mut senders, mut receivers) = (Vec::new(), Vec::new());
        for _ in 0..work.receivers {
            receivers.push(N::start().await?);
        }
        let (mut links, mut streams) = (Vec::new(), Vec::new());
        for _ in 0..work.senders {
            let sender = N::start().await?;
            for receiver in &receivers {
                let link = sender.connect(receiver).await?;
                streams.push(link.open().await?);
                links.push(link);
            }
            senders.push(sender);
        }
        Ok(Self { work, receivers, streams, _open: (senders, links) })
    }

    async fn send(&mut self) -> Result<Vec<f64>> {
        let (messages, frame) = (self.work.messages, framed(self.work.size));
        let each = self.work.senders as u64 * messages;
        let wanted: Vec<_> = self.receivers.iter().map(|receiver| receiver.received().come() + each).collect();
        let (began, mut sending) = (Instant::now(), JoinSet::new());
        for mut stream in self.streams.drain(..) {
            let frame = frame.clone();
            sending.spawn(async move {
                for _ in 0..messages {
                    stream.send(&frame).await?;
                }
                anyhow::Ok(stream)
            });
        }
        while let Some(sent) = sending.join_next().await {
            self.streams.push(sent??);
        }
        for (receiver, wanted) in self.receivers.iter().zip(wanted) {
            receiver.received().reach(wanted).await?;
        }
        Ok(vec![(each * self.receivers.len() as u64) as f64 / began.elapsed().as_secs_f64()])
    }
}

impl<N: Node> Ends for Flows<N> {
    fn round(&mut self) -> Round<'_> {
        Box::pin(self.send())
    }
}

/// Two nodes and a link between them.
pub struct Pair<N: Node, W> {
    work: W,
    link: Arc<N::Link>,
    far: N,
    _near: N,
}

impl<N: Node, W> Pair<N, W> {
    /// Starts and connects them.
    ///
    /// # Errors
    /// When that fails.
    pub async fn start(work: W) -> Result<Self> {
        let (near, far) = (N::start().await?, N::start().await?);
        let link = Arc::new(near.connect(&far).await?);
        Ok(Self { work, link, far, _near: near })
    }
}

/// A stream for each message.
pub struct StreamEach<N: Node>(pub Pair<N, OneWay>);

impl<N: Node> StreamEach<N> {
    async fn send(&mut self) -> Result<Vec<f64>> {
        let Pair { work, link, far, .. } = &self.0;
        let (frame, wanted) = (framed(work.size), far.received().come() + work.messages);
        let began = Instant::now();
        for _ in 0..work.messages {
            let mut stream = link.open().await?;
            stream.send(&frame).await?;
            stream.finish().await?;
        }
        far.received().reach(wanted).await?;
        Ok(vec![work.messages as f64 / began.elapsed().as_secs_f64()])
    }
}

impl<N: Node> Ends for StreamEach<N> {
    fn round(&mut self) -> Round<'_> {
        Box::pin(self.send())
    }
}

/// Requests: so many askers as may be open, each with one after the other.
pub struct Trips<N: Node>(pub Pair<N, RoundTrip>);

impl<N: Node<Link: Asking>> Trips<N> {
    async fn ask(&mut self) -> Result<Vec<f64>> {
        let Pair { work, link, .. } = &self.0;
        let (body, taken) = (Bytes::from(vec![7; work.size]), Arc::<AtomicU64>::default());
        let (began, mut asking, mut took) = (Instant::now(), JoinSet::new(), Vec::new());
        for _ in 0..work.in_flight {
            let (link, body, taken, requests) = (link.clone(), body.clone(), taken.clone(), work.requests);
            asking.spawn(async move {
                let mut took = Vec::new();
                while taken.fetch_add(1, Ordering::Relaxed) < requests {
                    let asked = Instant::now();
                    link.ask(&body).await?;
                    took.push(asked.elapsed().as_secs_f64() * 1e6);
                }
                anyhow::Ok(took)
            });
        }
        while let Some(asked) = asking.join_next().await {
            took.extend(asked??);
        }
        Ok(work.values(took, began.elapsed().as_secs_f64()))
    }
}

impl<N: Node<Link: Asking>> Ends for Trips<N> {
    fn round(&mut self) -> Round<'_> {
        Box::pin(self.ask())
    }
}

/// Handshakes, one after the other.
pub struct Connecting<N: Node> {
    near: N,
    far: N,
    handshakes: u64,
}

impl<N: Node> Connecting<N> {
    /// Starts both.
    ///
    /// # Errors
    /// When that fails.
    pub async fn start(handshakes: u64) -> Result<Self> {
        Ok(Self { near: N::start().await?, far: N::start().await?, handshakes })
    }

    async fn connect(&mut self) -> Result<Vec<f64>> {
        let began = Instant::now();
        for _ in 0..self.handshakes {
            self.near.connect(&self.far).await?.close().await?;
        }
        Ok(vec![self.handshakes as f64 / began.elapsed().as_secs_f64()])
    }
}

impl<N: Node> Ends for Connecting<N> {
    fn round(&mut self) -> Round<'_> {
        Box::pin(self.connect())
    }
}
