//! What a node counts, as metrics: one table, as text for Prometheus and as JSON.
//!
//! Names follow Prometheus: `weir_` first, counters end in `_total`. Every structure of counters is taken apart here, so
//! that one that is added anywhere is added here, or nothing compiles.

use std::fmt::Write as _;

use serde::Serialize;

use crate::connection::{ConnectionCounts, ManagerStatus};
use crate::plugin::{Counters, PluginInfo};
use crate::protocol::{ExchangeStats, ProtocolStats, TrafficStats};
use crate::stream::{PoolCounters, PoolStats, PoolTotals, ReceiveStats, RefusedBy};
use crate::supervisor::SupervisorStats;
use crate::transport::DoorCounts;

/// What a value means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Only grows, from 0 at the start of the node.
    Counter,
    /// As of now.
    Gauge,
}

/// One value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Metric {
    /// Its name, with `weir_` in front. Those of one name stand together.
    pub name: &'static str,
    /// What it counts, for people.
    pub help: &'static str,
    /// Whether it only grows.
    pub kind: Kind,
    /// What tells it from others of its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<(&'static str, String)>,
    /// The value.
    pub value: u64,
}

/// What the layers of a node said of themselves at one moment.
pub(crate) struct Observed {
    pub(crate) uptime_s: u64,
    pub(crate) connections: ManagerStatus,
    pub(crate) supervisor: SupervisorStats,
    pub(crate) pools: PoolTotals,
    /// Of every pool.
    pub(crate) slots: Vec<PoolStats>,
    pub(crate) receive: ReceiveStats,
    pub(crate) protocols: ProtocolStats,
    pub(crate) registered: usize,
    /// Bytes that wait in lanes.
    pub(crate) queued: usize,
    /// Our asks that wait for an answer, and requests of peers that wait for ours.
    pub(crate) requests: (usize, usize),
    /// Handshakes of peers that dial.
    pub(crate) handshakes: u32,
    /// What became of all who wanted to begin one.
    pub(crate) doors: DoorCounts,
    pub(crate) tasks: usize,
    pub(crate) plugins: Vec<PluginInfo>,
}

/// Collects values in the order in which they are shown.
#[derive(Default)]
struct Table(Vec<Metric>);

impl Table {
    fn counter(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.0.push(Metric { name, help, kind: Kind::Counter, label: None, value });
    }

    fn gauge(&mut self, name: &'static str, help: &'static str, value: usize) {
        self.0.push(Metric { name, help, kind: Kind::Gauge, label: None, value: value as u64 });
    }

    /// Several counters of one name.
    fn counters(&mut self, name: &'static str, help: &'static str, label: &'static str, values: &[(&str, u64)]) {
        let one = |(of, value): &(&str, u64)| Metric {
            name,
            help,
            kind: Kind::Counter,
            label: Some((label, (*of).to_owned())),
            value: *value,
        };
        self.0.extend(values.iter().map(one));
    }
}

/// Everything that is counted.
pub(crate) fn table(observed: &Observed) -> Vec<Metric> {
    let mut table = Table::default();
    table.gauge("weir_uptime_seconds", "Since the node was started", observed.uptime_s as usize);
    table.gauge("weir_tasks", "Tasks of the layers that have not ended", observed.tasks);
    table.gauge("weir_handshakes_pending", "Handshakes of peers that dial", observed.handshakes as usize);
    let (asks, requests) = observed.requests;
    table.gauge("weir_asks_open", "Asks that wait for an answer", asks);
    table.gauge("weir_requests_open", "Requests of peers that wait for an answer", requests);
    doors(&mut table, observed.doors);
    connections(&mut table, &observed.connections);
    supervisor(&mut table, observed.supervisor);
    pools(&mut table, observed.pools, &observed.slots);
    receive(&mut table, &observed.receive);
    protocols(&mut table, &observed.protocols, observed.registered);
    table.gauge("weir_lanes_queued_bytes", "Bytes that wait in lanes to be written", observed.queued);
    plugins(&mut table, &observed.plugins);
    table.0
}

fn doors(table: &mut Table, counts: DoorCounts) {
    let DoorCounts { let_in, retried, denied, node_full, source_full, bad_port, untaken } = counts;
    table.counter("weir_handshakes_begun_total", "Handshakes of peers that dial that were let in", let_in);
    table.counter("weir_handshakes_retried_total", "Handshakes that had to prove their address first", retried);
    let by = [("access", denied), ("node", node_full), ("source", source_full), ("port", bad_port)];
    let help = "Handshakes left unanswered: denied by the lists, no place at the node or for the source, a bad port";
    table.counters("weir_handshakes_refused_total", help, "limit", &by);
    let help = "Connections closed after their handshake because too many waited to be taken";
    table.counter("weir_connections_untaken_total", help, untaken);
}

