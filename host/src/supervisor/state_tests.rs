//! The interval law, one attempt at a time, no hot loop, nothing given up.

use proptest::prelude::*;

use super::*;

const ZERO: Duration = Duration::ZERO;

fn second(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn at(peer: u8, port: u16) -> PeerAddr {
    PeerAddr { peer: PeerId::from_bytes([peer; 32]), address: SocketAddr::from(([127, 0, 0, 1], port)) }
}

fn refused() -> Outcome {
    Outcome::Refused("node has 1 of 1 peers".into())
}

fn necessary(to: PeerAddr) -> (State, Vec<PeerAddr>) {
    let mut state = State::new(RetryPolicy::default());
    let dials = state.handle(Event::Add { to, necessary: true }, ZERO, 0);
    (state, dials)
}

#[test]
fn intervals_are_fibonacci_up_to_the_cap() {
    let policy = RetryPolicy::default();
    for (failures, base) in [(1, 1), (2, 2), (3, 3), (4, 5), (5, 8), (6, 13), (9, 55), (10, 60), (u32::MAX, 60)] {
        assert_eq!(policy.interval(failures, 0), second(base) * 4 / 5, "{failures}");
        for random in [1, u64::MAX / 3, u64::MAX] {
            let wait = policy.interval(failures, random);
            assert!(wait >= second(base) * 4 / 5 && wait <= (second(base) * 6 / 5).min(second(60)), "{wait:?}");
        }
    }
}

#[test]
fn a_disconnect_of_a_settled_connection_is_dialed_at_once_and_an_eviction_is_not() {
    let to = at(1, 1);
    for evicted in [false, true] {
        let (mut state, dials) = necessary(to);
        assert_eq!(dials, [to]);
        state.handle(Event::Dialed { to, outcome: Outcome::Connected }, ZERO, 0);
        let refused = evicted.then(|| "evicted".to_owned());
        let dials = state.handle(Event::Down { peer: to.peer, refused }, second(11), 0);
        assert_eq!(dials.len(), usize::from(!evicted));
        assert_eq!(state.deadline(), evicted.then(|| second(11) + second(1) * 4 / 5));
    }
}

#[test]
fn failures_are_forgotten_only_after_ten_seconds_of_connection() {
    let to = at(1, 1);
    let (mut state, _) = necessary(to);
    let mut now = ZERO;
    for round in 1..20 {
        state.handle(Event::Dialed { to, outcome: Outcome::Connected }, now, 0);
        now += second(9);
        assert_eq!(state.handle(Event::Down { peer: to.peer, refused: None }, now, 0), []);
        assert_eq!(state.watched[&to.peer].failures, round);
        now = state.deadline().expect("never given up");
        assert_eq!(state.handle(Event::Tick, now, 0), [to]);
    }
}

#[test]
fn all_addresses_are_tried_in_one_attempt_the_newest_first() {
    let (one, two) = (at(1, 1), at(1, 2));
    let (mut state, _) = necessary(one);
    // Learned while the first is being dialed: used next, with no wait.
    assert_eq!(state.handle(Event::Add { to: two, necessary: false }, ZERO, 0), []);
    let silent = Outcome::Unreachable("no answer".into());
    assert_eq!(state.handle(Event::Dialed { to: one, outcome: silent.clone() }, second(5), 0), [two]);
    assert_eq!(state.handle(Event::Dialed { to: two, outcome: silent }, second(10), 0), []);
    assert_eq!(state.watched[&one.peer].failures, 1, "one attempt");
    // Learned while it waits: dialed at once.
    let three = at(1, 3);
    assert_eq!(state.handle(Event::Add { to: three, necessary: false }, second(10), 0), [three]);
    // The peer itself said no: it would at the other addresses too.
    assert_eq!(state.handle(Event::Dialed { to: three, outcome: refused() }, second(11), 0), []);
}

#[test]
fn an_ordinary_peer_is_dialed_once_and_not_kept() {
    let to = at(1, 1);
    let mut state = State::new(RetryPolicy::default());
    assert_eq!(state.handle(Event::Add { to, necessary: false }, ZERO, 0), [to]);
    state.handle(Event::Dialed { to, outcome: refused() }, ZERO, 0);
    assert_eq!(state.deadline(), None);
    assert_eq!(state.handle(Event::Add { to, necessary: true }, second(9), 0), [to]);
}

#[test]
fn what_a_notification_missed_is_put_right_by_the_look() {
    let to = at(1, 1);
    let (mut state, _) = necessary(to);
    state.handle(Event::Dialed { to, outcome: Outcome::Connected }, ZERO, 0);
    let nobody = Event::Look { connected: BTreeSet::new() };
    assert_eq!(state.handle(nobody, second(20), 0), [to]);
    let connected = BTreeSet::from([to.peer]);
    assert_eq!(state.handle(Event::Look { connected }, second(21), 0), []);
    state.handle(Event::Remove { peer: to.peer }, second(22), 0);
    assert_eq!(state.handle(Event::Down { peer: to.peer, refused: None }, second(40), 0), []);
    assert!(state.watched.is_empty() && state.connected.is_empty());
}

#[derive(Debug, Clone)]
enum Step {
    Add(u8, u16, bool),
    Remove(u8),
    Up(u8),
    Down(u8, bool),
    Dialed(u8, u8),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..3u8, 0..3u16, any::<bool>()).prop_map(|(peer, port, kept)| Step::Add(peer, port, kept)),
        (0..3u8).prop_map(Step::Remove),
        (0..3u8).prop_map(Step::Up),
        (0..3u8, any::<bool>()).prop_map(|(peer, refused)| Step::Down(peer, refused)),
        (0..3u8, 0..3u8).prop_map(|(peer, outcome)| Step::Dialed(peer, outcome)),
        (0..20_000u64).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn one_attempt_per_peer_and_nothing_given_up(steps in proptest::collection::vec(step(), 0..200), random in any::<u64>()) {
        let mut state = State::new(RetryPolicy::default());
        let mut open: BTreeMap<PeerId, PeerAddr> = BTreeMap::new();
        let mut now = ZERO;
        for step in steps {
            let event = match step {
                Step::Add(peer, port, necessary) => Event::Add { to: at(peer, port), necessary },
                Step::Remove(peer) => {
                    open.remove(&at(peer, 0).peer);
                    Event::Remove { peer: at(peer, 0).peer }
                }
                Step::Up(peer) => Event::Up { peer: at(peer, 0).peer },
                Step::Down(peer, no) => Event::Down { peer: at(peer, 0).peer, refused: no.then(|| "no".into()) },
                Step::Dialed(peer, outcome) => {
                    let Some(to) = open.remove(&at(peer, 0).peer) else { continue };
                    let unreachable = Outcome::Unreachable("silent".into());
                    let outcome = [Outcome::Connected, unreachable, refused()][outcome as usize].clone();
                    Event::Dialed { to, outcome }
                }
                Step::Wait(ms) => {
                    now += Duration::from_millis(ms);
                    Event::Tick
                }
            };
            for to in state.handle(event, now, random) {
                prop_assert!(!state.connected.contains_key(&to.peer));
                prop_assert!(open.insert(to.peer, to).is_none(), "a second dial for one peer");
            }
            for (peer, watched) in &state.watched {
                let settled = state.connected.contains_key(peer) || watched.dialing.is_some() || watched.next.is_some();
                prop_assert!(settled || !watched.necessary, "given up: {watched:?}");
                prop_assert!(watched.next.is_none_or(|at| at > now || watched.dialing.is_some()), "late: {watched:?}");
            }
        }
    }

    #[test]
    fn refusals_at_once_are_no_hot_loop(seed in any::<u64>()) {
        let to = at(1, 1);
        let (mut state, mut dials) = necessary(to);
        let (mut now, mut count, mut random) = (ZERO, 0, seed);
        while now < second(3600) {
            for to in std::mem::take(&mut dials) {
                count += 1;
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                dials.extend(state.handle(Event::Dialed { to, outcome: refused() }, now, random));
            }
            now = state.deadline().expect("never given up");
            dials.extend(state.handle(Event::Tick, now, random));
        }
        prop_assert!((60..=90).contains(&count), "{count} dials in an hour");
    }
}
