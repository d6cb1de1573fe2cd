//! Places, evictions, ranks, sources, several connections of a peer, and access lists, rule by rule.

use super::*;
use crate::connection::Eviction;

fn crowd(max_peers: usize, eviction: Eviction) -> State {
    node_with(ConnectionLimits { max_peers, eviction, max_pending: 8, ..unreserved() })
}

fn necessary(state: &mut State, who: u8) {
    state.handle(Event::SetLevel { peer: peer(who), level: Level::Necessary }, ZERO);
}

fn ordinary(state: &mut State, who: u8) {
    state.handle(Event::SetLevel { peer: peer(who), level: Level::Ordinary }, ZERO);
}

/// The peers that these actions evict.
fn evicted(state: &State, actions: &[Action]) -> Vec<PeerId> {
    let drained = actions.iter().filter_map(|action| match action {
        Action::Send { connection, message: Control::Drain { code: CloseCode::Evicted } } => Some(*connection),
        _ => None,
    });
    drained.filter_map(|id| state.connections.get(&id)).map(|c| c.peer).collect()
}

/// Peers 1 to 4 come one after the other; then peer 6 comes. Who goes?
fn who_goes(mut state: State, newcomer_is_necessary: bool) -> Result<Vec<PeerId>, String> {
    (1..=4).for_each(|who| bring_up(&mut state, who.into(), who));
    if newcomer_is_necessary {
        necessary(&mut state, 6);
    }
    let actions = inbound(&mut state, 6, 6, 1, 1, ZERO);
    match refusal(&actions, 6) {
        Some((code, reason)) => {
            assert_eq!(code, CloseCode::Full);
            Err(reason)
        }
        None => {
            assert!(says_admitted(&actions, 6), "{actions:?}");
            assert_eq!(state.places_taken(), 4);
            Ok(evicted(&state, &actions))
        }
    }
}

#[test]
fn lifo_refuses_an_ordinary_newcomer_and_gives_a_necessary_one_the_newest_place() {
    let full = "node has 4 of 4 peers; raise `limits.max_peers`".to_owned();
    assert_eq!(who_goes(crowd(4, Eviction::Lifo), false), Err(full));
    assert_eq!(who_goes(crowd(4, Eviction::Lifo), true), Ok(vec![peer(4)]));
}

#[test]
fn fifo_lets_the_oldest_ordinary_peer_go_for_anybody() {
    assert_eq!(who_goes(crowd(4, Eviction::Fifo), false), Ok(vec![peer(1)]));
    let mut state = crowd(4, Eviction::Fifo);
    necessary(&mut state, 1);
    assert_eq!(who_goes(state, true), Ok(vec![peer(2)]), "the oldest is necessary");
}

#[test]
fn random_lets_any_ordinary_peer_go_and_the_same_seed_the_same_one() {
    let goes = |seed| {
        let limits = ConnectionLimits { max_peers: 4, eviction: Eviction::Random, max_pending: 8, ..unreserved() };
        let mut state = State::new(peer(5), limits, AccessLists::default(), seed);
        necessary(&mut state, 3);
        who_goes(state, false).expect("a place")[0]
    };
    let victims: BTreeSet<PeerId> = (0..64).map(goes).collect();
    assert_eq!(victims, [1, 2, 4].map(peer).into(), "each of them, and never the necessary one");
    assert!((0..8).all(|seed| goes(seed) == goes(seed)));
}

#[test]
fn a_necessary_peer_is_displaced_only_by_a_necessary_one_and_never_with_lifo() {
    for (strategy, newcomer_is_necessary, goes) in [
        (Eviction::Lifo, false, None),
        (Eviction::Lifo, true, None),
        (Eviction::Fifo, false, None),
        (Eviction::Fifo, true, Some(peer(1))),
        (Eviction::Random, false, None),
    ] {
        let mut state = crowd(4, strategy);
        (1..=4).for_each(|who| necessary(&mut state, who));
        let outcome = who_goes(state, newcomer_is_necessary);
        let full = "node has 4 of 4 peers; all are necessary; raise `limits.max_peers`".to_owned();
        let expected = goes.map_or(Err(full), |peer| Ok(vec![peer]));
        assert_eq!(outcome, expected, "{strategy}, necessary: {newcomer_is_necessary}");
    }
    let mut state = crowd(4, Eviction::Random);
    (1..=4).for_each(|who| necessary(&mut state, who));
    assert_eq!(who_goes(state, true).map(|gone| gone.len()), Ok(1));
}