fn connections(table: &mut Table, status: &ManagerStatus) {
    table.gauge("weir_peers", "Peers that hold a place", status.peers);
    table.gauge(
        "weir_peers_inbound_ordinary",
        "Of those, ordinary ones that dialed this node",
        status.inbound_ordinary,
    );
    let ManagerStatus { most_of_one_peer, most_of_one_source, .. } = *status;
    table.gauge("weir_connections_of_one_peer", "Connections of the peer that has most", most_of_one_peer);
    table.gauge("weir_connections_of_one_source", "Those of the source that dialed most", most_of_one_source);
    table.gauge("weir_connections_pending", "Inbound connections that are not decided yet", status.pending);
    table.gauge("weir_dials", "Peers that somebody waits to be connected to", status.dials);
    let ConnectionCounts { dialed, admitted, ended, refused, turned_away, denied, evicted, replaced, hello_timeouts } =
        status.counts;
    table.counter("weir_dials_total", "Dials begun", dialed);
    table.counter("weir_connections_admitted_total", "Connections admitted by both sides", admitted);
    table.counter("weir_connections_ended_total", "Of those, the ones that have ended", ended);
    table.counter("weir_connections_refused_total", "Connections this side refused", refused);
    table.counter("weir_connections_turned_away_total", "Of those, the ones closed before any hello", turned_away);
    table.counter("weir_connections_denied_total", "What the access lists kept out or closed", denied);
    table.counter("weir_peers_evicted_total", "Peers that lost their place to another", evicted);
    table.counter("weir_connections_replaced_total", "Connections a newer one of the same peer replaced", replaced);
    table.counter("weir_hello_timeouts_total", "Connections without a hello or a decision in time", hello_timeouts);
}

fn supervisor(table: &mut Table, stats: SupervisorStats) {
    let SupervisorStats { attempts, connected, unreachable, wrong_key, refused, broken, short_lived, evicted, records } =
        stats;
    table.counter("weir_supervisor_attempts_total", "Attempts to reach a peer", attempts);
    let outcomes = [
        ("connected", connected),
        ("unreachable", unreachable),
        ("wrong-key", wrong_key),
        ("refused", refused),
        ("broken", broken),
    ];
    let help = "What attempts came to; those with a wrong key are unreachable, too";
    table.counters("weir_supervisor_outcomes_total", help, "outcome", &outcomes);
    table.counter("weir_supervisor_short_lived_total", "Connections that ended before they had settled", short_lived);
    table.counter("weir_supervisor_evicted_total", "Connections that ended because they were not wanted", evicted);
    table.counter("weir_address_records_total", "Address records that told something new", records);
}

fn pools(table: &mut Table, totals: PoolTotals, pools: &[PoolStats]) {
    let slots = |of: fn(&PoolStats) -> usize| pools.iter().map(of).sum();
    table.gauge("weir_send_pools", "Pools of send streams, one for each admitted connection", pools.len());
    table.gauge("weir_send_streams_max", "Most send streams of all pools together", slots(|pool| pool.max));
    table.gauge("weir_send_streams_idle", "Send streams that are open and unused", slots(|pool| pool.idle));
    table.gauge("weir_send_streams_lent", "Send streams in the hands of a lane", slots(|pool| pool.lent));
    table.gauge("weir_send_streams_parked", "Send streams kept for the lane that used them", slots(|pool| pool.parked));
    table.gauge(
        "weir_send_streams_ending",
        "Send streams the peer has not read to their end",
        slots(|pool| pool.ending),
    );
    table.gauge("weir_send_streams_opening", "Send streams being opened", slots(|pool| pool.opening));
    table.gauge("weir_send_stream_waiters", "Lanes that wait for a stream", slots(|pool| pool.waiters));
    let PoolTotals { pools, lanes_moved, connections_wanted, connections_spared } = totals;
    let PoolCounters { opened, lent, late, denied, displaced, shrunk, abandoned, stopped } = pools;
    table.counter("weir_send_streams_opened_total", "Send streams opened", opened);
    table.counter("weir_borrows_total", "Times that a stream was lent", lent);
    table.counter("weir_borrows_late_total", "Of those, to a lane that had to wait", late);
    table.counter("weir_borrows_denied_total", "Lanes that waited in vain", denied);
    let ends = [("displaced", displaced), ("shrunk", shrunk), ("abandoned", abandoned), ("stopped", stopped)];
    let help =
        "Send streams that ended: finished for another lane or because they were idle, given up, stopped by the peer";
    table.counters("weir_send_streams_ended_total", help, "how", &ends);
    table.counter("weir_lanes_moved_total", "Times that a lane went on on another connection", lanes_moved);
    table.counter(
        "weir_connections_wanted_total",
        "Times that streams asked for another connection",
        connections_wanted,
    );
    table.counter(
        "weir_connections_spared_total",
        "Connections given up because others are enough",
        connections_spared,
    );
}

