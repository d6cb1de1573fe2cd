//! Everything at once, in an order that only the seed knows.

use std::time::Duration;

use super::Scenario;
use super::cuts::bound_after;
use crate::trace::Trace;
use crate::world::{Outcome, Setup, World};

/// See `about`.
pub const MIXED: Scenario = Scenario {
    name: "mixed",
    about: "random faults step by step: loss, latency, cuts, crashes, stops, restarts, churn, clocks, lists, floods",
    weight: 20,
    needs_plugins: false,
    world,
    play,
};

const PROTOCOLS: u8 = 4;

fn world(seed: u64, trace: Trace) -> World {
    World::new(Setup::new(seed, 2 + (seed % 4) as usize), trace)
}

fn play(world: &mut World) -> Outcome {
    let all = world.start_with(PROTOCOLS)?;
    let began = world.now();
    let mut one_way = false;
    for _ in 0..world.draw(4..=16) {
        step(world, &all, &mut one_way)?;
        let time = world.draw_ms(0..=2_500);
        world.run_for(time)?;
    }
    world.step("heal");
    world.heal();
    world.lift_all();
    world.set_latency(Duration::from_millis(20));
    let down: Vec<usize> = all.iter().copied().filter(|node| !world.machines[*node].runs()).collect();
    if !down.is_empty() {
        world.boot_all(&down)?;
    }
    world.register_all(PROTOCOLS);
    let trouble = world.now() - began;
    world.settle(bound_after(trouble) + Duration::from_secs(30))
}

fn step(world: &mut World, all: &[usize], one_way: &mut bool) -> Outcome {
    let running = world.running();
    let some = (!running.is_empty()).then(|| world.pick(&running));
    let number = world.draw(0..=u64::from(PROTOCOLS - 1)) as u8;
    match (world.draw(0..=12), some) {
        (0 | 1, _) => {
            world.step("flood");
            let floods = world.draw(1..=3);
            world.draw_floods(floods, PROTOCOLS);
        }
        // Turmoil's loss repairs a one-way cut by accident, so it is the one or the other.
        (2, _) if !*one_way => {
            world.step("loss");
            let per_mille = world.draw(0..=30);
            world.set_loss(per_mille as f64 / 1_000.0);
        }
        (3, _) => {
            world.step("latency");
            let most = world.draw_ms(5..=300);
            world.set_latency(most);
        }
        (4, _) => {
            world.step("partition");
            if let Some((a, b)) = world.pick_two(all) {
                world.partition(&[a], &[b]);
            }
        }
        (5, _) => {
            world.step("one-way cut");
            world.set_loss(0.0);
            *one_way = true;
            if let Some((a, b)) = world.pick_two(all) {
                world.cut_one_way(a, b);
            }
        }
        (6, _) => {
            world.step("heal");
            *one_way = false;
            world.heal();
        }
        (7, Some(node)) => {
            world.step("crash");
            world.crash(node);
        }
        (8, Some(node)) => {
            world.step("stop");
            world.stop(node)?;
        }
        (9, _) => {
            world.step("restart");
            let down: Vec<usize> = all.iter().copied().filter(|node| !world.machines[*node].runs()).collect();
            if !down.is_empty() {
                let node = world.pick(&down);
                world.boot(node)?;
            }
        }
        (10, Some(node)) => {
            world.step("churn");
            if world.chance(50) {
                world.unregister(node, number);
            }
            world.register(node, number, Duration::ZERO);
        }
        (12, _) => {
            world.step("access");
            let node = world.pick(all);
            world.draw_access(node);
        }
        (11, Some(node)) => {
            world.step("clock");
            let off = world.draw(0..=10_000_000) as i64 - 5_000_000;
            world.set_clock(node, off);
        }
        _ => {}
    }
    Ok(())
}
