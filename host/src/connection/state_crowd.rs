//! One node and a crowd: random peers of random ranks come, go, move and are blocked, under every strategy, and what
//! the head of `state.rs` promises holds after each step.

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::connection::Eviction;
use crate::transport::AccessEntry;

struct Crowd {
    state: State,
    rng: StdRng,
    now: Duration,
    names: u64,
    trace: Vec<String>,
}

/// Who holds a place, and whether it is necessary.
type Places = BTreeMap<PeerId, bool>;

impl Crowd {
    fn new(seed: u64, limits: ConnectionLimits) -> Self {
        let state = State::new(peer(5), limits, AccessLists::default(), seed);
        Self { state, rng: StdRng::seed_from_u64(seed), now: ZERO, names: 0, trace: Vec::new() }
    }

    fn places(&self) -> Places {
        let holders = self.state.connections.values().filter(|c| c.holds_place());
        holders.map(|c| (c.peer, self.state.necessary.contains(&c.peer))).collect()
    }

    fn feed(&mut self, event: Event) {
        self.trace.push(format!("{:?} {event:?}", self.now));
        let (before, evicted) = (self.places(), self.state.counts.evicted);
        let actions = self.state.handle(event, self.now);
        self.trace.push(format!("        {actions:?}"));
        if self.state.counts.evicted > evicted {
            self.check_eviction(&before);
        }
        self.check();
        // What is closed ends soon.
        for action in actions {
            if let Action::Close { connection, .. } = action
                && self.rng.random_bool(0.8)
            {
                self.feed(Event::Closed { connection, cause: LinkError::TimedOut });
            }
        }
    }

    fn check_eviction(&self, before: &Places) {
        let (after, trace) = (self.places(), self.trace.join("\n"));
        let strategy = self.state.limits.eviction;
        let necessary = after.iter().any(|(peer, necessary)| *necessary && !before.contains_key(peer));
        // Who is blocked by the same event goes for that.
        let is_blocked = |id| self.state.connections[&id].stage == Stage::Closing(CloseCode::Blocked);
        let blocked = |peer: &PeerId| self.state.of(peer).any(is_blocked);
        let gone = before.iter().filter(|(peer, _)| !after.contains_key(peer) && !blocked(peer));
        for (gone, was_necessary) in gone {
            assert!(necessary || strategy != Eviction::Lifo, "lifo let {gone} go for an ordinary peer\n{trace}");
            if *was_necessary {
                let others = before.values().any(|necessary| !necessary);
                assert!(necessary && strategy != Eviction::Lifo && !others, "{gone} was necessary\n{trace}");
            }
        }
    }

    fn check(&self) {
        let (state, trace) = (&self.state, || self.trace.join("\n"));
        let places = self.places();
        assert!(places.len() <= state.limits.max_peers, "{}", trace());
        assert_eq!(places.len(), state.places_taken());
        assert!(places.keys().all(|peer| state.held(peer) <= state.limits.connections_per_peer), "{}", trace());
        for connection in state.connections.values().filter(|c| c.is_hopeful()) {
            let allowed = state.access.check(Some(&connection.peer), connection.remote);
            assert_eq!(allowed, Ok(()), "{}", trace());
        }
        let open = |c: &&Connection| c.holds_place() || matches!(c.stage, Stage::Draining(_));
        let open = state.connections.values().filter(open).count();
        assert!(open <= state.limits.most_connections(), "{open} hold memory\n{}", trace());
        assert!(state.seniority.keys().all(|peer| state.by_peer.contains_key(peer)), "{}", trace());
    }

    fn name(&mut self) -> ConnectionId {
        self.names += 1;
        ConnectionId(self.names)
    }

    fn someone(&mut self) -> PeerId {
        peer(self.rng.random_range(10..22))
    }

    fn somewhere(&mut self) -> SocketAddr {
        ([203, 0, 113, self.rng.random_range(1..6)], self.rng.random_range(1..3)).into()
    }

    fn any(&mut self) -> Option<ConnectionId> {
        let count = self.state.connections.len();
        let at = (count > 0).then(|| self.rng.random_range(0..count))?;
        self.state.connections.keys().nth(at).copied()
    }

