//! Rules one by one, then two nodes on a simulated network with everything that can go wrong.

use super::*;
use crate::connection::limits::{HELLO_TIMEOUT, PROBE_TIMEOUT};

#[path = "state_crowd.rs"]
mod crowd;
#[path = "state_limits_tests.rs"]
mod limits;
#[path = "state_sim.rs"]
mod sim;

const ZERO: Duration = Duration::ZERO;

fn peer(byte: u8) -> PeerId {
    PeerId::from_bytes([byte; 32])
}

fn id(number: u64) -> ConnectionId {
    ConnectionId(number)
}

/// Where everybody is who is nowhere in particular.
const HOST: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), 4433);

/// No limit but those that a test sets.
fn unreserved() -> ConnectionLimits {
    ConnectionLimits { max_per_source: usize::MAX, ..ConnectionLimits::default() }
}

/// A node with id 5 and places for `max_peers`.
fn node(max_peers: usize) -> State {
    node_with(ConnectionLimits { max_peers, max_pending: 8, ..unreserved() })
}

fn node_with(limits: ConnectionLimits) -> State {
    State::new(peer(5), limits, AccessLists::default(), 1)
}

fn linked(number: u64, from: u8, direction: Direction) -> Event {
    Event::Linked { connection: id(number), peer: peer(from), direction, remote: HOST }
}

fn dial(state: &mut State, number: u64, to: u8, another: bool) -> Vec<Action> {
    let wish = Event::DialRequested { connection: id(number), peer: peer(to), address: HOST, another };
    state.handle(wish, ZERO)
}

fn inbound(state: &mut State, number: u64, from: u8, incarnation: u64, dial: u64, now: Duration) -> Vec<Action> {
    let mut actions = state.handle(linked(number, from, Direction::Inbound), now);
    actions.extend(state.handle(Event::Hello { connection: id(number), incarnation, dial, beside: false }, now));
    actions
}

fn bring_up(state: &mut State, number: u64, from: u8) {
    inbound(state, number, from, 1, 1, ZERO);
    let actions = state.handle(Event::Admitted { connection: id(number) }, ZERO);
    assert!(actions.contains(&Action::Up { connection: id(number) }), "{actions:?}");
}

fn refusal(actions: &[Action], number: u64) -> Option<(CloseCode, String)> {
    actions.iter().find_map(|action| match action {
        Action::Send { connection, message: Control::Refused { code, reason } } if *connection == id(number) => {
            Some((*code, reason.clone()))
        }
        _ => None,
    })
}

fn says_admitted(actions: &[Action], number: u64) -> bool {
    actions.contains(&Action::Send { connection: id(number), message: Control::Admitted })
}

fn gone(state: &mut State, number: u64) -> Vec<Action> {
    state.handle(Event::Closed { connection: id(number), cause: LinkError::TimedOut }, ZERO)
}

#[test]
fn a_full_node_refuses_with_scope_limit_and_key() {
    let mut state = node(1);
    bring_up(&mut state, 1, 1);
    let actions = inbound(&mut state, 2, 2, 1, 1, ZERO);
    let reason = "node has 1 of 1 peers; raise `limits.max_peers`".to_owned();
    assert_eq!(refusal(&actions, 2), Some((CloseCode::Full, reason)));
}

#[test]
fn two_newcomers_never_share_the_last_place() {
    let mut state = node(1);
    assert!(says_admitted(&inbound(&mut state, 1, 1, 1, 1, ZERO), 1));
    // The first has not even answered yet.
    assert_eq!(refusal(&inbound(&mut state, 2, 2, 1, 1, ZERO), 2).map(|r| r.0), Some(CloseCode::Full));
    assert_eq!(state.places_taken(), 1);
}

