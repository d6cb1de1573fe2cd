//! A handler that takes nothing for a minute, beside three that take everything, all the time.

use std::time::Duration;

use weir_host::stream::{BudgetLimits, LaneLimits, ReceivePolicy};
use weir_host::transport::{MAX_PACKET, READER_BUFFER, RECEIVE_BUFFER};

use super::Scenario;
use crate::courier::Flood;
use crate::trace::Trace;
use crate::world::{Outcome, STARTED, Setup, World};

/// See `about`.
pub const STALLED: Scenario = Scenario {
    name: "stalled_handler",
    about: "a handler reads nothing for a minute; three others keep their rate all the while, and memory stays bounded",
    weight: 2,
    needs_plugins: false,
    world,
    play,
};

const SENDER: usize = 0;
const RECEIVER: usize = 1;
const STALLED_PROTOCOL: u8 = 0;
const OTHERS: [u8; 3] = [1, 2, 3];
const STALL: Duration = Duration::from_secs(60);
/// How long the rate of the others is measured before the stall, and how long they run before that.
const MEASURED: Duration = Duration::from_secs(10);
const WARM_UP: Duration = Duration::from_secs(2);
/// How often it is looked what the nodes hold meanwhile.
const LOOK: Duration = Duration::from_secs(1);
/// What each of the others must keep of its rate.
const KEPT: f64 = 0.95;

fn world(seed: u64, trace: Trace) -> World {
    // Every packet takes the same time, or they overtake each other and the rate is not steady. So long that the
    // windows decide how much goes through. One connection, because a second one would make the rate higher.
    let latency = Duration::from_millis(20 + seed % 20);
    let setup = Setup { latency: (latency, latency), stream_window: 32 << 10, ..Setup::new(seed, 2) };
    World::new(Setup { connections_per_peer: 1, ..setup }, trace)
}

fn play(world: &mut World) -> Outcome {
    world.start_mesh()?;
    for number in [STALLED_PROTOCOL].into_iter().chain(OTHERS) {
        world.register(SENDER, number, Duration::ZERO);
        let pace = if number == STALLED_PROTOCOL { STALL * 2 } else { Duration::ZERO };
        world.register(RECEIVER, number, pace);
    }
    world.settle(STARTED)?;

    world.step("the others alone");
    let size = world.draw(2_000..=4_000) as usize;
    let until = world.now() + WARM_UP + MEASURED + STALL;
    OTHERS.into_iter().for_each(|protocol| world.flood(SENDER, flood(protocol, size, until)));
    world.run_for(WARM_UP)?;
    let alone = rates(world, MEASURED, size)?;

    world.step("one handler takes nothing");
    world.flood(SENDER, flood(STALLED_PROTOCOL, size, until));
    let beside = rates(world, STALL, size)?;
    world.trace.note("-", format_args!("messages a second: alone {alone:?}, beside a stalled handler {beside:?}"));
    for (number, (alone, beside)) in OTHERS.into_iter().zip(alone.into_iter().zip(beside)) {
        if beside < KEPT * alone {
            let detail = format!("p{number}: {beside:.1} messages a second for {STALL:?}, {alone:.1} before");
            return Err(world.violation("a stalled protocol takes nothing from the others", detail));
        }
    }
    if world.oracle.delivered_by(STALLED_PROTOCOL) > 0 {
        return Err(world.violation("the handler is stalled", "it took something"));
    }

    world.step("it goes on");
    world.post(RECEIVER, |node| async move { node.replace(STALLED_PROTOCOL, Duration::ZERO) });
    world.settle(Duration::from_secs(60))
}

fn flood(protocol: u8, size: usize, until: Duration) -> Flood {
    Flood { to: RECEIVER, protocol, count: u64::MAX, size, gap: Duration::ZERO, asks: 0, until: Some(until) }
}

/// Messages a second of each of the others for so long, in which what is held stays within its bounds.
fn rates(world: &mut World, time: Duration, size: usize) -> Outcome<[f64; 3]> {
    let count = |world: &World| OTHERS.map(|number| world.oracle.delivered_by(number));
    let (before, until) = (count(world), world.now() + time);
    while world.now() < until {
        world.run_for(LOOK.min(until - world.now()))?;
        bounded(world, size)?;
    }
    let (after, seconds) = (count(world), time.as_secs_f64());
    Ok(std::array::from_fn(|at| (after[at] - before[at]) as f64 / seconds))
}

/// What both nodes hold, each by the arithmetic that the memory bound is made of.
fn bounded(world: &mut World, size: usize) -> Outcome {
    let limits = world.limits;
    let lane = LaneLimits::for_messages(limits.max_message).hard as u64;
    let queues = BudgetLimits::for_messages(limits.max_message).hard;
    let stream = u64::from(limits.send_buffer) + u64::from(limits.stream_window) + u64::from(MAX_PACKET);
    let of_stream = stream + RECEIVE_BUFFER + READER_BUFFER;
    let assembly = ReceivePolicy::assembly_for(limits.max_message) as u64;
    let connection = limits.streams().connection_memory(assembly);
    for (node, look) in world.look()? {
        let too_much = |what: &str, held: u64, bound: u64| {
            world.violation("memory stays within its bound", format!("n{node}: {what} {held} of {bound} bytes"))
        };
        if look.queued > queues {
            return Err(too_much("the lanes of a handler hold", look.queued as u64, queues as u64));
        }
        if look.streams > limits.max_streams as usize {
            return Err(too_much("streams open", look.streams as u64, limits.max_streams.into()));
        }
    }
    // Whatever was accepted and did not arrive is somewhere: in the lane, in the buffers of its stream, at its reader.
    let under_way = |number: u8| world.oracle.under_way(number) * size as u64;
    for number in [STALLED_PROTOCOL].into_iter().chain(OTHERS) {
        if under_way(number) > lane + of_stream {
            let detail = format!("p{number}: {} of {} bytes are under way", under_way(number), lane + of_stream);
            return Err(world.violation("memory stays within its bound", detail));
        }
    }
    let all: u64 = [STALLED_PROTOCOL].into_iter().chain(OTHERS).map(under_way).sum();
    if all > 2 * connection + queues as u64 {
        let detail = format!("{all} bytes are under way, {} are computed", 2 * connection + queues as u64);
        return Err(world.violation("memory stays within its bound", detail));
    }
    Ok(())
}