#[test]
fn a_connected_peer_is_promoted_and_demoted_at_once() {
    let mut state = crowd(2, Eviction::Lifo);
    bring_up(&mut state, 1, 1);
    bring_up(&mut state, 2, 2);
    // The newest is promoted while it is connected, so the other one goes.
    necessary(&mut state, 2);
    necessary(&mut state, 6);
    let actions = inbound(&mut state, 6, 6, 1, 1, ZERO);
    assert_eq!(evicted(&state, &actions), [peer(1)]);
    // Now both are necessary; once one is demoted, it can go.
    state.handle(Event::Admitted { connection: id(6) }, ZERO);
    necessary(&mut state, 7);
    assert!(refusal(&inbound(&mut state, 7, 7, 1, 1, ZERO), 7).is_some());
    gone(&mut state, 7);
    ordinary(&mut state, 2);
    let actions = inbound(&mut state, 8, 7, 1, 2, ZERO);
    assert_eq!(evicted(&state, &actions), [peer(2)]);
}

#[test]
fn dialing_again_makes_a_peer_neither_older_nor_younger() {
    let mut state = crowd(2, Eviction::Fifo);
    bring_up(&mut state, 1, 1);
    bring_up(&mut state, 2, 2);
    // The oldest restarts and replaces its ghost.
    inbound(&mut state, 3, 1, 2, 1, ZERO);
    gone(&mut state, 1);
    state.handle(Event::Admitted { connection: id(3) }, ZERO);
    let actions = inbound(&mut state, 6, 6, 1, 1, ZERO);
    assert_eq!(evicted(&state, &actions), [peer(1)]);
}

#[test]
fn an_evicted_peer_drains_and_its_place_is_free_at_once() {
    let mut state = crowd(1, Eviction::Fifo);
    bring_up(&mut state, 1, 1);
    let actions = inbound(&mut state, 2, 2, 1, 1, ZERO);
    let code = CloseCode::Evicted;
    let drain = Action::Send { connection: id(1), message: Control::Drain { code } };
    let at = |wanted: &Action| actions.iter().position(|action| action == wanted).expect("happens");
    let admitted = Action::Send { connection: id(2), message: Control::Admitted };
    assert!(at(&drain) < at(&admitted), "one step, and the place is taken in it: {actions:?}");
    assert!(actions.contains(&Action::Draining { connection: id(1) }));
    assert_eq!((state.places_taken(), state.counts.evicted), (1, 1));
}

#[test]
fn peers_that_come_and_drain_at_once_are_never_any_number() {
    let mut state = crowd(2, Eviction::Fifo);
    for number in 1..=20 {
        // Evicted by the next one, or draining by itself: either way its place is free while it still holds memory.
        bring_up(&mut state, number, 10 + number as u8);
        if number % 2 == 0 {
            state.handle(Event::PeerDrain { connection: id(number), code: CloseCode::Normal }, ZERO);
        }
    }
    let draining = state.connections.values().filter(|c| matches!(c.stage, Stage::Draining(_))).count();
    let cut = state.connections.values().filter(|c| matches!(c.stage, Stage::Closing(_))).count();
    assert_eq!((state.places_taken() + draining, cut), (3, 17));
}

#[test]
fn the_last_places_are_kept_for_peers_that_the_node_dials() {
    let mut state = node_with(ConnectionLimits { max_peers: 3, reserved_outbound: 1, ..unreserved() });
    bring_up(&mut state, 1, 1);
    bring_up(&mut state, 2, 2);
    let reason =
        "node has 2 of 2 ordinary peers that dialed this node; the other places are for peers it dials; raise \
                  `limits.max_peers` or lower `limits.reserved_outbound`"
            .to_owned();
    let refused = inbound(&mut state, 3, 3, 1, 1, ZERO);
    assert_eq!(refusal(&refused, 3), Some((CloseCode::Full, reason)));
    up_outbound(&mut state, 4, 9);
    assert_eq!(state.places_taken(), 3);
    // What it dialed takes nothing from those who dial: with a place free, one more of them comes in.
    let mut state = node_with(ConnectionLimits { max_peers: 3, reserved_outbound: 1, ..unreserved() });
    up_outbound(&mut state, 4, 9);
    up_outbound(&mut state, 5, 8);
    assert!(says_admitted(&inbound(&mut state, 1, 1, 1, 1, ZERO), 1));
    // A necessary peer takes any place.
    let mut state = node_with(ConnectionLimits { max_peers: 2, reserved_outbound: 1, ..unreserved() });
    bring_up(&mut state, 1, 1);
    necessary(&mut state, 2);
    assert!(says_admitted(&inbound(&mut state, 2, 2, 1, 1, ZERO), 2));
}

