//! Requests that no handler gets.

use std::ops::Range;

use bytes::Bytes;

use super::*;
use crate::protocol::network::Network as _;
use crate::protocol::testing::{Side, Valve, carry, join, name, next, spec};
use crate::protocol::{Inbox, NativeEvent, native};
use crate::testing::poll_once;
use crate::wire::Frame;

const ID: &str = "/a/1";

/// The way in of a stream to a handler with room for one batch.
struct Way {
    far: Side,
    door: Door,
    inbox: Inbox,
    _near: Side,
    _valves: (Valve, Valve),
}

async fn way() -> Way {
    let (near, far) = (Side::near(1), Side::far(2));
    let (handler, mut inbox) = native(1);
    far.protocols.register(spec(ID), "test", handler).expect("free");
    let _other = near.register(ID);
    let (near_end, far_end) = join(&near, &far, 1).await;
    let valves = carry((&near, near_end), (&far, far_end));
    assert!(matches!(next(&mut inbox).await, NativeEvent::News(News::Supported { .. })));
    let node = Arc::clone(&far.protocols.inner);
    let pair = node.pairs.peer(&near.peer).and_then(|of_peer| of_peer.get(&name(ID))).expect("both speak it");
    let asker = Asker { peer: near.peer, protocol: name(ID) };
    Way { far, door: Door { node, pair, asker }, inbox, _near: near, _valves: valves }
}

impl Way {
    fn open(&self) -> usize {
        self.far.protocols.open_requests().1
    }
}

fn requests(ids: Range<u64>) -> Vec<Frame> {
    ids.map(|id| Frame { kind: FrameKind::Request { id, timeout_ms: 60_000 }, body: Bytes::new() }).collect()
}

#[tokio::test]
async fn requests_of_a_stream_that_is_stopped_before_their_handler_has_room_are_open_no_more() {
    let way = way().await;
    way.door.deliver(requests(0..3)).await.expect("room for one batch");
    let mut waiting = way.door.deliver(requests(3..6));
    assert!(poll_once(&mut waiting).is_none());
    assert_eq!(way.open(), 6);
    drop(waiting);
    assert_eq!(way.open(), 3, "those that the handler has");
}

#[tokio::test]
async fn requests_before_a_frame_that_is_malformed_are_open_no_more() {
    let way = way().await;
    let mut frames = requests(0..3);
    frames.push(Frame { kind: FrameKind::Refusal { id: 9 }, body: Bytes::from_static(&[0xff; 3]) });
    assert_eq!(way.door.deliver(frames).await, Err(StopCode::Malformed));
    assert_eq!(way.open(), 0);
}

#[tokio::test]
async fn requests_to_a_handler_that_is_gone_are_open_no_more() {
    let Way { far, door, inbox, .. } = way().await;
    drop(inbox);
    assert_eq!(door.deliver(requests(0..3)).await, Err(StopCode::HandlerGone));
    assert_eq!(far.protocols.open_requests().1, 0);
}