#[test]
fn a_necessary_peer_displaces_the_newest_ordinary_one() {
    let mut state = node(2);
    bring_up(&mut state, 1, 1);
    bring_up(&mut state, 2, 2);
    state.handle(Event::SetLevel { peer: peer(3), level: Level::Necessary }, ZERO);
    let actions = inbound(&mut state, 3, 3, 1, 1, ZERO);
    assert!(says_admitted(&actions, 3));
    let evicted = Control::Drain { code: CloseCode::Evicted };
    assert!(actions.contains(&Action::Send { connection: id(2), message: evicted }), "{actions:?}");
    assert_eq!(state.places_taken(), 2);
    state.handle(Event::SetLevel { peer: peer(1), level: Level::Necessary }, ZERO);
    state.handle(Event::SetLevel { peer: peer(4), level: Level::Necessary }, ZERO);
    let full = refusal(&inbound(&mut state, 4, 4, 1, 1, ZERO), 4);
    assert!(full.is_some_and(|(code, reason)| code == CloseCode::Full && reason.contains("all are necessary")));
}

#[test]
fn a_new_incarnation_replaces_its_ghost_at_once() {
    let mut state = node(1);
    bring_up(&mut state, 1, 1);
    let actions = inbound(&mut state, 2, 1, 2, 1, ZERO);
    assert!(actions.contains(&Action::Close { connection: id(1), code: CloseCode::Replaced }), "{actions:?}");
    assert!(says_admitted(&actions, 2));
    // The session of the ghost ends before the new one begins.
    assert_eq!(state.handle(Event::Admitted { connection: id(2) }, ZERO), []);
    let actions = gone(&mut state, 1);
    assert!(matches!(
        actions[..],
        [Action::Down { connection: ConnectionId(1), .. }, Action::Up { connection: ConnectionId(2) }]
    ));
}

#[test]
fn a_later_dial_of_the_same_dialer_replaces_and_an_earlier_one_does_not() {
    let mut state = node(1);
    inbound(&mut state, 1, 1, 1, 7, ZERO);
    assert_eq!(refusal(&inbound(&mut state, 2, 1, 1, 6, ZERO), 2).map(|r| r.0), Some(CloseCode::Duplicate));
    let actions = inbound(&mut state, 3, 1, 1, 8, ZERO);
    assert!(actions.contains(&Action::Close { connection: id(1), code: CloseCode::Replaced }), "{actions:?}");
    assert!(says_admitted(&actions, 3));
}

fn up_outbound(state: &mut State, number: u64, to: u8) {
    dial(state, number, to, false);
    state.handle(linked(number, to, Direction::Outbound), ZERO);
    state.handle(Event::Hello { connection: id(number), incarnation: 1, dial: 0, beside: false }, ZERO);
    let actions = state.handle(Event::Admitted { connection: id(number) }, ZERO);
    assert!(actions.contains(&Action::DialDone { peer: peer(to), result: Ok(id(number)) }), "{actions:?}");
}

#[test]
fn an_old_connection_of_the_other_direction_is_asked_whether_it_lives() {
    for alive in [true, false] {
        let mut state = node(4);
        up_outbound(&mut state, 1, 9);
        let actions = inbound(&mut state, 2, 9, 1, 3, ZERO);
        let ping = actions.iter().find_map(|a| match a {
            Action::Send { connection: ConnectionId(1), message: Control::Ping(number) } => Some(*number),
            _ => None,
        });
        let number = ping.expect("the old one is pinged");
        assert_eq!(state.deadline(), Some(PROBE_TIMEOUT));
        if alive {
            let actions = state.handle(Event::Pong { connection: id(1), number }, ZERO);
            assert_eq!(refusal(&actions, 2).map(|r| r.0), Some(CloseCode::Duplicate));
        } else {
            let actions = state.handle(Event::Tick, PROBE_TIMEOUT);
            assert!(actions.contains(&Action::Close { connection: id(1), code: CloseCode::Silent }));
            assert!(says_admitted(&actions, 2));
        }
    }
}

#[test]
fn a_dial_of_oneself_and_of_a_connected_peer_are_told_apart() {
    let mut state = node(4);
    let own = dial(&mut state, 90, 5, false);
    assert!(matches!(
        &own[..],
        [Action::DialDone { result: Err(DialFailure::NotAdmitted { code: CloseCode::SelfDial, .. }), .. }]
    ));
    bring_up(&mut state, 1, 1);
    let twice = dial(&mut state, 90, 1, false);
    assert!(matches!(&twice[..], [Action::DialDone { result: Err(DialFailure::AlreadyConnected), .. }]));
}

