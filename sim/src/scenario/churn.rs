//! Protocols that come and go under traffic.

use std::time::Duration;

use super::Scenario;
use crate::trace::Trace;
use crate::world::{Outcome, Setup, World};

/// See `about`.
pub const CHURN: Scenario = Scenario {
    name: "register_churn",
    about: "protocols are registered, replaced and unregistered under traffic: data overtakes its registration or trails it",
    weight: 15,
    needs_plugins: false,
    world,
    play,
};

fn world(seed: u64, trace: Trace) -> World {
    // Fewer streams than protocols, so that lanes take them from each other.
    let max_streams = if seed.is_multiple_of(3) { 4 } else { 8 };
    World::new(Setup { max_streams, ..Setup::new(seed, 2 + (seed % 2) as usize) }, trace)
}

fn play(world: &mut World) -> Outcome {
    let protocols = world.draw(1..=8) as u8;
    let all = world.start_with(protocols)?;
    let most = world.draw_ms(2..=150);
    world.set_latency(most);
    for _ in 0..world.draw(4..=14) {
        world.step("churn");
        let floods = world.draw(0..=2);
        world.draw_floods(floods, protocols);
        for _ in 0..world.draw(1..=4) {
            let node = world.pick(&all);
            let number = world.draw(0..=u64::from(protocols - 1)) as u8;
            let pace = if world.chance(25) { world.draw_ms(1..=60) } else { Duration::ZERO };
            change(world, node, number, pace);
        }
        let time = world.draw_ms(0..=700);
        world.run_for(time)?;
    }
    world.step("all back");
    world.register_all(protocols);
    world.settle(Duration::from_secs(90))
}

fn change(world: &mut World, node: usize, number: u8, pace: Duration) {
    match world.draw(0..=3) {
        0 => world.unregister(node, number),
        1 => world.register(node, number, pace),
        2 => {
            // Back at once: its peers hear of both in one difference, and data for the first is still under way.
            world.unregister(node, number);
            world.register(node, number, pace);
        }
        _ => world.post(node, move |node| async move { node.replace(number, pace) }),
    }
}