#[test]
fn with_fifo_a_newcomer_that_dialed_displaces_one_that_dialed_and_not_one_that_was_dialed() {
    let limits = ConnectionLimits { max_peers: 3, reserved_outbound: 1, eviction: Eviction::Fifo, ..unreserved() };
    let mut state = node_with(limits);
    up_outbound(&mut state, 9, 9);
    bring_up(&mut state, 1, 1);
    bring_up(&mut state, 2, 2);
    let actions = inbound(&mut state, 3, 3, 1, 1, ZERO);
    assert_eq!(evicted(&state, &actions), [peer(1)]);
}

fn from(number: u64, who: u8, address: &str) -> Event {
    let remote = address.parse().expect("an address");
    Event::Linked { connection: id(number), peer: peer(who), direction: Direction::Inbound, remote }
}

#[test]
fn one_source_cannot_take_all_places() {
    let mut state = node_with(ConnectionLimits { max_per_source: 2, ..unreserved() });
    for number in 1..=2 {
        let actions = state.handle(from(number, number as u8, &format!("203.0.113.7:{number}")), ZERO);
        assert!(matches!(actions[..], [Action::Greet { .. }]), "{actions:?}");
    }
    let reason = state.crowded(&peer(3), "203.0.113.7:3".parse().expect("an address")).expect("full");
    let expected = "source 203.0.113.7 has 2 of 2 connections dialed to this node; raise \
                    `limits.max_connections_per_source`";
    assert_eq!(reason.to_string(), expected);
    let turned_away = [Action::TurnAway { connection: id(3), code: CloseCode::Full }];
    assert_eq!(state.handle(from(3, 3, "203.0.113.7:3"), ZERO), turned_away);
    assert_eq!((state.counts.turned_away, state.usage().most_of_one_source), (1, 2));
    let admitted = |actions: Vec<Action>| matches!(actions[..], [Action::Greet { .. }]);
    assert!(admitted(state.handle(from(4, 4, "203.0.113.8:3"), ZERO)), "another source");
    // Its own older connection is the peer's ghost at worst.
    assert!(admitted(state.handle(from(5, 1, "203.0.113.7:9"), ZERO)));
    necessary(&mut state, 6);
    assert!(admitted(state.handle(from(6, 6, "203.0.113.7:9"), ZERO)), "a necessary peer is known");
    gone(&mut state, 1);
    gone(&mut state, 5);
    gone(&mut state, 6);
    assert!(admitted(state.handle(from(7, 3, "203.0.113.7:3"), ZERO)));
}

#[test]
fn an_ipv6_source_is_its_network_and_loopback_is_none() {
    let mut state = node_with(ConnectionLimits { max_per_source: 1, ..unreserved() });
    state.handle(from(1, 1, "[2001:db8::1]:1"), ZERO);
    let second = state.handle(from(2, 2, "[2001:db8::2]:1"), ZERO);
    assert!(matches!(second[..], [Action::TurnAway { code: CloseCode::Full, .. }]), "{second:?}");
    for number in 3..=6 {
        let actions = state.handle(from(number, number as u8 + 10, "127.0.0.1:1"), ZERO);
        assert!(matches!(actions[..], [Action::Greet { .. }]), "{actions:?}");
    }
}

fn wide(connections_per_peer: usize) -> State {
    node_with(ConnectionLimits { max_peers: 1, connections_per_peer, ..unreserved() })
}

fn inbound_beside(state: &mut State, number: u64, from: u8, incarnation: u64, dial: u64) -> Vec<Action> {
    let mut actions = state.handle(linked(number, from, Direction::Inbound), ZERO);
    let hello = Event::Hello { connection: id(number), incarnation, dial, beside: true };
    actions.extend(state.handle(hello, ZERO));
    actions.extend(state.handle(Event::Admitted { connection: id(number) }, ZERO));
    actions
}

