//! Protocols that come and go under traffic.

use std::time::Duration;

use super::Scenario;
use crate::courier::Flood;
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
            if world.chance(15) {
                flicker(world, &all, node, number)?;
            } else {
                change(world, node, number, pace);
            }
        }
        let time = world.draw_ms(0..=700);
        world.run_for(time)?;
    }
    world.step("all back");
    world.register_all(protocols);
    world.settle(Duration::from_secs(90))
}

/// A protocol goes and comes back at once, again and again while it sends: what a registration has sent is still under way
/// when its peers know of the next one.
fn flicker(world: &mut World, all: &[usize], node: usize, number: u8) -> Outcome {
    let others: Vec<usize> = all.iter().copied().filter(|other| *other != node).collect();
    let (to, gap) = (world.pick(&others), world.draw_ms(1..=10));
    world.flood(node, Flood { to, protocol: number, count: 300, size: 100, gap, asks: 0, until: None });
    for _ in 0..world.draw(2..=10) {
        let time = world.draw_ms(10..=200);
        world.run_for(time)?;
        world.unregister(node, number);
        world.register(node, number, Duration::ZERO);
    }
    Ok(())
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
