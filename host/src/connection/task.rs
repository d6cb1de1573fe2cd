//! One connection's conversation: hello, decision, then the control stream until its end.
//!
//! It runs in a task of its own, so a peer that stays silent holds up nobody else. It decides nothing: what the
//! peer says goes to the actor, and what is for the layers above goes straight to them, once they know of the
//! connection.

use std::sync::Arc;

use bytes::BytesMut;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use super::alive::{Alive, Due};
use super::limits::{MAX_PROTOCOL_NAME, WRITE_TIMEOUT};
use super::manager::Shared;
use super::state::Event;
use super::{ConnectionEvent, ConnectionId};
use crate::peer::PeerId;
use crate::transport::{
    ControlStream, Direction, LinkAcceptor, LinkError, LinkHandle, ReceiveStream, SendStream, StreamError,
};
use crate::wire::{
    AddressRecord, CloseCode, Control, ControlDecoder, Hello, MAX_CONTROL_FRAME, WIRE_VERSION, encode_control,
};

/// Messages the writer takes out of the queue for one write.
const WRITE_BATCH: usize = 64;

/// What a task tells the actor.
#[derive(Debug)]
pub(super) enum Report {
    /// Something to decide about.
    Event(Event),
    /// The hello came; what the layers above will need if the connection is admitted.
    Greeted { connection: ConnectionId, greeted: Box<Greeted> },
}

/// What is known after both hellos.
#[derive(Debug)]
pub(super) struct Greeted {
    pub(super) hello: Hello,
    pub(super) address: Option<AddressRecord>,
    pub(super) sent_sequence: u64,
    pub(super) acceptor: LinkAcceptor,
}

/// What may come next on the control stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The hello.
    Hello,
    /// `Admitted` or `Refused`.
    Decision,
    /// Anything, but the layers above do not know of the connection yet: it is left undecoded.
    Held,
    /// Anything.
    Open,
    /// Nothing that matters: this side has closed, and only the end of the link is awaited.
    Over,
}

/// Everything the conversation needs.
#[derive(Debug)]
pub(super) struct Conversation {
    pub(super) id: ConnectionId,
    pub(super) peer: PeerId,
    pub(super) direction: Direction,
    /// The dial counter that our hello carries.
    pub(super) dial: u64,
    /// Whether it says that the connection is one more.
    pub(super) beside: bool,
    pub(super) link: LinkHandle,
    pub(super) queue: mpsc::Sender<Control>,
    pub(super) reports: mpsc::Sender<Report>,
    pub(super) events: mpsc::Sender<ConnectionEvent>,
    /// Fires when the layers above have been told of the connection; dropped when they never will be.
    pub(super) told: oneshot::Receiver<()>,
    /// Notified when the layers above have finished what was open.
    pub(super) drained: Arc<Notify>,
    pub(super) shared: Arc<Shared>,
}

impl Conversation {
    /// Talks until the connection is gone, and reports that last.
    pub(super) async fn run(mut self, acceptor: LinkAcceptor, queued: mpsc::Receiver<Control>) {
        let cause = match self.converse(acceptor, queued).await {
            Ok(()) => LinkError::Closed { code: CloseCode::ProtocolViolation, local: true },
            Err(cause) => cause,
        };
        tracing::debug!(peer = %self.peer.short(), connection = self.id.0, %cause, "connection ended");
        self.report(Report::Event(Event::Closed { connection: self.id, cause })).await;
    }

    /// Returns `Ok` when it closed the connection because the peer broke the protocol.
    async fn converse(&mut self, mut acceptor: LinkAcceptor, queued: mpsc::Receiver<Control>) -> Result<(), LinkError> {
        let stream = match self.direction {
            Direction::Outbound => self.link.open_control_stream().await?,
            Direction::Inbound => match acceptor.accept_control_stream().await? {
                Some(stream) => stream,
                None => return Err(LinkError::Closed { code: CloseCode::Normal, local: false }),
            },
        };
        let ControlStream { send, receive } = stream;
        let (hello, sent_sequence) = self.shared.hello(self.dial, self.beside);
        // The queue is empty and has room: nobody else has it yet.
        let _ = self.queue.try_send(Control::Hello(hello));
        let link = self.link.clone();
        let mut reader = std::pin::pin!(self.read(receive, acceptor, sent_sequence));
        tokio::select! {
            biased;
            end = &mut reader => return end,
            () = write(send, queued, link) => {}
        }
        // The writer gave up; the reader learns why.
        reader.await
    }