fn receive(table: &mut Table, stats: &ReceiveStats) {
    table.gauge("weir_receive_streams", "Data streams of peers that are open", stats.streams);
    table.gauge("weir_receive_incomplete_bytes", "Bytes of frames that are not whole yet", stats.incomplete);
    table.counter("weir_receive_streams_accepted_total", "Data streams taken in", stats.accepted);
    let RefusedBy { connection, peer, node } = stats.refused_by;
    let by = [("connection", connection), ("peer", peer), ("node", node)];
    table.counters("weir_receive_streams_refused_total", "Data streams refused, by the limit", "limit", &by);
}

fn protocols(table: &mut Table, stats: &ProtocolStats, registered: usize) {
    let ProtocolStats { connections, exchange, out_of_sequence, unregistered, cut, unclaimed, traffic } = *stats;
    table.gauge("weir_protocols", "Protocols registered here", registered);
    table.gauge("weir_exchange_connections", "Connections that protocol sets are exchanged on", connections);
    table.counter("weir_streams_out_of_sequence_total", "Data streams whose set did not come", out_of_sequence);
    table.counter("weir_streams_unregistered_total", "Data streams for a registration that is no more", unregistered);
    table.counter("weir_streams_cut_total", "Data streams stopped because their protocol or peer went", cut);
    messages(table, traffic, unclaimed);
    exchanged(table, exchange);
}

fn messages(table: &mut Table, traffic: TrafficStats, unclaimed: u64) {
    let TrafficStats { accepted, delivered, undelivered, answered, failed } = traffic;
    table.counter("weir_messages_accepted_total", "Messages that handlers sent and nothing refused", accepted);
    table.counter("weir_messages_delivered_total", "Messages of peers that handlers took", delivered);
    let help = "Messages that handlers were told of as undelivered, at most so many of which are lost";
    table.counter("weir_messages_undelivered_total", help, undelivered);
    table.counter("weir_messages_unclaimed_total", "Messages lost with nobody left to be told", unclaimed);
    table.counter("weir_asks_answered_total", "Asks that ended with an answer", answered);
    table.counter("weir_asks_failed_total", "Asks that ended without one, but for those that were cancelled", failed);
}

fn exchanged(table: &mut Table, exchange: ExchangeStats) {
    let ExchangeStats {
        pushes: _,
        full,
        differences,
        entries,
        coalesced,
        acknowledged,
        refused,
        redundant,
        resent,
        given_up,
        applied,
        outdated,
        other_base,
        stale,
        violations,
    } = exchange;
    let pushes = [("full", full), ("difference", differences)];
    table.counters("weir_pushes_total", "Changes of the protocol set told to a peer", "form", &pushes);
    table.counter("weir_push_entries_total", "Protocols and removals in all pushes", entries);
    table.counter("weir_pushes_coalesced_total", "Changes that went with a later push", coalesced);
    table.counter("weir_pushes_resent_total", "Pushes sent again because nothing was heard", resent);
    table.counter("weir_pushes_given_up_total", "Connections closed because no acknowledgement made sense", given_up);
    let answers = [("acknowledged", acknowledged), ("refused", refused), ("redundant", redundant)];
    table.counters("weir_push_answers_total", "What peers answered to pushes", "answer", &answers);
    let heard = [
        ("applied", applied),
        ("outdated", outdated),
        ("other-base", other_base),
        ("stale", stale),
        ("violation", violations),
    ];
    table.counters("weir_pushes_heard_total", "What became of the pushes of peers", "outcome", &heard);
}

