//! Messages that nobody answers: how many a second.

use std::time::Instant;

use anyhow::Result;
use bytes::Bytes;

use super::flows::{NativeFlows, PluginFlows, RawFlows};
use super::share;
use crate::case::{Case, Row, Unit, Way};

/// Who sends what to whom: every sender to every receiver by every protocol.
#[derive(Debug, Clone, Copy)]
pub struct OneWay {
    /// Peers that send.
    pub senders: usize,
    /// Peers that count.
    pub receivers: usize,
    /// Protocols between each two.
    pub protocols: usize,
    /// Messages of one sender to one receiver by one protocol in a round.
    pub messages: u64,
    /// Bytes of each.
    pub size: usize,
}

impl OneWay {
    pub(super) fn scaled(self, scale: f64) -> Self {
        Self { messages: share(self.messages, scale), ..self }
    }

    /// Messages of a round in all.
    pub(super) fn total(&self) -> u64 {
        (self.senders * self.receivers * self.protocols) as u64 * self.messages
    }

    pub(super) fn body(&self) -> Bytes {
        vec![7; self.size].into()
    }

    /// Messages a second, since then.
    pub(super) fn rate(&self, began: Instant) -> Vec<f64> {
        vec![self.total() as f64 / began.elapsed().as_secs_f64()]
    }

    pub(super) fn rows(name: &'static str) -> Vec<Row> {
        vec![Row { name, unit: Unit::MessagesPerSecond }]
    }

    /// All four ways of it.
    ///
    /// # Errors
    /// When somebody does not start.
    pub async fn case(self, name: &'static str) -> Result<Case> {
        let ways: Vec<(Way, Box<dyn crate::case::Ends>)> = vec![
            (Way::Raw, Box::new(RawFlows::start(self, false).await?)),
            (Way::RawChunked, Box::new(RawFlows::start(self, true).await?)),
            (Way::Native, Box::new(NativeFlows::start(self).await?)),
            (Way::Plugin, Box::new(PluginFlows::start(self).await?)),
        ];
        Ok(Case { rows: Self::rows(name), ways })
    }
}
