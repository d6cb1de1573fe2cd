//! Control news as coalesced state: what a handler has not heard yet, bounded by what there is to know.
//!
//! Pure. A pair of peer and protocol holds at most: an unheard end, an unheard beginning, the last congestion and two
//! counts. A pair that began and ended unheard leaves only its counts.

use std::collections::{BTreeMap, BTreeSet};

use super::{News, ProtocolId, RequestToken};
use crate::peer::PeerId;

#[derive(Debug, Default)]
struct Pair {
    /// The handler knows the pair as supported, and it ended.
    ended: bool,
    /// It is supported, with this largest message, and the handler does not know.
    began: Option<u32>,
    congested: Option<bool>,
    undelivered: u64,
    missed: u64,
}

/// News that were not taken yet.
#[derive(Debug, Default)]
pub struct NewsBoard {
    pairs: BTreeMap<(PeerId, ProtocolId), Pair>,
    withdrawn: BTreeSet<RequestToken>,
}

impl NewsBoard {
    /// Adds news to what was not taken yet.
    pub fn post(&mut self, news: News) {
        match news {
            News::Supported { peer, protocol, max_message } => {
                self.pair(peer, protocol).began = Some(max_message);
            }
            News::Unsupported { peer, protocol } => {
                let pair = self.pair(peer, protocol);
                pair.ended = pair.ended || pair.began.is_none();
                pair.began = None;
                pair.congested = None;
            }
            News::Congested { peer, protocol } => self.pair(peer, protocol).congested = Some(true),
            News::Relieved { peer, protocol } => self.pair(peer, protocol).congested = Some(false),
            News::Undelivered { peer, protocol, messages } => self.pair(peer, protocol).undelivered += messages,
            News::Missed { peer, protocol, messages } => self.pair(peer, protocol).missed += messages,
            News::Withdrawn(token) => drop(self.withdrawn.insert(token)),
        }
    }

    fn pair(&mut self, peer: PeerId, protocol: ProtocolId) -> &mut Pair {
        self.pairs.entry((peer, protocol)).or_default()
    }

    /// Whether nothing is untaken.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty() && self.withdrawn.is_empty()
    }

    /// Everything untaken, in an order that makes sense: per pair counts, end, beginning, congestion.
    pub fn take(&mut self) -> Vec<News> {
        let mut news = Vec::new();
        for ((peer, protocol), pair) in std::mem::take(&mut self.pairs) {
            let name = || (peer, protocol.clone());
            if pair.undelivered > 0 {
                let (peer, protocol) = name();
                news.push(News::Undelivered { peer, protocol, messages: pair.undelivered });
            }
            if pair.missed > 0 {
                let (peer, protocol) = name();
                news.push(News::Missed { peer, protocol, messages: pair.missed });
            }
            if pair.ended {
                let (peer, protocol) = name();
                news.push(News::Unsupported { peer, protocol });
            }
            if let Some(max_message) = pair.began {
                let (peer, protocol) = name();
                news.push(News::Supported { peer, protocol, max_message });
            }
            if let Some(congested) = pair.congested {
                let (peer, protocol) = name();
                news.push(if congested {
                    News::Congested { peer, protocol }
                } else {
                    News::Relieved { peer, protocol }
                });
            }
        }
        news.extend(std::mem::take(&mut self.withdrawn).into_iter().map(News::Withdrawn));
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (PeerId, ProtocolId) {
        (PeerId::from_bytes([1; 32]), "/a/1".parse().expect("an id"))
    }

    fn supported(max_message: u32) -> News {
        let (peer, protocol) = pair();
        News::Supported { peer, protocol, max_message }
    }

    fn unsupported() -> News {
        let (peer, protocol) = pair();
        News::Unsupported { peer, protocol }
    }

    #[test]
    fn a_pair_that_came_and_went_unheard_is_not_told() {
        let mut board = NewsBoard::default();
        board.post(supported(1));
        board.post(unsupported());
        assert_eq!(board.take(), []);
        assert!(board.is_empty());
    }

    #[test]
    fn an_end_and_a_new_beginning_are_both_told() {
        let mut board = NewsBoard::default();
        board.post(unsupported());
        board.post(supported(1));
        board.post(unsupported());
        board.post(supported(2));
        assert_eq!(board.take(), [unsupported(), supported(2)]);
    }

    #[test]
    fn counts_add_up_and_congestion_is_the_last() {
        let (peer, protocol) = pair();
        let mut board = NewsBoard::default();
        for _ in 0..3 {
            board.post(News::Congested { peer, protocol: protocol.clone() });
            board.post(News::Undelivered { peer, protocol: protocol.clone(), messages: 2 });
            board.post(News::Relieved { peer, protocol: protocol.clone() });
        }
        let told = board.take();
        assert_eq!(told[0], News::Undelivered { peer, protocol: protocol.clone(), messages: 6 });
        assert_eq!(told[1], News::Relieved { peer, protocol });
    }
}