#[test]
fn a_dial_that_meets_an_answered_inbound_succeeds_with_that_one() {
    let mut state = node(4);
    dial(&mut state, 1, 9, false);
    inbound(&mut state, 2, 9, 1, 1, ZERO);
    let actions = state.handle(linked(1, 9, Direction::Outbound), ZERO);
    assert_eq!(actions, [Action::TurnAway { connection: id(1), code: CloseCode::Duplicate }]);
    let actions = state.handle(Event::Admitted { connection: id(2) }, ZERO);
    assert!(actions.contains(&Action::DialDone { peer: peer(9), result: Ok(id(2)) }), "{actions:?}");
}

#[test]
fn silent_clients_cost_a_bounded_number_of_pending_places_and_a_bounded_time() {
    let mut state = node(4);
    for number in 0..9 {
        let who = peer(10 + number as u8);
        let reason = state.crowded(&who, HOST).map(|no_place| no_place.to_string());
        let expected = "node has 8 of 8 undecided connections; dial again later, or raise \
                        `limits.max_pending_handshakes`";
        assert_eq!(reason.as_deref(), (number == 8).then_some(expected));
        let actions = state.handle(linked(number, 10 + number as u8, Direction::Inbound), ZERO);
        let refused = actions == [Action::TurnAway { connection: id(number), code: CloseCode::Full }];
        assert_eq!(refused, number == 8, "{actions:?}");
    }
    let closed = state.handle(Event::Tick, HELLO_TIMEOUT);
    assert_eq!(closed.len(), 8);
    assert!(closed.iter().all(|a| matches!(a, Action::Close { code: CloseCode::HelloTimeout, .. })));
}

#[test]
fn one_peer_cannot_take_all_pending_places() {
    let mut state = node(4);
    let linked = |number| linked(number, 9, Direction::Inbound);
    for number in 0..2 {
        assert!(matches!(state.handle(linked(number), ZERO)[..], [Action::Greet { .. }]));
    }
    let reason = state.crowded(&peer(9), HOST).map(|no_place| no_place.to_string()).expect("no place");
    assert_eq!(reason, "peer has 2 of 2 undecided connections; dial again later");
    assert_eq!(state.handle(linked(2), ZERO), [Action::TurnAway { connection: id(2), code: CloseCode::Full }]);
    assert!(says_admitted(&inbound(&mut state, 3, 1, 1, 1, ZERO), 3), "others are let in");
    gone(&mut state, 0);
    assert!(matches!(state.handle(linked(4), ZERO)[..], [Action::Greet { .. }]));
}

#[test]
fn a_deliberate_close_drains_both_sides_and_closes_once() {
    let mut state = node(4);
    bring_up(&mut state, 1, 1);
    let code = CloseCode::Removed;
    let actions = state.handle(Event::CloseRequested { peer: peer(1), code }, ZERO);
    let drain = Action::Send { connection: id(1), message: Control::Drain { code } };
    assert_eq!(actions, [drain, Action::Draining { connection: id(1) }]);
    let actions = state.handle(Event::OwnDrained { connection: id(1) }, ZERO);
    assert_eq!(actions, [Action::Send { connection: id(1), message: Control::Drained }]);
    let actions = state.handle(Event::PeerDrained { connection: id(1) }, ZERO);
    assert_eq!(actions, [Action::Close { connection: id(1), code }]);
    assert!(state.handle(Event::CloseRequested { peer: peer(1), code }, ZERO).is_empty());
    assert!(matches!(gone(&mut state, 1)[..], [Action::Down { .. }]));
    assert_eq!((state.connections.len(), state.by_peer.len(), state.deadline()), (0, 0, None));
}

#[test]
fn a_drain_ends_after_two_seconds_whatever_the_peer_does() {
    let mut state = node(4);
    bring_up(&mut state, 1, 1);
    let code = CloseCode::Removed;
    state.handle(Event::CloseRequested { peer: peer(1), code }, ZERO);
    assert_eq!(state.deadline(), Some(DRAIN_TIMEOUT));
    assert_eq!(state.handle(Event::Tick, DRAIN_TIMEOUT), [Action::Close { connection: id(1), code }]);
}
