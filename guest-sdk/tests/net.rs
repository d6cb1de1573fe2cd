//! The network under `TestNet`: what arrives, what is lost and told, what a crash leaves.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::json;
use weir_sdk::prelude::*;
use weir_sdk::testing::{Faults, LinkSpec, Network, Scenario, Step, TestNet, TraceMode};

const KEY: ProtocolKey = 1;

/// Sends numbered messages to everybody it knows, and notes what it hears.
#[derive(Default)]
struct Teller {
    peers: Vec<PeerId>,
    next: u64,
    heard: BTreeMap<PeerId, Vec<u64>>,
    undelivered: u64,
    pressure: Vec<&'static str>,
    answers: Vec<String>,
    causes: Vec<String>,
    waiting: Vec<u64>,
}

impl Plugin for Teller {
    fn manifest() -> Manifest {
        Manifest::new("teller", "0.1.0")
            .protocol(Protocol::new(KEY, "/teller/1.0.0"))
            .protocol(Protocol::new(2, "/teller/2.0.0").unordered())
            .capability("call:clerk")
    }

    fn start(init: Init, ctx: &Context) -> Result<Self> {
        let mut teller = Self { next: ctx.store().get("next")?.unwrap_or(0), ..Self::default() };
        teller.causes.push(format!("{:?}", init.cause));
        if let Some(next) = init.restore::<u64>()? {
            teller.next = next + 1_000;
        }
        Ok(teller)
    }

    fn on_peer_supported(&mut self, there: Reachable, _: &Context) -> Result {
        if there.protocol == KEY {
            self.peers.push(there.peer);
        }
        Ok(())
    }

    fn on_peer_unsupported(&mut self, lane: Lane, _: &Context) -> Result {
        self.peers.retain(|peer| *peer != lane.peer);
        Ok(())
    }

    fn on_message(&mut self, message: Message<'_>, _: &Context) -> Result {
        if let Ok(number) = message.decode() {
            self.heard.entry(message.peer).or_default().push(number);
        }
        Ok(())
    }

    fn on_request(&mut self, request: Request<'_>, ctx: &Context) -> Result {
        match request.decode::<&str>()? {
            "later" => self.waiting.push(request.id),
            "never" => return Err(Error::new("never", "I do not answer this")),
            text => request.respond(ctx, &text.to_uppercase())?,
        }
        Ok(())
    }

    fn on_response(&mut self, response: Response<'_>, _: &Context) -> Result {
        let text = match response.decode::<String>() {
            Ok(text) => text,
            Err(error) => error.code().to_owned(),
        };
        self.answers.push(text);
        Ok(())
    }

    fn on_called(&mut self, called: Called<'_>, _: &Context) -> Result {
        let text = called.decode::<String>().unwrap_or_else(|error| error.code().to_owned());
        self.answers.push(text);
        Ok(())
    }

    fn on_command(&mut self, command: Command<'_>, ctx: &Context) -> Result {
        match command.name.as_str() {
            "tell" => {
                let count: u64 = command.args()?;
                for _ in 0..count {
                    ctx.send_all(&self.peers, KEY, &self.next)?;
                    self.next += 1;
                }
                ctx.store().put("next", &self.next)?;
            }
            "fill" => {
                let bytes = vec![0; 10_000];
                let outcome = ctx.send_bytes(self.peers[0], KEY, &bytes);
                return command.answer(ctx, &outcome.is_ok());
            }
            "ask" => drop(ctx.ask(self.peers[0], KEY, 2_000, command.args::<&str>()?)?),
            "call" => drop(ctx.call("clerk", "greet", 1_000, &json!({}))?),
            "note" => {
                // Relaxed: nobody hears of it.
                ctx.store().put("note", &1_u8)?;
                ctx.set_timer(7, 100)?;
                return Ok(());
            }
            "panic" => panic!("as told"),
            _ => return Err(command.unknown(&["tell", "fill", "ask"])),
        }
        command.answer(ctx, &self.next)
    }

    fn on_timer(&mut self, _: u64, ctx: &Context) -> Result {
        ctx.store().put("timer", &ctx.now_ms())
    }

    fn on_congested(&mut self, _: Lane, _: &Context) -> Result {
        self.pressure.push("congested");
        Ok(())
    }

    fn on_relieved(&mut self, _: Lane, _: &Context) -> Result {
        self.pressure.push("relieved");
        Ok(())
    }

    fn on_undelivered(&mut self, count: Count, _: &Context) -> Result {
        self.undelivered += count.messages;
        Ok(())
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        weir_sdk::encode(&self.next)
    }
}

/// What a teller becomes.
struct Second(u64, usize);
impl Plugin for Second {
    fn manifest() -> Manifest {
        Manifest::new("teller", "0.2.0").protocol(Protocol::new(KEY, "/teller/1.0.0"))
    }
    fn start(init: Init, _: &Context) -> Result<Self> {
        Ok(Self(init.restore()?.unwrap_or(0), 0))
    }
    fn on_message(&mut self, _: Message<'_>, _: &Context) -> Result {
        self.1 += 1;
        Ok(())
    }
}

