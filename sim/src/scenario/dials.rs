//! Peers that dial each other at the same time.

use std::time::Duration;

use super::Scenario;
use crate::trace::Trace;
use crate::world::{Outcome, Setup, World};

/// See `about`.
pub const SIMULTANEOUS: Scenario = Scenario {
    name: "simultaneous_dials",
    about: "all nodes dial each other at once, again and again: one connection stays, and both sides agree which",
    weight: 10,
    needs_plugins: false,
    world,
    play,
};

/// A handshake and two hellos take some round trips of at most 40 ms; the first retry comes after 0.8 s.
const DECIDED: Duration = Duration::from_millis(600);

fn world(seed: u64, trace: Trace) -> World {
    World::new(Setup::new(seed, 2 + (seed % 4) as usize), trace)
}

fn play(world: &mut World) -> Outcome {
    let all: Vec<usize> = (0..world.machines.len()).collect();
    world.step("start");
    world.boot_all(&all)?;
    all.iter().for_each(|node| world.register(*node, 0, Duration::ZERO));
    for round in 0..world.draw(2..=6) {
        world.step("all dial");
        let loss = round > 0 && world.chance(30);
        if loss {
            let per_mille = world.draw(1..=30);
            world.set_loss(per_mille as f64 / 1_000.0);
        }
        // Mostly at the very same moment, else within what a handshake takes.
        let spread = if world.chance(60) { 0 } else { world.draw(1..=80) };
        for a in &all {
            for b in all.iter().filter(|b| *b != a) {
                world.watch(*a, *b, true);
                if spread > 0 {
                    let time = world.draw_ms(0..=spread);
                    world.run_for(time)?;
                }
            }
        }
        if round == 0 {
            at_once(world, &all)?;
        }
        let floods = world.draw(0..=2);
        world.draw_floods(floods, 1);
        let time = world.draw_ms(0..=400);
        world.run_for(time)?;
        world.heal();
        world.settle(Duration::from_secs(45))?;
        world.step("one side forgets");
        let Some((a, b)) = world.pick_two(&all) else { return Ok(()) };
        world.unwatch(a, b);
        if world.chance(50) {
            world.unwatch(b, a);
        }
        let time = world.draw_ms(0..=3_000);
        world.run_for(time)?;
    }
    world.step("calm");
    world.mesh(&all);
    world.settle(Duration::from_secs(90))
}

/// Two dials that meet are decided between the two sides at once, not by failing and trying again.
fn at_once(world: &mut World, all: &[usize]) -> Outcome {
    world.run_for(DECIDED)?;
    let looks = world.look()?;
    for a in all {
        if let Some(b) = all.iter().find(|b| *b != a && looks[a].connections(**b) != 1) {
            let detail = format!("n{a} has {} connections to n{b}", looks[a].connections(*b));
            return Err(world.violation("dials that meet end with one connection at once", detail));
        }
    }
    Ok(())
}
