//! Streams of quinn and of iroh, which has a fork of it: the same calls on other types.

/// Segments that are read at once.
pub const SEGMENTS: usize = 32;
/// Largest request and largest answer.
pub const LARGEST: usize = 1 << 20;

/// What the work needs of this endpoint, its connection and its two kinds of stream. `$read_many` reads segments without a copy.
macro_rules! streams {
    ($Endpoint:ty, $Connection:ty, $SendStream:ty, $RecvStream:ty, $read_many:ident) => {
        impl crate::node::Link for $Connection {
            type Stream = $SendStream;

            async fn open(&self) -> anyhow::Result<$SendStream> {
                Ok(self.open_uni().await?)
            }

            async fn close(self) -> anyhow::Result<()> {
                <$Connection>::close(&self, 0u32.into(), b"");
                Ok(())
            }
        }

        impl crate::node::Outgoing for $SendStream {
            async fn send(&mut self, frame: &bytes::Bytes) -> anyhow::Result<()> {
                Ok(self.write_chunk(frame.clone()).await?)
            }

            async fn finish(mut self) -> anyhow::Result<()> {
                Ok(<$SendStream>::finish(&mut self)?)
            }
        }

        /// A stream for each request, whose end is the end of the request: as the library's examples do it.
        impl crate::node::Asking for $Connection {
            async fn ask(&self, body: &bytes::Bytes) -> anyhow::Result<()> {
                let (mut send, mut receive) = self.open_bi().await?;
                send.write_chunk(body.clone()).await?;
                send.finish()?;
                let answer = receive.read_to_end($crate::ways::quic::LARGEST).await?;
                anyhow::ensure!(answer == *body, "an answer is not what was asked");
                Ok(())
            }
        }

        /// Serves links as they come, and tells of each.
        async fn accept(
            endpoint: $Endpoint,
            received: std::sync::Arc<crate::tally::Tally>,
            tell: tokio::sync::mpsc::Sender<()>,
        ) {
            while let Some(incoming) = endpoint.accept().await {
                if let Ok(link) = incoming.await {
                    tokio::spawn(serve(link, received.clone()));
                    // Who started the node may have dropped it.
                    let _ = tell.send(()).await;
                }
            }
        }

        /// Counts what comes on streams, and answers requests, until the connection ends.
        async fn serve(link: $Connection, received: std::sync::Arc<crate::tally::Tally>) {
            let messages = async {
                while let Ok(stream) = link.accept_uni().await {
                    tokio::spawn(count(stream, received.clone()));
                }
            };
            let requests = async {
                while let Ok((send, receive)) = link.accept_bi().await {
                    tokio::spawn(answer(send, receive));
                }
            };
            tokio::join!(messages, requests);
        }

        async fn count(mut stream: $RecvStream, received: std::sync::Arc<crate::tally::Tally>) {
            let mut counting = crate::node::Counting::new(received);
            let mut segments = vec![bytes::Bytes::new(); $crate::ways::quic::SEGMENTS];
            while let Ok(Some(read)) = stream.$read_many(&mut segments).await {
                counting.take(segments[..read].iter().map(bytes::Bytes::as_ref));
            }
        }

        async fn answer(mut send: $SendStream, mut receive: $RecvStream) -> anyhow::Result<()> {
            let body = receive.read_to_end($crate::ways::quic::LARGEST).await?;
            send.write_chunk(body.into()).await?;
            Ok(send.finish()?)
        }
    };
}

pub(super) use streams;