#[test]
fn a_connection_beside_is_admitted_up_to_the_limit_and_costs_no_place() {
    let mut state = wide(2);
    bring_up(&mut state, 1, 1);
    let second = inbound_beside(&mut state, 2, 1, 1, 2);
    assert!(second.contains(&Action::Up { connection: id(2) }), "{second:?}");
    assert_eq!((state.places_taken(), state.held(&peer(1))), (1, 2));
    let reason = "peer has 2 of 2 connections; raise `limits.connections_per_peer`".to_owned();
    let third = inbound_beside(&mut state, 3, 1, 1, 3);
    assert_eq!(refusal(&third, 3), Some((CloseCode::Full, reason)));
    assert_eq!(state.counts.replaced, 0, "nothing had to go");
}

#[test]
fn one_of_several_connections_is_given_up_and_the_only_one_stays() {
    let mut state = wide(2);
    bring_up(&mut state, 1, 1);
    let give_up = |state: &mut State, number| state.handle(Event::GiveUp { connection: id(number) }, ZERO);
    assert!(give_up(&mut state, 1).is_empty(), "the only one");
    inbound_beside(&mut state, 2, 1, 1, 2);
    let drain = Action::Send { connection: id(2), message: Control::Drain { code: CloseCode::Normal } };
    assert_eq!(give_up(&mut state, 2), [drain, Action::Draining { connection: id(2) }]);
    assert!(give_up(&mut state, 2).is_empty(), "once");
    assert!(give_up(&mut state, 1).is_empty(), "the other one is on its way out");
    state.handle(Event::OwnDrained { connection: id(2) }, ZERO);
    let close = Action::Close { connection: id(2), code: CloseCode::Normal };
    assert_eq!(state.handle(Event::PeerDrained { connection: id(2) }, ZERO), [close]);
    assert!(matches!(gone(&mut state, 2)[..], [Action::Down { connection: ConnectionId(2), .. }]));
    assert_eq!((state.places_taken(), state.held(&peer(1))), (1, 1));
}

#[test]
fn when_one_of_two_connections_ends_the_peer_keeps_its_place() {
    let mut state = wide(2);
    bring_up(&mut state, 1, 1);
    inbound_beside(&mut state, 2, 1, 1, 2);
    assert!(matches!(gone(&mut state, 1)[..], [Action::Down { connection: ConnectionId(1), .. }]));
    assert_eq!((state.places_taken(), state.held(&peer(1))), (1, 1));
    assert!(refusal(&inbound(&mut state, 3, 2, 1, 1, ZERO), 3).is_some(), "the node is still full");
    gone(&mut state, 2);
    assert_eq!(state.places_taken(), 0);
}

#[test]
fn a_restarted_peer_replaces_all_its_ghosts_and_one_that_lost_them_too() {
    for (incarnation, beside) in [(2, false), (2, true), (1, false)] {
        let mut state = wide(2);
        bring_up(&mut state, 1, 1);
        inbound_beside(&mut state, 2, 1, 1, 2);
        state.handle(linked(3, 1, Direction::Inbound), ZERO);
        let hello = Event::Hello { connection: id(3), incarnation, dial: 3, beside };
        let actions = state.handle(hello, ZERO);
        for ghost in [1, 2] {
            let close = Action::Close { connection: id(ghost), code: CloseCode::Replaced };
            assert!(actions.contains(&close), "{incarnation} {beside}: {actions:?}");
        }
        assert!(says_admitted(&actions, 3), "within the same step");
        state.handle(Event::Admitted { connection: id(3) }, ZERO);
        gone(&mut state, 1);
        assert_eq!(state.connections[&id(3)].stage, Stage::Ready, "the session before has not ended");
        let actions = gone(&mut state, 2);
        assert!(matches!(actions[..], [Action::Down { .. }, Action::Up { connection: ConnectionId(3) }]));
    }
}

