//! What a subscriber is told, over random lives of peers and readers that fall behind.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Comes(u8),
    Restarts(u8),
    Goes(u8),
    Toggles(u8, u8),
    Reads,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0_u8..4).prop_map(Step::Comes),
        1 => (0_u8..4).prop_map(Step::Restarts),
        2 => (0_u8..4).prop_map(Step::Goes),
        6 => (0_u8..4, 0_u8..4).prop_map(|(peer, protocol)| Step::Toggles(peer, protocol)),
        3 => Just(Step::Reads),
    ]
}

fn peer(at: u8) -> PeerId {
    PeerId::from_bytes([at; 32])
}

fn protocol(at: u8) -> ProtocolId {
    format!("/test-{at}/1").parse().expect("an id")
}

/// Peers as they are, and as the reader believes them to be.
#[derive(Default)]
struct World {
    now: BTreeMap<PeerId, Snapshot>,
    numbers: u64,
    view: View,
    believed: BTreeMap<PeerId, BTreeSet<ProtocolId>>,
}

impl World {
    fn step(&mut self, step: &Step) {
        self.numbers += 1;
        let fresh = || Snapshot { incarnation: self.numbers, protocols: BTreeMap::new() };
        let of = match *step {
            Step::Comes(at) => {
                self.now.entry(peer(at)).or_insert_with(fresh);
                at
            }
            Step::Restarts(at) => {
                let fresh = fresh();
                self.now.entry(peer(at)).and_modify(|old| *old = fresh);
                at
            }
            Step::Goes(at) => {
                self.now.remove(&peer(at));
                at
            }
            Step::Toggles(at, id) => {
                if let Some(now) = self.now.get_mut(&peer(at))
                    && now.protocols.remove(&protocol(id)).is_none()
                {
                    now.protocols.insert(protocol(id), self.numbers);
                }
                at
            }
            Step::Reads => return self.read(),
        };
        self.view.changed(peer(of), self.now.contains_key(&peer(of)));
        assert!(self.view.changed.iter().all(|of| self.now.contains_key(of) || self.believed.contains_key(of)));
    }

    fn read(&mut self) {
        while let Some(of) = self.view.changed.pop_first() {
            for news in self.view.catch_up(of, self.now.get(&of).cloned()) {
                self.hear(&news);
            }
        }
    }

    fn hear(&mut self, news: &PeerNews) {
        match news {
            PeerNews::Connected(peer) => assert!(self.believed.insert(*peer, BTreeSet::new()).is_none(), "{news:?}"),
            PeerNews::Gained { peer, protocol } => {
                assert!(self.believed.get_mut(peer).expect("connected").insert(protocol.clone()), "{news:?}");
            }
            PeerNews::Lost { peer, protocol } => {
                assert!(self.believed.get_mut(peer).expect("connected").remove(protocol), "{news:?}");
            }
            PeerNews::Gone(peer) => assert_eq!(self.believed.remove(peer), Some(BTreeSet::new()), "{news:?}"),
        }
    }
}

proptest! {
    #[test]
    fn whoever_reads_late_hears_everything_in_order_and_nothing_twice(
        steps in proptest::collection::vec(any_step(), 0..200),
    ) {
        let mut world = World::default();
        for step in &steps {
            world.step(step);
        }
        world.read();
        let now: BTreeMap<_, BTreeSet<_>> =
            world.now.iter().map(|(peer, now)| (*peer, now.protocols.keys().cloned().collect())).collect();
        prop_assert_eq!(&world.believed, &now);
    }
}

#[test]
fn a_peer_that_came_and_went_unheard_is_neither_told_nor_kept() {
    let mut view = View::default();
    for at in 0..200 {
        view.changed(peer(at), true);
        view.changed(peer(at), false);
    }
    assert!(view.changed.is_empty());
}
