//! What the supervisor has others do besides dials: to look who is connected, and to rank peers. Pure.
//!
//! Invariants:
//! - At most one look and one ranking are under way.
//! - What a look saw counts only when nothing came since it began.
//! - The last word about a peer is told, also when the telling of it broke: then again, unless a later word came.

use std::collections::BTreeMap;

use crate::connection::Level;
use crate::peer::PeerId;

#[derive(Debug, Default)]
pub(super) struct Errands {
    looking: bool,
    /// Something came since the look began, so what it saw may be old.
    stale: bool,
    /// Ranks that the network has not been told yet.
    ranks: BTreeMap<PeerId, Level>,
    ranking: Option<(PeerId, Level)>,
}

impl Errands {
    /// It is time to look; whether a look begins.
    pub(super) fn begin_look(&mut self) -> bool {
        let begins = !std::mem::replace(&mut self.looking, true);
        self.stale &= !begins;
        begins
    }

    /// The look has ended; whether what it saw counts.
    pub(super) fn looked(&mut self) -> bool {
        self.looking = false;
        !self.stale
    }

    /// The look broke: the next one begins when it is time again.
    pub(super) fn look_broke(&mut self) {
        self.looking = false;
    }

    /// What a look under way sees may be old.
    pub(super) fn changed(&mut self) {
        self.stale = true;
    }

    /// The last word about a peer.
    pub(super) fn rank(&mut self, peer: PeerId, level: Level) {
        self.ranks.insert(peer, level);
    }

    /// The next ranking, when none is under way.
    pub(super) fn next_rank(&mut self) -> Option<(PeerId, Level)> {
        if self.ranking.is_some() {
            return None;
        }
        self.ranking = self.ranks.pop_first();
        self.ranking
    }

    /// The ranking under way was told.
    pub(super) fn ranked(&mut self) {
        self.ranking = None;
    }

    /// The ranking under way broke. It is due again, but not at once, or one that always breaks would be a hot loop.
    pub(super) fn rank_broke(&mut self) {
        if let Some((peer, level)) = self.ranking.take() {
            self.ranks.entry(peer).or_insert(level);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u8) -> PeerId {
        PeerId::from_bytes([number; 32])
    }

    #[test]
    fn one_look_at_a_time_and_only_a_fresh_one_counts() {
        let mut errands = Errands::default();
        assert!(errands.begin_look() && !errands.begin_look());
        assert!(errands.looked());
        assert!(errands.begin_look());
        errands.changed();
        assert!(!errands.begin_look(), "one is under way");
        assert!(!errands.looked(), "what it saw may be old");
        assert!(errands.begin_look() && errands.looked(), "the next one is fresh");
    }

    #[test]
    fn a_look_that_broke_leaves_room_for_the_next() {
        let mut errands = Errands::default();
        assert!(errands.begin_look());
        errands.look_broke();
        assert!(errands.begin_look() && errands.looked());
    }

    #[test]
    fn a_ranking_that_broke_is_told_again_unless_a_later_word_came() {
        let mut errands = Errands::default();
        errands.rank(peer(1), Level::Necessary);
        errands.rank(peer(2), Level::Necessary);
        assert_eq!(errands.next_rank(), Some((peer(1), Level::Necessary)));
        assert_eq!(errands.next_rank(), None, "one at a time");
        errands.rank_broke();
        assert_eq!(errands.next_rank(), Some((peer(1), Level::Necessary)), "again");
        errands.rank(peer(1), Level::Ordinary);
        errands.rank_broke();
        assert_eq!(errands.next_rank(), Some((peer(1), Level::Ordinary)), "the later word");
        errands.ranked();
        assert_eq!(errands.next_rank(), Some((peer(2), Level::Necessary)));
        errands.ranked();
        assert_eq!(errands.next_rank(), None);
    }
}
