//! Gossip among peers that do not play by the rules: what they cost, who is blamed, and that nothing breaks.
//!
//! The long form: `cargo test --release -p weir-sdk --test gossip_liars -- --ignored --nocapture`.
#![expect(clippy::print_stdout, reason = "figures for people")]

mod common;

use std::rc::Rc;

use common::{Config, Flooder, KEY, Liar, News, Wire, count, mesh, stats, wire};
use proptest::prelude::*;
use serde_json::{Value, json};
use weir_sdk::abi::{AskError, Verdict};
use weir_sdk::gossip::{Decision, Each, Gossip, Incoming, ItemId, Items, Place, Policy, StoreItems};
use weir_sdk::prelude::*;
use weir_sdk::testing::{Native, Network, Random, TestHost, TestNet, mutated};

#[test]
fn what_is_rejected_goes_no_further_and_is_reported() {
    let mut net = mesh(10, 4, 17, Config::default());
    net.submit(0, "say", &json!("bad news"));
    net.submit(0, "say", &json!("old news"));
    net.submit(0, "say", &json!("good news"));
    net.run_ms(3_000);
    let bad = ItemId::of(b"bad news");
    assert!((1..10).all(|node| !net.plugin::<News, _>(node, |news| news.gossip.knows(&bad)) && count(&net, node) == 1));
    let reporters = (1..10).filter(|node| net.reports(*node).iter().any(|report| report.2 == Verdict::Invalid));
    assert!(reporters.count() > 0);
    assert!((1..10).all(|node| net.reports(node).iter().all(|report| report.0 == net.id(0))));
}

#[test]
fn a_liar_that_announces_and_never_delivers_delays_nobody_for_long() {
    let mut net = TestNet::new(Network { nodes: 20, seed: 29, ..Network::default() });
    for node in 0..18 {
        net.install_on(node, Rc::new(Native::<News>::default()), "{}".to_owned());
    }
    for node in 18..20 {
        net.install_on(node, Rc::new(Native::<Liar>::default()), String::new());
    }
    net.random_mesh(8);
    net.run_ms(5_000);
    let mut worst = 0;
    for number in 0..20 {
        let text = json!(format!("item {number}"));
        net.submit(number % 18, "say", &text);
        let begun = net.now_ms();
        assert!(net.run_until(20_000, |net| (0..18).all(|node| count(net, node) == number as usize + 1)));
        worst = worst.max(net.now_ms() - begun);
    }
    println!("with two liars among 20 the slowest item took {worst} ms");
    let liars = [net.id(18), net.id(19)];
    let abusive = |net: &TestNet, node| {
        let reports = net.reports(node);
        assert!(reports.iter().all(|report| liars.contains(&report.0)), "only liars are reported: {reports:?}");
        reports.iter().any(|report| report.2 == Verdict::Abusive)
    };
    let reporters = (0..18).filter(|node| abusive(&net, *node)).count();
    assert!(reporters > 0);
    assert!((0..18).all(|node| net.plugin::<News, _>(node, |news| news.gossip.waiting().0 < 1_000)));
}