/// Another plugin of the node.
struct Clerk;
impl Plugin for Clerk {
    fn manifest() -> Manifest {
        Manifest::new("clerk", "0.1.0")
    }
    fn start(_: Init, _: &Context) -> Result<Self> {
        Ok(Self)
    }
    fn on_command(&mut self, command: Command<'_>, ctx: &Context) -> Result {
        command
            .answer(ctx, &format!("hello, {}", if matches!(command.caller, Caller::Plugin(_)) { "plugin" } else { "" }))
    }
}

fn pair() -> TestNet {
    let mut net = TestNet::new(Network::default());
    net.install::<Teller>(());
    net.full_mesh();
    net.run_ms(10);
    net
}

fn heard(net: &TestNet, node: u32, from: u32) -> Vec<u64> {
    let from = net.id(from);
    net.plugin::<Teller, _>(node, |teller| teller.heard.get(&from).cloned().unwrap_or_default())
}

#[test]
fn messages_arrive_in_order_after_the_latency() {
    let mut net = pair();
    net.command(0, "tell", &json!(50)).expect("told");
    net.run_ms(5);
    assert!(heard(&net, 1, 0).is_empty());
    net.run_ms(40);
    assert_eq!(heard(&net, 1, 0), (0..50).collect::<Vec<_>>());
}

#[test]
fn a_break_loses_what_is_in_flight_and_says_so() {
    let mut net = pair();
    net.command(0, "tell", &json!(5)).expect("told");
    net.step(Step::Break(0, 1));
    net.run_ms(100);
    assert_eq!(net.plugin::<Teller, _>(0, |teller| (teller.undelivered, teller.peers.len())), (5, 0));
    net.run_ms(2_000);
    net.command(0, "tell", &json!(1)).expect("told");
    net.run_ms(100);
    assert_eq!(heard(&net, 1, 0), [5]);
}

#[test]
fn a_short_cut_loses_nothing_and_a_long_one_all_of_it() {
    for (cut_ms, arrives) in [(500, true), (1_500, false)] {
        let mut net = pair();
        net.step(Step::Partition(vec![vec![0], vec![1]]));
        net.command(0, "tell", &json!(3)).expect("told");
        net.run_ms(cut_ms);
        net.step(Step::Heal);
        net.run_ms(3_000);
        assert_eq!(heard(&net, 1, 0).len(), if arrives { 3 } else { 0 });
        assert_eq!(net.plugin::<Teller, _>(0, |teller| teller.undelivered), if arrives { 0 } else { 3 });
        assert_eq!(net.plugin::<Teller, _>(0, |teller| teller.peers.len()), 1);
    }
}

#[test]
fn asks_are_answered_refused_timed_out_or_cut() {
    let mut net = pair();
    for what in ["yes", "never", "later"] {
        net.command(0, "ask", &json!(what)).expect("asked");
    }
    net.run_ms(2_500);
    net.command(0, "ask", &json!("later")).expect("asked");
    net.step(Step::Break(0, 1));
    net.run_ms(10);
    net.plugin::<Teller, _>(0, |teller| {
        assert_eq!(teller.answers, ["YES", "never", "timed-out", "not-connected"]);
    });
}

#[test]
fn a_full_lane_is_busy_until_it_is_relieved() {
    let mut net = pair();
    net.step(Step::Room { from: 0, to: 1, bytes: 25_000 });
    let taken: Vec<_> = (0..4).map(|_| net.submit(0, "fill", &json!(null))).collect();
    net.run_ms(5);
    let taken: Vec<_> = taken.into_iter().map(|ticket| net.answer(ticket)).collect();
    assert_eq!(taken.iter().filter(|taken| **taken == Some(Ok(json!(true)))).count(), 3);
    net.plugin::<Teller, _>(0, |teller| assert_eq!(teller.pressure, ["congested"]));
    net.run_ms(100);
    net.plugin::<Teller, _>(0, |teller| assert_eq!(teller.pressure, ["congested", "relieved"]));
}

#[test]
fn a_crash_keeps_store_peers_and_timers_and_a_kill_keeps_the_store() {
    let mut net = pair();
    net.command(0, "tell", &json!(4)).expect("told");
    net.submit(0, "note", &json!(null));
    net.run_ms(20);
    net.step(Step::Crash { node: 0, plugin: 0 });
    net.run_ms(300);
    net.plugin::<Teller, _>(0, |teller| {
        assert_eq!((teller.next, teller.peers.len(), &teller.causes[..]), (4, 1, &["Cause::Crash".to_owned()][..]));
    });
    assert!(net.stored(0, "timer").is_some());

    net.submit(1, "note", &json!(null));
    net.run_ms(1);
    net.step(Step::Kill { node: 1, lose_ms: 10 });
    assert_eq!(net.stored(1, "note"), None);
    net.step(Step::Boot(1));
    net.run_ms(3_000);
    assert_eq!(net.stored(1, "timer"), None);
    net.plugin::<Teller, _>(1, |teller| assert_eq!(teller.peers.len(), 1));

    // What was answered for is on the disk.
    net.command(1, "tell", &json!(2)).expect("told");
    net.step(Step::Kill { node: 1, lose_ms: 50 });
    net.step(Step::Boot(1));
    net.plugin::<Teller, _>(1, |teller| assert_eq!(teller.next, 2));
}