#[test]
fn one_more_is_dialed_only_beside_one_and_within_the_limit() {
    let mut state = wide(2);
    let refused = |actions: Vec<Action>| match &actions[..] {
        [Action::DialDone { result: Err(failure), .. }] => failure.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(dial(&mut state, 1, 9, true)), "the peer is not connected");
    up_outbound(&mut state, 1, 9);
    assert_eq!(dial(&mut state, 2, 9, true), [Action::Dial { connection: id(2) }]);
    assert!(dial(&mut state, 3, 9, true).is_empty(), "one at a time: this one waits with it");
    let greet = state.handle(linked(2, 9, Direction::Outbound), ZERO);
    assert_eq!(greet, [Action::Greet { connection: id(2), dial: 2, beside: true }]);
    state.handle(Event::Hello { connection: id(2), incarnation: 1, dial: 0, beside: false }, ZERO);
    let actions = state.handle(Event::Admitted { connection: id(2) }, ZERO);
    let up = Action::Up { connection: id(2) };
    assert_eq!(actions, [up, Action::DialDone { peer: peer(9), result: Ok(id(2)) }]);
    let full = "this node refused: peer has 2 of 2 connections; raise `limits.connections_per_peer`";
    assert_eq!(refused(dial(&mut state, 4, 9, true)), full);
}

#[test]
fn one_more_that_fails_is_answered_though_the_peer_is_connected() {
    let mut state = wide(2);
    up_outbound(&mut state, 1, 9);
    dial(&mut state, 2, 9, true);
    state.handle(linked(2, 9, Direction::Outbound), ZERO);
    let reason = "peer has 1 of 1 connections; raise `limits.connections_per_peer`".to_owned();
    let refused = Event::Refused { connection: id(2), code: CloseCode::Full, reason: reason.clone() };
    let actions = state.handle(refused, ZERO);
    let failure = DialFailure::Refused { code: CloseCode::Full, reason };
    assert!(actions.contains(&Action::DialDone { peer: peer(9), result: Err(failure) }), "{actions:?}");
    assert_eq!((state.held(&peer(9)), state.dials()), (1, 0));
}

#[test]
fn one_more_becomes_an_ordinary_dial_when_the_first_is_lost_on_the_way() {
    let mut state = wide(2);
    up_outbound(&mut state, 1, 9);
    dial(&mut state, 2, 9, true);
    gone(&mut state, 1);
    let greet = state.handle(linked(2, 9, Direction::Outbound), ZERO);
    assert_eq!(greet, [Action::Greet { connection: id(2), dial: 2, beside: false }]);
}

fn lists(allow: &[&str], block: &[&str]) -> AccessLists {
    let set = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("an entry")).collect();
    AccessLists { allow: set(allow), block: set(block) }
}

#[test]
fn the_lists_are_asked_after_the_handshake_and_before_a_dial() {
    let (network, own_key) = (lists(&[], &["192.0.2.0/24"]), lists(&[], &[&peer(9).to_string()]));
    for lists in [network, own_key, lists(&[&peer(1).to_string()], &[])] {
        let mut state = node(4);
        state.handle(Event::Access { lists }, ZERO);
        let blocked = [Action::TurnAway { connection: id(1), code: CloseCode::Blocked }];
        assert_eq!(state.handle(linked(1, 9, Direction::Inbound), ZERO), blocked);
        let actions = dial(&mut state, 2, 9, false);
        let [Action::DialDone { result: Err(DialFailure::NotAdmitted { code, refusal }), .. }] = &actions[..] else {
            panic!("{actions:?}")
        };
        assert_eq!(*code, CloseCode::Blocked);
        assert!(refusal.named().scope == "access" && refusal.to_string().contains("list has"), "{refusal}");
        assert_eq!((state.counts.denied, state.connections.len()), (2, 0));
    }
}

#[test]
fn a_change_of_the_lists_ends_what_they_deny_and_nothing_else() {
    let mut state = node(8);
    bring_up(&mut state, 1, 1);
    state.handle(from(2, 2, "203.0.113.7:1"), ZERO);
    dial(&mut state, 3, 3, false);
    bring_up(&mut state, 4, 4);
    state.handle(Event::CloseRequested { peer: peer(4), code: CloseCode::Removed }, ZERO);
    bring_up(&mut state, 6, 6);
    let blocked = [1, 3, 4].map(|who| peer(who).to_string());
    let block: Vec<&str> = blocked.iter().map(String::as_str).chain(["203.0.113.7"]).collect();
    let actions = state.handle(Event::Access { lists: lists(&[], &block) }, ZERO);
    let close = |number| Action::Close { connection: id(number), code: CloseCode::Blocked };
    assert!([1, 2, 4].into_iter().all(|number| actions.contains(&close(number))), "{actions:?}");
    assert!(actions.contains(&Action::CancelDial { connection: id(3) }));
    let failed = |a: &Action| matches!(a, Action::DialDone { result: Err(DialFailure::NotAdmitted { .. }), .. });
    assert!(actions.iter().any(failed));
    assert_eq!(state.connections[&id(6)].stage, Stage::Up);
    assert_eq!(state.places_taken(), 1, "their places are free");
    assert!(state.handle(Event::Access { lists: lists(&[], &block) }, ZERO).is_empty(), "once is enough");
}

