//! Networks that fall apart and heal.

use std::time::Duration;

use super::Scenario;
use crate::trace::Trace;
use crate::world::{HANDSHAKE, IDLE, Outcome, Setup, World};

/// See `about`.
pub const PARTITION: Scenario = Scenario {
    name: "partition_and_heal",
    about: "groups of nodes lose each other under traffic and have to find each other again",
    weight: 10,
    needs_plugins: false,
    world,
    play: partition,
};

/// See `about`.
pub const ONE_WAY: Scenario = Scenario {
    name: "one_way_cut",
    about: "packets pass in one direction only, for less and for more than the idle timeout",
    weight: 10,
    needs_plugins: false,
    world,
    play: one_way,
};

const PROTOCOLS: u8 = 2;

fn world(seed: u64, trace: Trace) -> World {
    World::new(Setup::new(seed, 2 + (seed % 3) as usize), trace)
}

/// When everybody has to be connected again after so long without: each side notices within the idle timeout; the
/// wait until the next attempt grows with the time spent failing, by less than two thirds of it; and that attempt may
/// have begun just before, and has to run into its deadlines.
pub fn bound_after(cut: Duration) -> Duration {
    let attempt = HANDSHAKE + Duration::from_secs(5);
    let wait = (cut + Duration::from_secs(3)).min(Duration::from_secs(60));
    IDLE + attempt * 2 + wait + Duration::from_secs(10)
}

fn partition(world: &mut World) -> Outcome {
    world.start_with(PROTOCOLS)?;
    for _ in 0..world.draw(1..=3) {
        let floods = world.draw(0..=3);
        world.draw_floods(floods, PROTOCOLS);
        let time = world.draw_ms(0..=1_500);
        world.run_for(time)?;
        world.step("partition");
        let size = world.draw(1..=world.machines.len() as u64 - 1) as usize;
        let all: Vec<usize> = (0..world.machines.len()).collect();
        let (left, right) = all.split_at(size);
        world.partition(left, right);
        let cut = world.draw_ms(100..=25_000);
        let floods = world.draw(0..=2);
        world.draw_floods(floods, PROTOCOLS);
        world.run_for(cut)?;
        world.step("heal");
        world.heal();
        if world.chance(50) {
            let floods = world.draw(0..=2);
            world.draw_floods(floods, PROTOCOLS);
        }
        world.settle(bound_after(cut))?;
    }
    Ok(())
}

fn one_way(world: &mut World) -> Outcome {
    world.start_with(PROTOCOLS)?;
    for _ in 0..world.draw(1..=3) {
        let floods = world.draw(0..=3);
        world.draw_floods(floods, PROTOCOLS);
        let time = world.draw_ms(0..=1_500);
        world.run_for(time)?;
        world.step("one-way cut");
        let all = world.running();
        let Some((from, to)) = world.pick_two(&all) else { return Ok(()) };
        world.cut_one_way(from, to);
        let cut = world.draw_ms(100..=20_000);
        world.run_for(cut)?;
        world.step("heal");
        world.heal();
        world.settle(bound_after(cut))?;
    }
    Ok(())
}