#[test]
fn a_panic_costs_the_culprit_only() {
    let mut net = pair();
    let tickets = ["tell", "panic", "tell"].map(|name| net.submit(0, name, &json!(1)));
    net.run_ms(100);
    let answers = tickets.map(|ticket| net.answer(ticket).expect("an outcome").map_err(|failure| failure.code));
    assert_eq!(answers, [Ok(json!(1)), Err("gone".to_owned()), Ok(json!(2))]);
    assert_eq!(net.totals().crashes, 1);
}

#[test]
fn another_type_takes_over_with_the_snapshot() {
    let mut net = pair();
    let second = net.revision::<Second>();
    net.command(0, "tell", &json!(3)).expect("told");
    net.step(Step::Upgrade { node: 1, plugin: 0, revision: second });
    net.run_ms(100);
    assert_eq!(net.plugin::<Second, _>(1, |second| (second.0, second.1)), (0, 3));
    net.step(Step::Upgrade { node: 0, plugin: 0, revision: second });
    assert_eq!(net.plugin::<Second, _>(0, |second| second.0), 3);
}

#[test]
fn plugins_of_a_node_call_each_other() {
    let mut net = TestNet::new(Network::default());
    net.install::<Teller>(());
    net.command(0, "call", &json!(null)).expect("called");
    net.install::<Clerk>(());
    net.command(0, "call", &json!(null)).expect("called");
    net.run_ms(10);
    net.plugin::<Teller, _>(0, |teller| assert_eq!(teller.answers, ["unknown-plugin", "hello, plugin"]));
}

fn story(seed: u64) -> Scenario {
    let network = Network { seed, nodes: 8, clock_skew_ms: 300, ..Network::default() };
    let faults = Faults { from_ms: 500, to_ms: 8_000, breaks: 10, crashes: 5, kills: 4, partitions: 2, spared: 0 };
    let mut scenario = Scenario::new(network, 12_000).random_mesh(4).faults(&faults);
    for at in 0..200 {
        let (node, args) = (at as u32 % 8, "3".to_owned());
        scenario = scenario.at(at * 50, Step::Command { node, plugin: 0, name: "tell".to_owned(), args });
    }
    scenario
}

fn played(seed: u64) -> TestNet {
    let scenario = story(seed);
    let mut net = TestNet::new(scenario.network.clone());
    net.record(TraceMode::Full);
    net.install::<Teller>(());
    net.play(&scenario);
    net
}

#[test]
fn the_same_seed_is_the_same_run_byte_by_byte() {
    for seed in 1..=5 {
        let (one, other) = (played(seed), played(seed));
        assert_eq!(one.trace().difference(other.trace()), None);
        assert_eq!(one.trace().digest(), other.trace().digest());
        assert_eq!(one.totals(), other.totals());
        assert!(one.trace().len() > 2_000 && one.totals().undelivered > 0);
    }
    let (one, other) = (played(1), played(2));
    assert_ne!(one.trace().digest(), other.trace().digest());
    assert!(one.trace().difference(other.trace()).expect("they differ").contains("entry"));
}

#[test]
fn a_scenario_is_plain_data() {
    let scenario = story(3);
    let text = serde_json::to_string(&scenario).expect("JSON");
    assert_eq!(serde_json::from_str::<Scenario>(&text).expect("JSON"), scenario);
}

#[test]
fn what_is_lost_is_told_and_nothing_arrives_twice_or_out_of_order() {
    for seed in 1..=20 {
        let net = played(seed);
        for node in net.nodes() {
            net.plugin::<Teller, _>(node, |teller| {
                for numbers in teller.heard.values() {
                    assert!(numbers.windows(2).all(|pair| pair[0] != pair[1]), "seed {seed}");
                }
            });
        }
        let totals = net.totals();
        assert!(totals.delivered + totals.undelivered >= totals.sent, "seed {seed}: {totals:?}");
    }
}

#[test]
fn a_hundred_nodes_handle_a_million_events_in_seconds() {
    let link = LinkSpec { latency_us: 5_000, jitter_us: 5_000, bytes_per_ms: 0 };
    let mut net = TestNet::new(Network { nodes: 100, link, ..Network::default() });
    net.install::<Teller>(());
    net.full_mesh();
    net.run_ms(100);
    let begun = Instant::now();
    for round in 0..100 {
        for node in 0..100 {
            net.submit(node, "tell", &json!(1));
        }
        net.run_ms(20);
        assert!(round < 100);
    }
    net.run_ms(100);
    let (took, totals) = (begun.elapsed(), net.totals());
    println!("{} events, {} messages in {took:?}", totals.events, totals.sent);
    assert!(totals.events >= 1_000_000);
    assert!(took.as_secs() < 30, "{took:?} for a million events");
}
