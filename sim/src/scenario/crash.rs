//! Nodes that die without a word and come back, and clocks that jump.

use std::time::Duration;

use super::Scenario;
use super::cuts::bound_after;
use crate::trace::Trace;
use crate::world::{Outcome, Setup, World};

/// See `about`.
pub const CRASH: Scenario = Scenario {
    name: "crash_restart",
    about: "a node dies and comes back; its ghost at the others must not keep it out for more than a second",
    weight: 10,
    needs_plugins: false,
    world,
    play: crash,
};

/// See `about`.
pub const CLOCK: Scenario = Scenario {
    name: "clock_jump",
    about: "wall clocks jump by up to years: no connection may notice, and new ones must still come about",
    weight: 5,
    needs_plugins: false,
    world: patient,
    play: clock,
};

const PROTOCOLS: u8 = 2;
/// How long a node that came back may be kept out by what its peers still hold of its predecessor.
const GHOST: Duration = Duration::from_secs(1);

fn world(seed: u64, trace: Trace) -> World {
    World::new(Setup::new(seed, 2 + (seed % 3) as usize), trace)
}

/// In which no connection is closed because it is needed no more.
fn patient(seed: u64, trace: Trace) -> World {
    let spare_connection = Duration::from_secs(3_600);
    World::new(Setup { spare_connection, ..Setup::new(seed, 2 + (seed % 3) as usize) }, trace)
}

fn crash(world: &mut World) -> Outcome {
    world.start_with(PROTOCOLS)?;
    for _ in 0..world.draw(1..=3) {
        let floods = world.draw(0..=3);
        world.draw_floods(floods, PROTOCOLS);
        let time = world.draw_ms(0..=1_000);
        world.run_for(time)?;
        let all = world.running();
        let victim = world.pick(&all);
        world.step("crash");
        world.crash(victim);
        let down = world.draw_ms(0..=9_000);
        world.run_for(down)?;
        world.step("restart");
        world.boot(victim)?;
        let others: Vec<usize> = world.running().into_iter().filter(|node| *node != victim).collect();
        admitted_soon(world, victim, &others)?;
        world.settle(bound_after(down))?;
    }
    Ok(())
}

/// Every other node has admitted the new run of this one in time.
fn admitted_soon(world: &mut World, victim: usize, others: &[usize]) -> Outcome {
    let until = world.now() + GHOST;
    world.run_for(GHOST - Duration::from_millis(20))?;
    let looks = world.look()?;
    let own = &looks[&victim];
    for other in others {
        let theirs = looks[other].connections(victim);
        if own.connections(*other) == 0 || theirs == 0 {
            let detail = format!("n{victim} and n{other} at {until:?}: {} and {theirs}", own.connections(*other));
            return Err(world.violation("a node that came back is admitted within a second", detail));
        }
    }
    Ok(())
}

fn clock(world: &mut World) -> Outcome {
    world.start_with(PROTOCOLS)?;
    for _ in 0..world.draw(1..=4) {
        let floods = world.draw(0..=2);
        world.draw_floods(floods, PROTOCOLS);
        let before = world.look()?;
        world.step("clock jump");
        let all = world.running();
        let who = world.pick(&all);
        let range = [60_000, 86_400_000, 10 * 365 * 86_400_000_u64][world.draw(0..=2) as usize];
        let off = world.draw(0..=range) as i64 * if world.chance(50) { -1 } else { 1 };
        world.set_clock(who, off);
        let time = world.draw_ms(500..=9_000);
        world.run_for(time)?;
        let after = world.look()?;
        let ids = |looks: &std::collections::BTreeMap<usize, crate::look::Look>| {
            looks.values().map(|look| look.pools.iter().map(|(_, id, _)| *id).collect::<Vec<_>>()).collect::<Vec<_>>()
        };
        // Load may have made one more meanwhile.
        let (were, are) = (ids(&before), ids(&after));
        if were.iter().zip(&are).any(|(were, are)| were.iter().any(|id| !are.contains(id))) {
            let detail = format!("{were:?} became {are:?}");
            return Err(world.violation("a clock that jumps closes no connection", detail));
        }
        if world.chance(40) {
            world.step("crash and restart by another clock");
            world.crash(who);
            world.boot(who)?;
            world.settle(bound_after(Duration::ZERO))?;
        }
    }
    world.step("calm");
    world.settle(Duration::from_secs(60))
}
