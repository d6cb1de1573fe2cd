//! A handler that takes nothing for a minute, beside three that take everything.

use std::time::Duration;

use super::Scenario;
use crate::courier::Flood;
use crate::trace::Trace;
use crate::world::{Outcome, STARTED, Setup, World};

/// See `about`.
pub const STALLED: Scenario = Scenario {
    name: "stalled_handler",
    about: "a handler that reads nothing for a minute; the others keep their rate",
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
/// How long the rate of the others is measured, before and at the end of the stall, and how long they run before.
const MEASURED: Duration = Duration::from_secs(2);
const WARM_UP: Duration = Duration::from_secs(1);
/// Tries of one flood: one that is mostly refused as busy goes on for longer than it is measured.
const TRIES: u64 = 20_000;
/// What the others must keep of their rate.
const KEPT: f64 = 0.95;

fn world(seed: u64, trace: Trace) -> World {
    // Every packet takes the same time, or they overtake each other and the rate is not steady. So long that the
    // windows decide how much goes through.
    let latency = Duration::from_millis(20 + seed % 20);
    World::new(Setup { latency: (latency, latency), ..Setup::new(seed, 2) }, trace)
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
    let alone = rate(world, size)?;

    world.step("one handler takes nothing");
    world.flood(SENDER, flood(STALLED_PROTOCOL, size));
    world.run_for(STALL - MEASURED - WARM_UP)?;
    let beside = rate(world, size)?;
    if (beside as f64) < KEPT * alone as f64 {
        let detail = format!("{beside} messages in {MEASURED:?} beside a stalled handler, {alone} alone");
        return Err(world.violation("a stalled protocol takes nothing from the others", detail));
    }

    world.step("it goes on");
    world.post(RECEIVER, |node| async move { node.replace(STALLED_PROTOCOL, Duration::ZERO) });
    world.settle(Duration::from_secs(60))
}

fn flood(protocol: u8, size: usize) -> Flood {
    Flood { to: RECEIVER, protocol, count: TRIES, size, gap: Duration::ZERO, asks: 0 }
}

/// Messages of the others that arrive while they send all they can.
fn rate(world: &mut World, size: usize) -> Outcome<u64> {
    for protocol in OTHERS {
        world.flood(SENDER, flood(protocol, size));
    }
    world.run_for(WARM_UP)?;
    let count = |world: &World| OTHERS.map(|number| world.oracle.delivered_by(number)).iter().sum::<u64>();
    let before = count(world);
    world.run_for(MEASURED)?;
    Ok(count(world) - before)
}