#[test]
fn flooders_are_reported_and_cost_little() {
    for how in ["old", "bad", "noise"] {
        let mut net = TestNet::new(Network { nodes: 10, seed: 31, ..Network::default() });
        for node in 0..9 {
            net.install_on(node, Rc::new(Native::<News>::default()), "{}".to_owned());
        }
        net.install_on(9, Rc::new(Native::<Flooder>::default()), format!("{how:?}"));
        net.full_mesh();
        net.run_ms(1_000);
        for number in 0..30 {
            net.submit(number % 9, "say", &json!(format!("item {number}")));
            net.run_ms(300);
        }
        net.run_ms(3_000);
        assert!((0..9).all(|node| count(&net, node) == 30), "{how}");
        let flooder = net.id(9);
        for node in 0..9 {
            let reports = net.reports(node);
            assert!(reports.iter().all(|report| report.0 == flooder), "{how}: {reports:?}");
            assert!(reports.iter().any(|report| report.2 == Verdict::Abusive), "{how}: node {node} noticed nothing");
            let stats = stats(&net, node);
            // What it may push before it is noticed, and in the two seconds in which it may not have heard.
            assert!(stats.received < 8_000, "{how}: {stats:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn whatever_a_peer_sends_nothing_breaks(
        bodies in proptest::collection::vec((0..4_u8, 0..7_u8, proptest::collection::vec(any::<u8>(), 0..200)), 1..40),
    ) {
        let mut host = TestHost::new::<News>(Config::default());
        let peer = host.peer(1);
        for number in 0..20 {
            host.command("say", json!(format!("text {number}"))).expect("said");
        }
        for (how, tag, mut body) in bodies {
            body.splice(0..0, [1, tag]);
            match how {
                0 => host.message(peer, KEY, &body),
                1 => drop(host.request(peer, KEY, &body)),
                2 => {
                    host.advance(500);
                    for ask in host.asks() {
                        host.respond(ask.id, Ok(&body));
                    }
                }
                _ => {
                    // Something that makes it ask, and an answer that makes no sense.
                    host.message(peer, KEY, &wire(&Wire::Held(vec![ItemId::of(&body)])));
                    for ask in host.asks() {
                        host.respond(ask.id, Err(AskError::TimedOut));
                    }
                }
            }
        }
        prop_assert!(host.crashes().is_empty());
        // Among them may be good items, and nothing that was there is lost.
        let count = host.command("count", Value::Null).expect("alive");
        prop_assert!(count.as_u64().is_some_and(|count| count >= 20));
    }
}

/// What honest nodes say to each other, changed in a few places and sent as a message, a request or an answer.
fn nearly_right(seed: u64, steps: u32) {
    let (mut random, mut bodies) = (Random::new(seed), Vec::new());
    let [mut host, mut honest] = [seed, seed + 1].map(|seed| TestHost::with_seed::<News>(Config::default(), seed));
    // The same peers for both.
    let peers: Vec<_> = (1..4).map(|number| host.peer(number)).collect();
    for number in 1..4 {
        honest.peer(number);
    }
    for step in 0..steps {
        // The honest one makes items, announces them, asks and is asked.
        honest.command("say", json!(format!("text {step}"))).expect("said");
        honest.advance(random.within(0..2_000));
        bodies.extend(honest.sent().into_iter().map(|sent| sent.body));
        bodies.extend(honest.asks().into_iter().map(|ask| ask.body));
        let extra = bodies.len().saturating_sub(200);
        bodies.drain(..extra);
        let bytes = match random.within(0..4) {
            0 => random.pick(&bodies).cloned().unwrap_or_default(),
            _ => mutated(&bodies, &mut random),
        };
        let peer = random.pick(&peers).copied().expect("a peer");
        match random.within(0..4) {
            0 => host.message(peer, KEY, &bytes),
            1 => {
                let request = host.request(peer, KEY, &bytes);
                bodies.extend(host.outcome(request).and_then(std::result::Result::ok));
            }
            2 => {
                let request = honest.request(peer, KEY, &bytes);
                bodies.extend(honest.outcome(request).and_then(std::result::Result::ok));
            }
            _ => {
                let asks = host.asks();
                asks.first().into_iter().for_each(|ask| host.respond(ask.id, Ok(&bytes)));
            }
        }
        host.advance(random.within(0..3_000));
    }
    assert_eq!((host.crashes(), honest.crashes()), (Vec::new(), Vec::new()), "seed {seed}");
    host.command("count", Value::Null).expect("alive");
}

#[test]
fn what_is_nearly_right_breaks_nothing() {
    (0..5).for_each(|seed| nearly_right(seed, 200));
}

#[test]
#[ignore = "long: a thousand seeds of a thousand bodies"]
fn what_is_nearly_right_breaks_nothing_a_thousand_times() {
    (0..1_000).for_each(|seed| nearly_right(seed, 1_000));
}

/// Items whose names cover only what stands before a bar.
struct Named(StoreItems);

impl Items for Named {
    fn id(&self, bytes: &[u8]) -> ItemId {
        ItemId::of(bytes.split(|byte| *byte == b'|').next().unwrap_or_default())
    }
    fn get(&self, id: &ItemId, ctx: &Context) -> Option<Vec<u8>> {
        self.0.get(id, ctx)
    }
    fn put(&mut self, place: Place, bytes: &[u8], ctx: &Context) -> Result<Vec<ItemId>> {
        self.0.put(place, bytes, ctx)
    }
    fn load(&mut self, each: Each<'_>, ctx: &Context) -> Result {
        self.0.load(each, ctx)
    }
    fn load_on(&mut self, after: Option<Vec<u8>>, each: Each<'_>, ctx: &Context) -> Result<Option<Vec<u8>>> {
        self.0.load_on(after, each, ctx)
    }
}

/// Takes what is signed `good`; decides when it is told to.
struct Signed(Gossip<Named>, Vec<Incoming>);

impl Plugin for Signed {
    fn manifest() -> Manifest {
        News::manifest()
    }
    fn start(init: Init, ctx: &Context) -> Result<Self> {
        let items = Named(StoreItems::new("item/", 100));
        Ok(Self(Gossip::start(KEY, Policy::default(), items, &init, ctx)?, Vec::new()))
    }
    fn on_command(&mut self, command: Command<'_>, ctx: &Context) -> Result {
        for item in std::mem::take(&mut self.1) {
            let decision = if item.bytes.ends_with(b"|good") { Decision::Accept } else { Decision::Reject };
            self.0.decide(&item.id, decision, ctx);
        }
        command.answer(ctx, &self.0.len())
    }
    weir_sdk::gossip_events!(0, collect);
}

impl Signed {
    fn collect(&mut self, _: &Context) -> Result {
        self.1.extend(std::iter::from_fn(|| self.0.next()));
        Ok(())
    }
}

#[test]
fn bad_bytes_under_a_good_name_keep_nothing_back() {
    let push = |text: &str| wire(&Wire::Push(vec![(0, text.as_bytes().to_vec())]));
    let decide = |host: &mut TestHost| host.command("decide", Value::Null).expect("decided");
    let mut host = TestHost::new::<Signed>(());
    let (bad, good) = (host.peer(1), host.peer(2));

    host.message(bad, KEY, &push("one|bad"));
    assert_eq!(decide(&mut host), json!(0));
    host.message(good, KEY, &push("one|good"));
    assert_eq!(decide(&mut host), json!(1));

    // The good ones come while the bad ones still wait: whoever sent them is asked for them again.
    host.message(bad, KEY, &push("two|bad"));
    host.message(good, KEY, &push("two|good"));
    assert_eq!(decide(&mut host), json!(1));
    host.advance(10);
    let ask = host.asks().into_iter().find(|ask| ask.to == good && ask.body.len() > 32).expect("asked again");
    let items = weir_sdk::encode(&(0_u8, false, vec![b"two|good".to_vec()])).expect("bytes");
    host.respond(ask.id, Ok(&[&[1], &items[..]].concat()));
    assert_eq!(decide(&mut host), json!(2));
    assert!(host.reports().iter().all(|report| report.0 == bad && report.2 == Verdict::Invalid));
}

#[test]
fn a_body_of_the_plugins_own_is_left_to_it() {
    let mut host = TestHost::new::<News>(Config::default());
    let peer = host.peer(1);
    host.message(peer, KEY, &[16, 1, 2, 3]);
    host.message(peer, KEY, &[]);
    host.advance(1_000);
    assert!(host.reports().iter().all(|report: &(PeerId, _, _, _)| report.2 != Verdict::Abusive));
}