    async fn read(
        &mut self,
        mut stream: ReceiveStream,
        acceptor: LinkAcceptor,
        sent_sequence: u64,
    ) -> Result<(), LinkError> {
        let mut decoder = ControlDecoder::default();
        let mut phase = Phase::Hello;
        let mut acceptor = Some(acceptor);
        let (started, mut alive) = (Instant::now(), None);
        // Bytes taken ahead of the layers above.
        let mut held = 0;
        loop {
            while !matches!(phase, Phase::Held | Phase::Over) {
                let message = match decoder.next() {
                    Ok(Some(message)) => message,
                    Ok(None) => break,
                    Err(error) => return self.violation(&error.to_string()),
                };
                let next = match (phase, message) {
                    (Phase::Hello, Control::Hello(hello)) => {
                        let Some(acceptor) = acceptor.take() else { return self.violation("a second hello") };
                        self.greeted(hello, acceptor, sent_sequence).await
                    }
                    (Phase::Decision, message) => self.decided(message).await,
                    (Phase::Open, message) => {
                        if let (Control::Pong(number), Some(alive)) = (&message, &mut alive) {
                            Alive::pong(alive, *number, started.elapsed());
                        }
                        self.message(message).await
                    }
                    _ => None,
                };
                let Some(next) = next else { return self.violation("a control message out of turn") };
                phase = next;
            }
            let policy = self.shared.config.alive;
            if phase == Phase::Open {
                let alive = alive.get_or_insert_with(|| Alive::new(policy, started.elapsed()));
                match alive.due(started.elapsed()) {
                    Due::Nothing => {}
                    Due::Ask(number) => self.answer(Control::Ping(number)),
                    Due::Dead => {
                        // Says so, in case this way still works.
                        self.link.close(CloseCode::Silent);
                        return Err(LinkError::TimedOut);
                    }
                }
            }
            let due = alive.as_ref().filter(|_| phase == Phase::Open).map(|alive| started + alive.deadline());
            tokio::select! {
                biased;
                () = sleep_until(due.unwrap_or(started)), if due.is_some() => {}
                told = &mut self.told, if phase == Phase::Held => {
                    phase = if told.is_ok() { Phase::Open } else { Phase::Over };
                }
                () = self.drained.notified() => {
                    self.report(Report::Event(Event::OwnDrained { connection: self.id })).await;
                }
                chunk = stream.read(), if held < MAX_CONTROL_FRAME => match chunk {
                    // Read on all the same: only so is the end of the link noticed, however much was held.
                    Ok(Some(_)) if phase == Phase::Over => {}
                    Ok(Some(chunk)) => {
                        held = if phase == Phase::Held { held + chunk.len() } else { 0 };
                        decoder.push(&chunk);
                    }
                    Ok(None) | Err(StreamError::Stopped(_) | StreamError::Ended(_)) => {
                        return self.violation("the control stream ended");
                    }
                    Err(StreamError::Link(cause)) => return Err(cause),
                },
            }
            if matches!(phase, Phase::Open | Phase::Over) {
                held = 0;
            }
        }
    }

    async fn greeted(&mut self, hello: Hello, acceptor: LinkAcceptor, sent_sequence: u64) -> Option<Phase> {
        let connection = self.id;
        if hello.version != WIRE_VERSION {
            let theirs = hello.version;
            self.report(Report::Event(Event::WrongVersion { connection, theirs })).await;
            return Some(Phase::Decision);
        }
        if hello.protocols.iter().any(|protocol| protocol.id.len() > MAX_PROTOCOL_NAME) {
            return None;
        }
        let now = self.shared.clock.unix_ms();
        // A record that does not hold is no reason to refuse: it may just have expired.
        let address = hello.address.as_ref().and_then(|record| record.verify(&self.peer, now).ok());
        let greeted = Box::new(Greeted { hello, address, sent_sequence, acceptor });
        self.report(Report::Greeted { connection, greeted }).await;
        Some(Phase::Decision)
    }

    async fn decided(&mut self, message: Control) -> Option<Phase> {
        let connection = self.id;
        match message {
            Control::Admitted => {
                self.report(Report::Event(Event::Admitted { connection })).await;
                Some(Phase::Held)
            }
            Control::Refused { code, reason } => {
                self.report(Report::Event(Event::Refused { connection, code, reason })).await;
                Some(Phase::Decision)
            }
            Control::Ping(number) => {
                self.answer(Control::Pong(number));
                Some(Phase::Decision)
            }
            _ => None,
        }
    }

    async fn message(&mut self, message: Control) -> Option<Phase> {
        let connection = self.id;
        let event = match message {
            Control::Hello(_) | Control::Admitted => return None,
            Control::Refused { code, reason } => Event::Refused { connection, code, reason },
            Control::Ping(number) => {
                self.answer(Control::Pong(number));
                return Some(Phase::Open);
            }
            Control::Pong(number) => Event::Pong { connection, number },
            Control::Drain { code } => Event::PeerDrain { connection, code },
            Control::Drained => Event::PeerDrained { connection },
            message => {
                let event = ConnectionEvent::Control { connection, peer: self.peer, message };
                // Fails only when nobody is above any more.
                let _ = self.events.send(event).await;
                return Some(Phase::Open);
            }
        };
        self.report(Report::Event(event)).await;
        Some(Phase::Open)
    }

    /// Queues an answer or a ping; a peer that asks without reading fills the queue and is closed.
    fn answer(&self, message: Control) {
        if self.queue.try_send(message).is_err() {
            self.link.close(CloseCode::ControlStalled);
        }
    }

    async fn report(&self, report: Report) {
        // Fails only when the actor is gone, and then so is everything it would decide.
        let _ = self.reports.send(report).await;
    }

    fn violation(&self, what: &str) -> Result<(), LinkError> {
        tracing::warn!(peer = %self.peer.short(), connection = self.id.0, what, "the peer broke the wire protocol");
        self.link.close(CloseCode::ProtocolViolation);
        Ok(())
    }
}

/// Writes what is queued until the connection is gone; closes it when the peer does not read.
async fn write(mut stream: SendStream, mut queued: mpsc::Receiver<Control>, link: LinkHandle) {
    let mut batch = Vec::new();
    while queued.recv_many(&mut batch, WRITE_BATCH).await > 0 {
        let mut bytes = BytesMut::new();
        for message in batch.drain(..) {
            if let Err(error) = encode_control(&message, &mut bytes) {
                tracing::error!(%error, "a control message of this node is too large");
                return link.close(CloseCode::ProtocolViolation);
            }
        }
        match timeout(WRITE_TIMEOUT, stream.write(&mut [bytes.freeze()])).await {
            Ok(Ok(())) => {}
            // The reader hears of a lost connection by itself; a peer that stops this stream breaks the protocol.
            Ok(Err(StreamError::Link(_))) => return,
            Ok(Err(_)) => return link.close(CloseCode::ProtocolViolation),
            Err(_) => return link.close(CloseCode::ControlStalled),
        }
    }
}
