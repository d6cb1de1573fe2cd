//! Bad links: packets that are lost, late, and overtake each other.

use std::time::Duration;

use super::Scenario;
use crate::trace::Trace;
use crate::world::{Outcome, STARTED, Setup, World};

/// See `about`.
pub const LOSSY: Scenario = Scenario {
    name: "lossy_link",
    about: "floods and asks over links that lose packets in bursts",
    weight: 10,
    needs_plugins: false,
    world,
    play: lossy,
};

/// See `about`.
pub const JITTER: Scenario = Scenario {
    name: "reordering",
    about: "every packet takes its own time, so that they overtake each other",
    weight: 10,
    needs_plugins: false,
    world,
    play: jitter,
};

const PROTOCOLS: u8 = 3;

fn world(seed: u64, trace: Trace) -> World {
    World::new(Setup::new(seed, 2 + (seed % 2) as usize), trace)
}

/// All nodes up, connected, with all protocols.
fn start(world: &mut World) -> Outcome {
    for node in world.start_mesh()? {
        for number in 0..PROTOCOLS {
            // One in three takes its time, so that flow control has something to do.
            let pace = if world.chance(33) { world.draw_ms(1..=30) } else { Duration::ZERO };
            world.register(node, number, pace);
        }
    }
    world.settle(STARTED)
}

fn lossy(world: &mut World) -> Outcome {
    start(world)?;
    for _ in 0..world.draw(1..=3) {
        world.step("loss");
        let per_mille = world.draw(1..=50);
        world.set_loss(per_mille as f64 / 1_000.0);
        let floods = world.draw(1..=4);
        world.draw_floods(floods, PROTOCOLS);
        let time = world.draw_ms(1_000..=6_000);
        world.run_for(time)?;
    }
    world.step("no loss any more");
    world.heal();
    world.settle(Duration::from_secs(90))
}

fn jitter(world: &mut World) -> Outcome {
    start(world)?;
    for _ in 0..world.draw(1..=3) {
        world.step("jitter");
        let most = world.draw_ms(40..=400);
        world.set_latency(most);
        let floods = world.draw(1..=4);
        world.draw_floods(floods, PROTOCOLS);
        let time = world.draw_ms(1_000..=6_000);
        world.run_for(time)?;
    }
    world.step("calm");
    world.set_latency(Duration::from_millis(20));
    world.settle(Duration::from_secs(90))
}
