//! Control news as coalesced state: at most a handful per lane, however often things change. Pure.

use std::collections::BTreeMap;

use crate::peer::PeerId;
use crate::protocol::{News, ProtocolId};

type LaneName = (PeerId, ProtocolId);

/// What the plugin has not heard yet about one lane.
#[derive(Debug, Default)]
struct Pending {
    /// It was told `supported` and that is over.
    gone: bool,
    here: Option<u32>,
    /// The last of congested (true) and relieved (false).
    congested: Option<bool>,
    undelivered: u64,
    missed: u64,
}

/// Everything the plugin has not heard yet, by lane.
#[derive(Debug, Default)]
pub(super) struct NewsBoard(BTreeMap<LaneName, Pending>);

impl NewsBoard {
    pub(super) fn supported(&mut self, lane: LaneName, max_message: u32) {
        self.0.entry(lane).or_default().here = Some(max_message);
    }

    /// `told`: the plugin knows the lane. One it never heard of needs no farewell.
    pub(super) fn unsupported(&mut self, lane: LaneName, told: bool) {
        if !told {
            self.0.remove(&lane);
            return;
        }
        let pending = self.0.entry(lane).or_default();
        (pending.gone, pending.here, pending.congested) = (true, None, None);
    }

    pub(super) fn pressure(&mut self, lane: LaneName, congested: bool) {
        self.0.entry(lane).or_default().congested = Some(congested);
    }

    pub(super) fn undelivered(&mut self, lane: LaneName, messages: u64) {
        self.0.entry(lane).or_default().undelivered += messages;
    }

    pub(super) fn missed(&mut self, lane: LaneName, messages: u64) {
        self.0.entry(lane).or_default().missed += messages;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Lanes with news.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Takes the news of as many lanes as fit into `most`, or of one.
    pub(super) fn take(&mut self, most: usize, mut told: impl FnMut(&LaneName) -> bool) -> Vec<News> {
        let mut out = Vec::new();
        while out.len() < most
            && let Some((lane, pending)) = self.0.pop_first()
        {
            let known = told(&lane);
            pending.write(lane, known, &mut out);
        }
        out
    }
}

impl Pending {
    /// In order: what was lost, the farewell, the welcome. A lane heard of for the first time begins with the welcome.
    fn write(self, (peer, protocol): LaneName, told: bool, out: &mut Vec<News>) {
        let welcome = self.here.map(|max_message| News::Supported { peer, protocol: protocol.clone(), max_message });
        let (early, late) = if told { (None, welcome) } else { (welcome, None) };
        let known = told || early.is_some();
        out.extend(early);
        if known && self.undelivered > 0 {
            out.push(News::Undelivered { peer, protocol: protocol.clone(), messages: self.undelivered });
        }
        if known && self.missed > 0 {
            out.push(News::Missed { peer, protocol: protocol.clone(), messages: self.missed });
        }
        if self.gone {
            out.push(News::Unsupported { peer, protocol: protocol.clone() });
        }
        let present = late.is_some() || (known && !self.gone);
        out.extend(late);
        match self.congested.filter(|_| present) {
            Some(true) => out.push(News::Congested { peer, protocol }),
            Some(false) => out.push(News::Relieved { peer, protocol }),
            None => {}
        }
    }
}