fn plugins(table: &mut Table, plugins: &[PluginInfo]) {
    table.gauge("weir_plugins", "Loaded plugins", plugins.len());
    type Read = fn(&Counters) -> u64;
    let rows: [(&'static str, &'static str, Kind, Read); 18] = [
        ("weir_plugin_events_total", "Events in committed turns", Kind::Counter, |c| c.events),
        ("weir_plugin_messages_total", "Messages among them", Kind::Counter, |c| c.messages),
        ("weir_plugin_turns_total", "Committed turns", Kind::Counter, |c| c.turns),
        ("weir_plugin_crashes_total", "Turns that failed", Kind::Counter, |c| c.crashes),
        ("weir_plugin_dropped_total", "Events dropped because they failed alone", Kind::Counter, |c| c.dropped),
        ("weir_plugin_purged_total", "Events whose peer or plugin went first", Kind::Counter, |c| c.purged),
        ("weir_plugin_reports_total", "Verdicts on peers", Kind::Counter, |c| c.reports),
        ("weir_plugin_log_dropped_total", "Log lines beyond the limit", Kind::Counter, |c| c.log_lines_dropped),
        ("weir_plugin_restarts_total", "Starts after a crash", Kind::Counter, |c| c.restarts),
        ("weir_plugin_rollbacks_total", "Times that the revision before came back", Kind::Counter, |c| c.rollbacks),
        ("weir_plugin_calls_refused_total", "Calls between plugins beyond their limits", Kind::Counter, |c| {
            c.calls_refused
        }),
        ("weir_plugin_replays_total", "Turns of events that had failed before", Kind::Counter, |c| c.replays),
        ("weir_plugin_trials_total", "Culprits run again on an empty store", Kind::Counter, |c| c.trials),
        ("weir_plugin_turned_away_total", "Events of muted peers", Kind::Counter, |c| c.turned_away),
        ("weir_plugin_dead_letters", "Dead letters that are kept", Kind::Gauge, |c| c.dead_letters),
        ("weir_plugin_slow_turns_total", "Calls moved away from the network", Kind::Counter, |c| c.slow_turns),
        ("weir_plugin_memory_bytes", "Memories and tables", Kind::Gauge, |c| c.memory_bytes),
        ("weir_plugin_store_bytes", "Keys and values in the store", Kind::Gauge, |c| c.store_bytes),
    ];
    for (name, help, kind, read) in rows {
        let label = |plugin: &PluginInfo| Some(("plugin", plugin.name.clone()));
        let one = |plugin| Metric { name, help, kind, label: label(plugin), value: read(&plugin.counters) };
        table.0.extend(plugins.iter().map(one));
    }
}

/// The exposition format of Prometheus, version 0.0.4.
pub fn exposition(metrics: &[Metric]) -> String {
    let mut text = String::new();
    let mut last = "";
    for metric in metrics {
        let Metric { name, help, kind, label, value } = metric;
        if last != *name {
            let kind = if *kind == Kind::Counter { "counter" } else { "gauge" };
            // Writing to a string does not fail.
            let _ = writeln!(text, "# HELP {name} {help}.\n# TYPE {name} {kind}");
            last = name;
        }
        let _ = match label {
            Some((label, of)) => writeln!(text, "{name}{{{label}=\"{}\"}} {value}", escaped(of)),
            None => writeln!(text, "{name} {value}"),
        };
    }
    text
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let mut table = Table::default();
        table.gauge("weir_peers", "Peers", 3);
        table.counters("weir_ends_total", "Ends", "how", &[("well", 1), ("say \"no\"\n", 2)]);
        let expected = "# HELP weir_peers Peers.\n# TYPE weir_peers gauge\nweir_peers 3\n\
            # HELP weir_ends_total Ends.\n# TYPE weir_ends_total counter\n\
            weir_ends_total{how=\"well\"} 1\nweir_ends_total{how=\"say \\\"no\\\"\\n\"} 2\n";
        assert_eq!(exposition(&table.0), expected);
    }

    #[test]
    fn what_is_lost_can_be_seen() {
        let traffic = TrafficStats { accepted: 9, delivered: 8, undelivered: 7, answered: 6, failed: 5 };
        let mut table = Table::default();
        protocols(&mut table, &ProtocolStats { traffic, unclaimed: 4, ..ProtocolStats::default() }, 1);
        let values =
            ["accepted", "delivered", "undelivered", "unclaimed"].map(|of| format!("weir_messages_{of}_total"));
        let values = values.iter().map(String::as_str).chain(["weir_asks_answered_total", "weir_asks_failed_total"]);
        let value = |name| table.0.iter().find(|metric| metric.name == name).map(|metric| metric.value);
        assert_eq!(values.map(value).collect::<Vec<_>>(), [9, 8, 7, 4, 6, 5].map(Some));
    }

    #[test]
    fn names_stand_together_and_say_what_they_are() {
        let mut table = Table::default();
        doors(&mut table, DoorCounts::default());
        supervisor(&mut table, SupervisorStats::default());
        pools(&mut table, PoolTotals::default(), &[PoolStats::default()]);
        receive(&mut table, &ReceiveStats::default());
        protocols(&mut table, &ProtocolStats::default(), 0);
        let mut names: Vec<_> = table.0.iter().map(|metric| metric.name).collect();
        names.dedup();
        let runs = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), runs, "a name in two places");
        for metric in &table.0 {
            assert!(metric.name.starts_with("weir_"), "{}", metric.name);
            assert_eq!(metric.name.ends_with("_total"), metric.kind == Kind::Counter, "{}", metric.name);
        }
    }
}