    fn come(&mut self) {
        let (connection, peer, remote) = (self.name(), self.someone(), self.somewhere());
        let wanted = self.rng.random_bool(0.3);
        if wanted {
            let another = self.rng.random_bool(0.5);
            self.feed(Event::DialRequested { connection, peer, address: remote, another });
        }
        let direction = if wanted { Direction::Outbound } else { Direction::Inbound };
        self.feed(Event::Linked { connection, peer, direction, remote });
        if self.state.connections.contains_key(&connection) {
            let (usage, limits) = (self.state.usage(), &self.state.limits);
            assert!(wanted || usage.pending <= limits.max_pending, "{}", self.trace.join("\n"));
        }
        let hello = Event::Hello {
            connection,
            incarnation: self.rng.random_range(1..3),
            dial: self.names,
            beside: self.rng.random_bool(0.5),
        };
        if self.rng.random_bool(0.9) {
            let quota = self.state.limits.max_peers - self.state.limits.reserved_outbound;
            let (held, before) = (self.state.held(&peer) > 0, self.state.usage().inbound_ordinary);
            self.feed(hello);
            let holds = self.state.held(&peer) > 0;
            let ordinary = !self.state.necessary.contains(&peer);
            if holds && !held && ordinary && direction == Direction::Inbound {
                let after = self.state.usage().inbound_ordinary;
                assert!(after <= quota.max(before), "{}", self.trace.join("\n"));
            }
        }
        if self.rng.random_bool(0.9) {
            self.feed(Event::Admitted { connection });
        }
    }

    fn step(&mut self) {
        match self.rng.random_range(0..20) {
            0..=9 => self.come(),
            10..=13 => {
                if let Some(connection) = self.any() {
                    self.feed(Event::Closed { connection, cause: LinkError::TimedOut });
                }
            }
            14 => {
                let level = if self.rng.random_bool(0.6) { Level::Ordinary } else { Level::Necessary };
                let peer = self.someone();
                self.feed(Event::SetLevel { peer, level });
            }
            15 => {
                if let Some(connection) = self.any() {
                    let remote = self.somewhere();
                    self.feed(Event::Moved { connection, remote });
                }
            }
            16 => {
                let mut lists = AccessLists::default();
                if self.rng.random_bool(0.3) {
                    lists.block.insert(AccessEntry::Ip(self.somewhere().ip()));
                    lists.block.insert(AccessEntry::Peer(self.someone()));
                }
                self.feed(Event::Access { lists });
            }
            17 => {
                let (peer, code) = (self.someone(), CloseCode::Removed);
                self.feed(Event::CloseRequested { peer, code });
            }
            _ => {
                self.now += Duration::from_millis(self.rng.random_range(1..3000));
                self.feed(Event::Tick);
            }
        }
    }

    /// Everything that is not up ends by its deadline, whatever else happens.
    fn calm_down(&mut self) {
        for _ in 0..4 {
            self.now += 2 * HELLO_TIMEOUT;
            self.feed(Event::Tick);
            let over = |c: &Connection| !matches!(c.stage, Stage::Up | Stage::Dialing);
            let over: Vec<_> = self.state.connections.iter().filter(|(_, c)| over(c)).map(|(id, _)| *id).collect();
            for connection in over {
                self.feed(Event::Closed { connection, cause: LinkError::TimedOut });
            }
        }
    }
}

fn strategy() -> impl Strategy<Value = Eviction> {
    prop_oneof![Just(Eviction::Lifo), Just(Eviction::Fifo), Just(Eviction::Random)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn limits_and_ranks_hold_whoever_comes(
        seed in any::<u64>(), steps in 1usize..200, eviction in strategy(),
        max_peers in 1usize..5, reserved in 0usize..3, connections_per_peer in 1usize..4, max_per_source in 1usize..6,
    ) {
        let reserved_outbound = reserved.min(max_peers - 1);
        let limits = ConnectionLimits {
            max_peers, connections_per_peer, reserved_outbound, max_pending: 6, max_per_source,
            limit_loopback: false, eviction,
        };
        let mut crowd = Crowd::new(seed, limits);
        for _ in 0..steps {
            crowd.step();
        }
        crowd.calm_down();
        let left = crowd.state.connections.values().all(|c| matches!(c.stage, Stage::Up | Stage::Dialing));
        prop_assert!(left, "{}", crowd.trace.join("\n"));
        let counts = crowd.state.counts;
        let up = crowd.state.connections.values().filter(|c| c.told).count();
        prop_assert_eq!(counts.admitted - counts.ended, up as u64);
    }
}
