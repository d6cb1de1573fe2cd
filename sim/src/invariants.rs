//! What has to hold: at every moment of a run, and again when the network has been left alone for a while.

use std::collections::{BTreeMap, BTreeSet};

use weir_host::connection::ConnectionStatus;
use weir_host::protocol::TrafficStats;
use weir_host::stream::PoolStats;

use crate::look::Look;

/// What a rule is judged by.
pub struct Picture<'a> {
    /// Every node that runs.
    pub looks: &'a BTreeMap<usize, Look>,
    /// Who wants to keep whom connected.
    pub necessary: &'a BTreeSet<(usize, usize)>,
}

type Broken = (&'static str, String);

/// Limits, and counts that one node has to keep by itself.
///
/// # Errors
/// The first rule that is broken, and by what.
pub fn always(looks: &BTreeMap<usize, Look>) -> Result<(), Broken> {
    for (node, look) in looks {
        let broken = |rule: &'static str, what: String| Err((rule, format!("n{node} has {what}")));
        let m = &look.manager;
        if m.peers > m.limits.max_peers {
            return broken("no more peers than places", format!("{} of {}", m.peers, m.limits.max_peers));
        }
        let up = |all: &[ConnectionStatus]| all.iter().filter(|c| !c.draining).count();
        let most = m.limits.connections_per_peer;
        if let Some((peer, all)) = look.peers.iter().find(|(_, all)| up(all) > most) {
            return broken("no more connections than a peer may have", format!("{} of {most} to n{peer}", up(all)));
        }
        if look.incomplete > look.assembly {
            let detail = format!("{} bytes of {}", look.incomplete, look.assembly);
            return broken("frames that are not whole are bounded", detail);
        }
        for (peer, id, pool) in &look.pools {
            if pool.total() > pool.max {
                return broken("no pool above its limit", format!("{pool:?} for connection {id} to n{peer}"));
            }
        }
        let sum: usize = look.receive.values().sum();
        if sum != look.streams {
            return broken("receive streams add up", format!("{} streams, {:?} by peer", look.streams, look.receive));
        }
        if look.receive.contains_key(&usize::MAX) || look.peers.contains_key(&usize::MAX) {
            return broken("nobody is connected who does not exist", "a stranger".into());
        }
    }
    Ok(())
}

/// Everything that has to be so once nothing is under way any more.
///
/// # Errors
/// The first rule that does not hold (yet).
pub fn settled(picture: &Picture<'_>) -> Result<(), Broken> {
    necessary_peers_are_connected(picture)?;
    both_sides_agree(picture)?;
    nothing_is_under_way(picture)?;
    nothing_is_leaked(picture)?;
    metrics_say_the_same(picture)
}

fn necessary_peers_are_connected(picture: &Picture<'_>) -> Result<(), Broken> {
    for (from, to) in picture.necessary {
        let (Some(look), true) = (picture.looks.get(from), picture.looks.contains_key(to)) else { continue };
        if look.connections(*to) == 0 {
            return Err(("necessary peers are connected again in time", format!("n{from} is not connected to n{to}")));
        }
    }
    Ok(())
}

fn both_sides_agree(picture: &Picture<'_>) -> Result<(), Broken> {
    for (node, look) in picture.looks {
        for (peer, connections) in &look.peers {
            let theirs = picture.looks.get(peer).map_or(0, |other| other.connections(*node));
            if theirs != connections.len() {
                let detail = format!("n{node} counts {} to n{peer}, n{peer} counts {theirs}", connections.len());
                return Err(("both sides count the same connections", detail));
            }
            let Some(other) = picture.looks.get(peer) else { continue };
            if look.supports.get(peer) != Some(&other.registered) {
                let detail =
                    format!("n{peer} registered {:?}, n{node} knows {:?}", other.registered, look.supports.get(peer));
                return Err(("both sides know the same protocols", detail));
            }
            streams_agree(*node, look, *peer, other)?;
        }
    }
    Ok(())
}

/// What a sender has in use, its peer has open, and no more than the sender opened ahead besides.
fn streams_agree(node: usize, look: &Look, peer: usize, other: &Look) -> Result<(), Broken> {
    let pools = look.pools.iter().filter(|(to, _, _)| *to == peer);
    let (used, all) =
        pools.fold((0, 0), |(used, all), (_, _, pool)| (used + pool.lent + pool.parked, all + pool.total()));
    let open = other.receive.get(&node).copied().unwrap_or_default();
    if open < used || open > all {
        let detail = format!("n{node} uses {used} of {all} streams to n{peer}, which has {open} open");
        return Err(("both sides count the same streams", detail));
    }
    Ok(())
}

fn nothing_is_under_way(picture: &Picture<'_>) -> Result<(), Broken> {
    for (node, look) in picture.looks {
        let wrong = |what: String| Err(("everything comes to its end", format!("n{node} still has {what}")));
        if look.floods > 0 {
            return wrong(format!("{} floods", look.floods));
        }
        if look.open != (0, 0) {
            return wrong(format!("{:?} asks and requests", look.open));
        }
        if look.manager.pending > 0 {
            return wrong(format!("{} undecided connections", look.manager.pending));
        }
        if look.incomplete > 0 {
            return wrong(format!("{} bytes of frames that are not whole", look.incomplete));
        }
        for (peer, id, pool) in &look.pools {
            let opening = if waits_for_lost_credit(pool) { 0 } else { pool.opening };
            if pool.lent + pool.ending + opening + pool.waiters > 0 {
                return wrong(format!("{pool:?} for connection {id} to n{peer}"));
            }
        }
    }
    Ok(())
}

/// s2n-quic 1.91 never gives back the credit of a stream that was stopped after packets of it had overtaken each other,
/// when the sender had finished it before it heard: the receiver forgets what came early and waits for it for ever. So
/// a pool that wants its last slots may find that there are fewer. It goes on with those it has, and nobody waits.
fn waits_for_lost_credit(pool: &PoolStats) -> bool {
    pool.total() == pool.max && pool.waiters == 0
}

/// Whatever the rules count, an operator can see, too.
fn metrics_say_the_same(picture: &Picture<'_>) -> Result<(), Broken> {
    for (node, look) in picture.looks {
        let differs = |(name, count): &(&str, u64)| look.metrics.get(name) != Some(count);
        if let Some((name, count)) = counted(look).into_iter().find(differs) {
            let detail = format!("n{node} has {count} and says {:?} as {name}", look.metrics.get(name));
            return Err(("every count of the rules is a metric", detail));
        }
    }
    Ok(())
}

/// The counts by the names of their metrics.
fn counted(look: &Look) -> Vec<(&'static str, u64)> {
    let slots = |of: fn(&PoolStats) -> usize| look.pools.iter().map(|(_, _, pool)| of(pool)).sum();
    let now = [
        ("weir_peers", look.manager.peers),
        ("weir_connections_of_one_peer", look.manager.most_of_one_peer),
        ("weir_connections_pending", look.manager.pending),
        ("weir_send_pools", look.pools.len()),
        ("weir_send_streams_max", slots(|pool| pool.max)),
        ("weir_send_streams_idle", slots(|pool| pool.idle)),
        ("weir_send_streams_lent", slots(|pool| pool.lent)),
        ("weir_send_streams_parked", slots(|pool| pool.parked)),
        ("weir_send_streams_ending", slots(|pool| pool.ending)),
        ("weir_send_streams_opening", slots(|pool| pool.opening)),
        ("weir_send_stream_waiters", slots(|pool| pool.waiters)),
        ("weir_receive_streams", look.streams),
        ("weir_receive_incomplete_bytes", look.incomplete),
        ("weir_lanes_queued_bytes", look.queued),
        ("weir_protocols", look.registered.len()),
        ("weir_asks_open", look.open.0),
        ("weir_requests_open", look.open.1),
        ("weir_tasks", look.tasks),
        ("weir_plugins", look.plugins),
    ]
    .map(|(name, count)| (name, count as u64));
    let TrafficStats { accepted, delivered, undelivered, answered, failed } = look.traffic;
    let since_the_start = [
        ("weir_messages_accepted_total", accepted),
        ("weir_messages_delivered_total", delivered),
        ("weir_messages_undelivered_total", undelivered),
        ("weir_asks_answered_total", answered),
        ("weir_asks_failed_total", failed),
    ];
    now.into_iter().chain(since_the_start).collect()
}

fn nothing_is_leaked(picture: &Picture<'_>) -> Result<(), Broken> {
    for (node, look) in picture.looks {
        let leaked = |what: String| Err(("nothing is leaked", format!("n{node} has {what}")));
        let connections = look.all_connections();
        if look.pools.len() != connections {
            return leaked(format!("{} pools for {connections} connections", look.pools.len()));
        }
        // Dispatch and deadlines; of each connection the pool and the accepting task; a reader for each stream.
        let expected = 2 + 2 * connections + look.streams;
        if look.tasks != expected {
            return leaked(format!("{} tasks of its layers where {expected} have work", look.tasks));
        }
        // Of each connection its conversation; the dialing endpoint's two; and a dial or a look of the supervisor.
        let (alive, base) = look.alive;
        let bound = base + (expected - 2) + connections + 2 + 2;
        if look.plugins == 0 && alive > bound {
            return leaked(format!("{alive} tasks where at most {bound} have work"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use weir_host::connection::{ConnectionId, ConnectionLimits, ManagerStatus};
    use weir_host::transport::Direction;

    fn alone() -> Look {
        let look = Look {
            peers: BTreeMap::new(),
            manager: ManagerStatus {
                limits: ConnectionLimits { max_peers: 4, ..ConnectionLimits::default() },
                ..ManagerStatus::default()
            },
            pools: Vec::new(),
            receive: BTreeMap::new(),
            streams: 0,
            incomplete: 0,
            assembly: 0,
            queued: 0,
            registered: Vec::new(),
            supports: BTreeMap::new(),
            open: (0, 0),
            traffic: TrafficStats::default(),
            tasks: 2,
            alive: (7, 7),
            floods: 0,
            plugins: 0,
            metrics: BTreeMap::new(),
        };
        Look { metrics: counted(&look).into_iter().collect(), ..look }
    }

    fn broken(change: impl FnOnce(&mut Look)) -> Option<&'static str> {
        let mut look = alone();
        change(&mut look);
        let looks = BTreeMap::from([(0, look), (1, alone())]);
        let necessary = BTreeSet::new();
        let picture = Picture { looks: &looks, necessary: &necessary };
        always(&looks).and_then(|()| settled(&picture)).err().map(|(rule, _)| rule)
    }

    #[test]
    fn each_rule_is_broken_by_what_it_is_about() {
        assert_eq!(broken(|_| {}), None);
        assert_eq!(broken(|look| look.manager.peers = 5), Some("no more peers than places"));
        assert_eq!(broken(|look| look.streams = 1), Some("receive streams add up"));
        assert_eq!(broken(|look| look.tasks = 3), Some("nothing is leaked"));
        assert_eq!(broken(|look| look.alive.0 = 20), Some("nothing is leaked"));
        assert_eq!(broken(|look| look.open.0 = 1), Some("everything comes to its end"));
        assert_eq!(broken(|look| look.queued = 1), Some("every count of the rules is a metric"));
        assert_eq!(broken(|look| look.traffic.undelivered = 1), Some("every count of the rules is a metric"));
        let pool = PoolStats { lent: 1, max: 8, ..PoolStats::default() };
        assert_eq!(broken(|look| look.pools.push((1, 1, pool))), Some("everything comes to its end"));
        let pool = PoolStats { idle: 9, max: 8, ..PoolStats::default() };
        assert_eq!(broken(|look| look.pools.push((1, 1, pool))), Some("no pool above its limit"));
    }

    #[test]
    fn connections_of_a_peer_are_counted_without_those_that_drain() {
        let connection = |id, draining| ConnectionStatus {
            id: ConnectionId(id),
            direction: Direction::Inbound,
            remote: None,
            incarnation: 1,
            age: Duration::ZERO,
            draining,
        };
        let with = |all: Vec<ConnectionStatus>| {
            let look = Look { peers: BTreeMap::from([(1, all)]), ..alone() };
            always(&BTreeMap::from([(0, look)])).err().map(|(rule, _)| rule)
        };
        assert_eq!(with(vec![connection(1, false), connection(2, true)]), None);
        let rule = Some("no more connections than a peer may have");
        assert_eq!(with(vec![connection(1, false), connection(2, false)]), rule);
    }

    #[test]
    fn a_necessary_peer_has_to_be_connected_while_it_runs() {
        let looks = BTreeMap::from([(0, alone()), (1, alone())]);
        let necessary = BTreeSet::from([(0, 1), (0, 2)]);
        let found = settled(&Picture { looks: &looks, necessary: &necessary });
        assert_eq!(found.map_err(|(_, what)| what), Err("n0 is not connected to n1".to_owned()));
    }
}
