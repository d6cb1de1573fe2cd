//! A peer that sends poison every second for ten minutes, beside one that uses the same plugin as it should.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::time::Instant;
use weir_host::plugin::{Caller, PluginInfo, PluginSettings, PluginSource, PluginState};
use weir_host::protocol::{AskError, Delivery, Inbox, NativeEvent, News, Outgoing, ProtocolId, ProtocolSpec, native};

use super::Scenario;
use super::plugin::guest;
use crate::machine::Node;
use crate::trace::Trace;
use crate::world::{Outcome, STARTED, Setup, World};

/// See `about`.
pub const POISON: Scenario = Scenario {
    name: "poison_peer",
    about: "a peer sends a plugin poison every second for ten minutes; its other users notice nothing",
    weight: 1,
    needs_plugins: true,
    world,
    play,
};

const ATTACKER: usize = 0;
const PLUGIN: usize = 1;
const USER: usize = 2;
const NAME: &str = "poisonable";
const MINUTES: u64 = 10;
/// Messages of the user in every second, and one ask.
const MESSAGES: u64 = 20;
/// An answer may take a round trip, the restarts that a poison costs, and the retransmission of a lost packet.
const PROMPT: Duration = Duration::from_millis(500);

/// What the user of the plugin noticed.
#[derive(Debug, Default)]
struct Noticed {
    sent: u64,
    answers: u64,
    failures: Vec<String>,
    slowest: Duration,
    undelivered: u64,
    unsupported: u64,
}

fn world(seed: u64, trace: Trace) -> World {
    World::new(Setup::new(seed, 3), trace)
}

fn protocol() -> ProtocolId {
    "/poisonable/1".parse().unwrap_or_else(|_| unreachable!("it has the form of an id"))
}

fn play(world: &mut World) -> Outcome {
    let source = PluginSource { bytes: guest(world, NAME)?, path: None, settings: PluginSettings::default() };
    world.start_mesh()?;
    let loaded = world.call(PLUGIN, move |node| async move { node.host.plugins().load(source).await })?;
    loaded.map_err(|error| world.violation("a plugin can be loaded", error.to_string()))?;
    let noticed = Rc::new(RefCell::new(Noticed::default()));
    for (index, by) in [(ATTACKER, Rc::default()), (USER, noticed.clone())] {
        let registered = world.call(index, move |node| async move { register(&node, by) })?;
        registered.map_err(|error| world.violation("a protocol can be registered", error))?;
    }
    world.settle(STARTED)?;

    world.step("poison every second");
    let to = world.machines[PLUGIN].directory()[PLUGIN];
    let mut poisons = 0;
    for _ in 0..MINUTES * 60 {
        let seen = noticed.clone();
        world.post(USER, move |node| async move { use_it(&node, to, &seen).await });
        let taken = world.call(ATTACKER, move |node| async move {
            node.host.network().send(&to, &protocol(), Bytes::from_static(b"poison"))
        })?;
        poisons += u64::from(taken.is_ok());
        let rest = world.draw_ms(900..=1_000);
        world.run_for(rest)?;
    }
    world.run_for(Duration::from_secs(5))?;

    let info = world.call(PLUGIN, move |node| async move { node.host.plugins().list().pop() })?;
    let info = info.ok_or_else(|| world.violation("a plugin stays loaded", "it is gone"))?;
    let counters = info.counters;
    let note = format!(
        "{poisons} poisons: {} turned away, {} failed turns, {} restarts, {} replays, {} trials, {} dead letters",
        counters.turned_away,
        counters.crashes,
        counters.restarts,
        counters.replays,
        counters.trials,
        counters.dead_letters
    );
    world.trace.note("n1", format_args!("{note}"));
    world.trace.note("n2", format_args!("{:?}", noticed.borrow()));
    check(world, &info, &noticed.borrow(), &note)?;
    handled(world, noticed.borrow().sent)?;
    world.settle(Duration::from_secs(60))
}

/// Makes the plugin's protocol known at a node that only sends by it.
fn register(node: &Rc<Node>, noticed: Rc<RefCell<Noticed>>) -> Result<(), String> {
    let (handler, inbox) = native(64);
    let spec = ProtocolSpec { id: protocol(), delivery: Delivery::Ordered, max_message: 1 << 16 };
    node.host.network().register(spec, "user", handler).map_err(|error| error.to_string())?;
    tokio::task::spawn_local(listen(inbox, noticed));
    Ok(())
}

async fn listen(mut inbox: Inbox, noticed: Rc<RefCell<Noticed>>) {
    while let Some(event) = inbox.next().await {
        match event {
            NativeEvent::News(News::Undelivered { messages, .. }) => noticed.borrow_mut().undelivered += messages,
            NativeEvent::News(News::Unsupported { .. }) => noticed.borrow_mut().unsupported += 1,
            _ => {}
        }
    }
}

/// A second of ordinary use.
async fn use_it(node: &Rc<Node>, to: weir_host::peer::PeerId, noticed: &Rc<RefCell<Noticed>>) {
    let network = node.host.network();
    for _ in 0..MESSAGES {
        match network.send(&to, &protocol(), Bytes::from_static(b"honest")) {
            Ok(()) => noticed.borrow_mut().sent += 1,
            Err(error) => noticed.borrow_mut().failures.push(error.to_string()),
        }
    }
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let (id, timeout, asked) = (network.next_ask(), Duration::from_secs(5), Instant::now());
    let reply = Box::new(move |outcome: Result<Bytes, AskError>| drop(sender.send(outcome)));
    network.commit(&to, &protocol(), vec![Outgoing::Ask { id, timeout, body: Bytes::from_static(b"ask"), reply }]);
    let outcome = receiver.await;
    let mut noticed = noticed.borrow_mut();
    noticed.slowest = noticed.slowest.max(asked.elapsed());
    match outcome {
        Ok(Ok(_)) => noticed.answers += 1,
        other => noticed.failures.push(format!("{other:?}")),
    }
}

fn check(world: &World, info: &PluginInfo, noticed: &Noticed, note: &str) -> Outcome {
    let untouched = noticed.failures.is_empty() && noticed.undelivered == 0 && noticed.unsupported == 0;
    if !untouched || noticed.answers != MINUTES * 60 || noticed.slowest > PROMPT {
        return Err(world.violation("poison of one peer is not noticed by another", format!("{noticed:?}; {note}")));
    }
    // Three before the first mute, and one after each: of 1, 2, 4 and 8 minutes.
    let poison = info.counters.dead_letters;
    if info.state != PluginState::Active || !(3..=8).contains(&poison) || info.counters.restarts > 3 * poison {
        let detail = format!("the plugin is {:?}; {note}", info.state);
        return Err(world.violation("poison costs a handful of restarts", detail));
    }
    Ok(())
}

/// Every message of the user was handled, once.
fn handled(world: &mut World, sent: u64) -> Outcome {
    let caller = Caller::Operator("simulation".into());
    let body = Bytes::from_static(b"null");
    let answer = world.call(PLUGIN, move |node| async move {
        node.host.plugins().call(NAME, "stats", body, caller, Duration::from_secs(9)).await
    })?;
    let answer = answer.map_err(|error| world.violation("a plugin answers", error.to_string()))?;
    let stats: Value = serde_json::from_slice(&answer).unwrap_or_default();
    if stats["honest"].as_u64() != Some(sent) {
        return Err(world.violation("what is no poison is handled exactly once", format!("{sent} sent; {stats}")));
    }
    Ok(())
}
