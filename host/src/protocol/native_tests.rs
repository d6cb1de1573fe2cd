//! The inbox of a native handler: room, ends, and what is left to the one that was replaced.

use bytes::Bytes;

use super::*;
use crate::testing::poll_once;

fn peer(of: u8) -> PeerId {
    PeerId::from_bytes([of; 32])
}

fn batch(of: u8) -> InBatch {
    InBatch { peer: peer(of), protocol: id(), items: vec![Inbound::Message(Bytes::new())] }
}

fn id() -> ProtocolId {
    "/a/1".parse().expect("an id")
}

fn supported(of: u8) -> News {
    News::Supported { peer: peer(of), protocol: id(), max_message: 100 }
}

fn unsupported(of: u8) -> News {
    News::Unsupported { peer: peer(of), protocol: id() }
}

/// Everything there is to read.
async fn all(inbox: &mut Inbox) -> Vec<NativeEvent> {
    let mut events = Vec::new();
    while let Some(event) = inbox.take() {
        events.push(event);
    }
    events
}

#[tokio::test]
async fn a_full_inbox_makes_the_stream_wait_and_an_end_purges_and_counts() {
    let (handler, mut inbox) = native(1);
    handler.news(supported(1));
    handler.news(supported(2));
    assert_eq!(all(&mut inbox).await, [NativeEvent::News(supported(1)), NativeEvent::News(supported(2))]);
    handler.deliver(batch(1)).await.expect("room");
    let mut waiting = handler.deliver(batch(2));
    assert!(poll_once(&mut waiting).is_none(), "no room");
    handler.news(unsupported(1));
    waiting.await.expect("room after the purge");
    let missed = News::Missed { peer: peer(1), protocol: id(), messages: 1 };
    assert_eq!(inbox.next().await, Some(NativeEvent::News(missed)));
    assert_eq!(inbox.next().await, Some(NativeEvent::News(unsupported(1))));
    assert_eq!(inbox.next().await, Some(NativeEvent::Batch(batch(2))));
    drop(handler);
    assert_eq!(inbox.next().await, None);
}

#[tokio::test]
async fn nobody_delivers_before_its_welcome_or_after_its_farewell() {
    let (handler, mut inbox) = native(8);
    assert_eq!(handler.deliver(batch(1)).await, Err(NotTaken::Gone));
    handler.news(supported(1));
    handler.deliver(batch(1)).await.expect("room");
    handler.news(unsupported(1));
    assert_eq!(handler.deliver(batch(1)).await, Err(NotTaken::Gone));
    let events = all(&mut inbox).await;
    assert!(!events.iter().any(|event| matches!(event, NativeEvent::Batch(_))), "{events:?}");
}

#[tokio::test]
async fn a_dropped_inbox_is_told() {
    let (handler, inbox) = native(1);
    handler.news(supported(1));
    drop(inbox);
    assert_eq!(handler.deliver(batch(1)).await, Err(NotTaken::Gone));
}

#[tokio::test]
async fn the_one_that_was_replaced_reads_what_it_took_and_then_the_farewell() {
    let (handler, mut inbox) = native(2);
    handler.news(supported(1));
    handler.deliver(batch(1)).await.expect("room");
    handler.deliver(batch(1)).await.expect("room");
    let mut waiting = handler.deliver(batch(1));
    assert!(poll_once(&mut waiting).is_none(), "no room");
    handler.taken_over(&id());
    assert_eq!(waiting.await, Err(NotTaken::Gone), "it is the successor's");
    drop(handler);
    let expected = [
        NativeEvent::News(supported(1)),
        NativeEvent::Batch(batch(1)),
        NativeEvent::Batch(batch(1)),
        NativeEvent::News(unsupported(1)),
    ];
    for event in expected {
        assert_eq!(inbox.next().await, Some(event));
    }
    assert_eq!(inbox.next().await, None);
}

#[tokio::test]
async fn one_that_is_put_back_hears_the_farewell_before_the_welcome() {
    let (handler, mut inbox) = native(2);
    handler.news(supported(1));
    handler.deliver(batch(1)).await.expect("room");
    assert_eq!(inbox.next().await, Some(NativeEvent::News(supported(1))));
    handler.taken_over(&id());
    handler.news(supported(1));
    let expected = [NativeEvent::News(unsupported(1)), NativeEvent::News(supported(1)), NativeEvent::Batch(batch(1))];
    assert_eq!(all(&mut inbox).await, expected);
}
