//! Pools, lanes and receive streams over real QUIC on loopback.

mod connections;
mod lanes;
mod pool;
mod receive;

use std::collections::HashMap;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::testing::{Ends, INCARNATION, Told, Wire, ends, ends_with, numbered, numbers};
use super::*;
use crate::connection::{ConnectionHandle, ConnectionId};
use crate::transport::testing::soon;
use crate::transport::{SendStream, StreamLimits};
use crate::wire::{CloseCode, FrameWriter, StreamOutcome};

const LIMITS: StreamLimits = StreamLimits { max_streams: 16, stream_window: 64 << 10, send_buffer: 64 << 10 };

async fn plain() -> Ends {
    ends(LIMITS, PoolPolicy::default(), ReceivePolicy::default()).await
}

/// Takes messages until `count` have come.
async fn take(received: &mut mpsc::Receiver<Vec<Frame>>, count: usize) -> Vec<u64> {
    let mut all = Vec::new();
    while all.len() < count {
        all.extend(numbers(&soon(received.recv()).await.expect("the handler is there")));
    }
    all
}

/// Waits until the handler's channel is full.
async fn until_full(received: &mpsc::Receiver<Vec<Frame>>) {
    let full = async {
        while received.len() < received.max_capacity() {
            tokio::task::yield_now().await;
        }
    };
    soon(full).await;
}

/// A borrower that only wants streams.
struct Plain(u64);

impl Borrower for Plain {
    fn lane(&self) -> LaneId {
        LaneId(self.0)
    }
    fn finished(&self, _: ConnectionId, _: u64) {}
    fn progress(&self, _: ConnectionId, _: u64, _: u64) {}
    fn ended(&self, _: ConnectionId, _: u64, _: u64, _: StreamOutcome) {}
    fn lost(&self, _: ConnectionId) {}
}

async fn borrow(pool: &SendStreamPool, lane: u64, patience: Duration) -> Result<Lease, BorrowError> {
    let now = Instant::now();
    pool.borrow(Arc::new(Plain(lane)), now, now + patience).await
}

/// Borrows for a lane of its own, writes one message and finishes.
async fn use_once(pool: &SendStreamPool, lane: u64, patience: Duration) -> Result<(), BorrowError> {
    let mut lease = borrow(pool, lane, patience).await?;
    assert!(lease.is_fresh());
    lease.write(&mut [header(9, lane, 1), message(lane)]).await.expect("the stream is open");
    lease.finish();
    Ok(())
}

fn header(registration: u64, lane: u64, generation: u64) -> Bytes {
    let (incarnation, sequence, after) = (INCARNATION, 5, 0);
    let mut out = BytesMut::new();
    StreamHeader { registration, sequence, incarnation, lane, generation, after }.encode(&mut out);
    out.freeze()
}

fn message(number: u64) -> Bytes {
    let mut writer = FrameWriter::default();
    writer.message(&number.to_be_bytes());
    writer.take()
}

/// Opens a stream of its own, writes the bytes, and finishes or not.
async fn raw(on: &ConnectionHandle, bytes: &[u8], finish: bool) -> SendStream {
    let mut stream = soon(on.link.clone().open_send_stream()).await.expect("the connection is there");
    // A peer may have stopped it before it is finished.
    let _ = stream.write(&mut [Bytes::copy_from_slice(bytes)]).await;
    if finish {
        let _ = stream.finish();
    }
    stream
}

/// Does both in the same instant, as far as two threads can.
fn at_once<T>(one: impl FnOnce() + Send, other: impl FnOnce() -> T) -> T {
    let both = Barrier::new(2);
    thread::scope(|scope| {
        scope.spawn(|| {
            both.wait();
            one();
        });
        both.wait();
        other()
    })
}

/// Waits until it is so.
async fn until(is_so: impl Fn() -> bool) {
    let so = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    soon(so).await;
}

/// Pushes messages with the numbers, in order, whenever the lane has room.
async fn feed(lane: &Lane, told: &Told, numbers: std::ops::Range<u64>, size: usize) {
    for number in numbers {
        while lane.room() == 0 {
            told.news.notified().await;
        }
        lane.push(vec![numbered(number, size)]);
    }
}