#[test]
fn nobody_is_evicted_for_a_place_that_a_blocked_peer_is_about_to_leave() {
    let limits = ConnectionLimits { max_peers: 4, reserved_outbound: 2, eviction: Eviction::Fifo, ..unreserved() };
    let mut state = node_with(limits);
    bring_up(&mut state, 1, 1);
    // Peer 3 was dialed elsewhere, and comes by itself as well: that one waits for proof that the first is alive.
    dial(&mut state, 2, 3, false);
    let remote = "203.0.113.7:1".parse().expect("an address");
    state.handle(Event::Linked { connection: id(2), peer: peer(3), direction: Direction::Outbound, remote }, ZERO);
    state.handle(Event::Hello { connection: id(2), incarnation: 1, dial: 1, beside: false }, ZERO);
    state.handle(Event::Admitted { connection: id(2) }, ZERO);
    bring_up(&mut state, 3, 2);
    inbound(&mut state, 4, 3, 1, 1, ZERO);
    assert_eq!((state.connections[&id(4)].stage, state.places_taken()), (Stage::Waiting, 3));
    let block = [peer(2).to_string(), "203.0.113.7".to_owned()];
    let lists = lists(&[], &block.each_ref().map(String::as_str));
    let actions = state.handle(Event::Access { lists }, ZERO);
    assert!(says_admitted(&actions, 4), "{actions:?}");
    assert_eq!(evicted(&state, &actions), []);
    assert_eq!((state.connections[&id(1)].stage, state.counts.evicted), (Stage::Up, 0));
}

#[test]
fn a_connection_that_moves_to_a_denied_address_is_closed() {
    let mut state = node(8);
    bring_up(&mut state, 1, 1);
    bring_up(&mut state, 2, 2);
    state.handle(Event::Access { lists: lists(&[], &["203.0.113.0/24"]) }, ZERO);
    let to = |address: &str| address.parse().expect("an address");
    assert!(state.handle(Event::Moved { connection: id(1), remote: to("198.51.100.1:1") }, ZERO).is_empty());
    let actions = state.handle(Event::Moved { connection: id(1), remote: to("203.0.113.7:1") }, ZERO);
    assert_eq!(actions, [Action::Close { connection: id(1), code: CloseCode::Blocked }]);
    assert_eq!(state.connections[&id(2)].stage, Stage::Up);
}

#[test]
fn every_decision_about_a_newcomer_is_an_event_that_names_scope_limit_and_value() {
    let said = crate::capture::Capture::default();
    let _listening = said.listen();
    let mut state = crowd(1, Eviction::Fifo);
    bring_up(&mut state, 1, 1);
    let admitted = said.named("admitted by this side");
    assert_eq!((admitted.len(), admitted[0].field("direction")), (1, Some("Inbound")));
    bring_up(&mut state, 2, 2);
    let evicted = &said.named("evicted")[0];
    let named = ["scope", "limit", "value", "taken"].map(|name| evicted.field(name));
    assert_eq!(named, [Some("node"), Some("peers"), Some("1"), Some("1")]);
    let mut state = crowd(1, Eviction::Lifo);
    bring_up(&mut state, 1, 1);
    inbound(&mut state, 2, 2, 1, 1, ZERO);
    let refused = &said.named("refused")[0];
    let named = ["scope", "limit", "value", "taken", "code"].map(|name| refused.field(name));
    assert_eq!(named, [Some("node"), Some("peers"), Some("1"), Some("1"), Some("2")]);
    let mut lists = AccessLists::default();
    lists.block.insert(crate::transport::AccessEntry::Peer(peer(1)));
    state.handle(Event::Access { lists }, ZERO);
    let named = ["scope", "limit"].map(|name| said.named("denied")[0].field(name).map(str::to_owned));
    assert_eq!(named, [Some("access".into()), Some("block list".into())]);
    state.handle(linked(3, 1, Direction::Inbound), ZERO);
    assert_eq!(said.named("turned away")[0].field("scope"), Some("access"));
    dial(&mut state, 4, 1, false);
    assert_eq!(said.named("not dialed")[0].field("limit"), Some("block list"));
}
