//! The choice of a connection, and the wish for another, over random loads.

use proptest::prelude::*;

use super::*;

fn peer() -> PeerId {
    PeerId::from_bytes([1; 32])
}

/// With one connection to the peer.
fn connected(policy: LoadPolicy, now: Instant) -> Wants {
    let mut wants = Wants::new(policy);
    wants.handle(peer(), Event::Added, now);
    wants
}

fn any_loads() -> impl Strategy<Value = Vec<Load>> {
    let loads = proptest::collection::vec((0..40_usize, 0..20_usize), 0..5);
    loads.prop_map(|loads| {
        let load = |(at, (used, max))| Load { connection: ConnectionId(at), used, max };
        (0..).zip(loads).map(load).collect()
    })
}

proptest! {
    #[test]
    fn a_lane_moves_only_when_it_may_and_does_not_come_back(
        loads in any_loads(), home in proptest::option::of((0..6_u64, any::<bool>())),
    ) {
        let home = home.map(|(connection, settled)| Home { connection: ConnectionId(connection), settled });
        let Some(chosen) = choose(&loads, home) else {
            prop_assert!(loads.is_empty());
            return Ok(());
        };
        let load = |id: ConnectionId| loads.iter().find(|load| load.connection == id);
        let new = load(chosen).expect("one of them");
        match home.and_then(|home| load(home.connection)) {
            None => {
                let least = loads.iter().all(|other| other.max == 0 || new.used * other.max <= other.used * new.max);
                prop_assert!(least && (new.max > 0 || loads.iter().all(|load| load.max == 0)));
            }
            Some(old) if old.connection != chosen => {
                prop_assert!(home.is_some_and(|home| home.settled) && old.is_full() && !new.is_full());
                // It is one more there. It stays, unless that made the last slot.
                let there = loads.iter().map(|load| Load {
                    used: load.used + usize::from(load.connection == chosen),
                    ..*load
                });
                let home = Home { connection: chosen, settled: true };
                let next = choose(&there.collect::<Vec<_>>(), Some(home));
                prop_assert!(next == Some(chosen) || new.used + 1 >= new.max);
            }
            Some(_) => {}
        }
    }

    #[test]
    fn another_connection_is_asked_for_once_and_seldom(
        steps in proptest::collection::vec((0..12_usize, 1..4000_u64, any::<bool>()), 0..200),
    ) {
        let policy = LoadPolicy::default();
        let mut now = Instant::now();
        let mut wants = connected(policy, now);
        let (mut asked, mut calm) = (None::<Instant>, Some(now));
        for (used, ms, added) in steps {
            now += Duration::from_millis(ms);
            if added && used == 0 {
                wants.handle(peer(), Event::Added, now);
            }
            if used <= 1 {
                calm = Some(now);
            }
            if wants.handle(peer(), Event::Weighed { used, max: 8 }, now) {
                prop_assert!(used >= 4);
                prop_assert!(calm.is_none_or(|calm| now - calm >= policy.busy_for), "a burst");
                prop_assert!(asked.is_none_or(|asked| now - asked >= policy.again_after), "too soon");
                asked = Some(now);
            }
        }
    }
}

#[test]
fn load_that_lasts_asks_once_and_then_less_and_less_often() {
    let begin = Instant::now();
    let mut wants = connected(LoadPolicy::default(), begin);
    let mut asked = Vec::new();
    for second in 0..1000 {
        let now = begin + Duration::from_secs(second);
        if wants.handle(peer(), Event::Weighed { used: 5, max: 8 }, now) {
            asked.push(second);
        }
    }
    assert_eq!(asked, [1, 11, 31, 71, 151, 311, 611, 911], "nothing comes of it");
    let now = begin + Duration::from_secs(2000);
    wants.handle(peer(), Event::Added, now);
    assert!(!wants.handle(peer(), Event::Weighed { used: 9, max: 16 }, now), "the new one has its time to help");
    assert!(wants.handle(peer(), Event::Weighed { used: 9, max: 16 }, now + Duration::from_secs(1)));
}

#[test]
fn a_short_burst_and_a_single_lane_ask_for_nothing() {
    let begin = Instant::now();
    let mut wants = connected(LoadPolicy::default(), begin);
    for half in 0..100 {
        let now = begin + Duration::from_millis(half * 500);
        let used = if half % 2 == 0 { 8 } else { 1 };
        assert!(!wants.handle(peer(), Event::Weighed { used, max: 8 }, now));
    }
    for second in 100..200 {
        let now = begin + Duration::from_secs(second);
        assert!(!wants.handle(peer(), Event::Weighed { used: 1, max: 1 }, now));
    }
    wants.handle(peer(), Event::Gone, begin);
    assert!(wants.peers.is_empty());
    // A lane may have looked just before the connection went, and says so after it.
    assert!(!wants.handle(peer(), Event::Weighed { used: 8, max: 8 }, begin));
    assert!(wants.peers.is_empty(), "nobody is remembered who is gone");
}

#[test]
fn a_lane_with_something_under_way_stays_where_it_is() {
    let loads =
        [Load { connection: ConnectionId(1), used: 9, max: 8 }, Load { connection: ConnectionId(2), used: 0, max: 8 }];
    let home = |connection, settled| Some(Home { connection: ConnectionId(connection), settled });
    assert_eq!(choose(&loads, None), Some(ConnectionId(2)));
    assert_eq!(choose(&loads, home(1, false)), Some(ConnectionId(1)));
    assert_eq!(choose(&loads, home(1, true)), Some(ConnectionId(2)));
    assert_eq!(choose(&loads, home(3, false)), Some(ConnectionId(2)), "its connection is gone or drains");
    assert_eq!(choose(&[], home(1, true)), None);
}
