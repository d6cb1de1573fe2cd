//! Fifty nodes that come and go.

use std::time::Duration;

use super::Scenario;
use crate::trace::Trace;
use crate::world::{Outcome, Setup, World};

/// See `about`.
pub const STORM: Scenario = Scenario {
    name: "join_leave_storm",
    about: "50 nodes with few places join, leave and die in crowds",
    weight: 1,
    needs_plugins: false,
    world,
    play,
};

const NODES: usize = 50;
/// How many others each knows.
const KNOWN: usize = 3;

fn world(seed: u64, trace: Trace) -> World {
    let ms = Duration::from_millis;
    let setup =
        Setup { max_peers: 10, max_streams: 4, tick: ms(5), latency: (ms(5), ms(60)), ..Setup::new(seed, NODES) };
    World::new(setup, trace)
}

fn join(world: &mut World, crowd: &[usize]) -> Outcome {
    for node in crowd {
        let known = world.machines[*node].plan.borrow().peers.len();
        for _ in known..KNOWN {
            let others: Vec<usize> = (0..NODES).filter(|other| other != node).collect();
            let peer = world.pick(&others);
            // Ordinary ones are dialed once and may be evicted; necessary ones are kept.
            let necessary = world.chance(50);
            world.machines[*node].plan.borrow_mut().peers.insert(peer, necessary);
        }
        world.machines[*node].plan.borrow_mut().protocols.insert(0, Duration::ZERO);
    }
    world.boot_all(crowd)
}

fn play(world: &mut World) -> Outcome {
    world.step("all join");
    let all: Vec<usize> = (0..NODES).collect();
    join(world, &all)?;
    world.run_for(Duration::from_secs(3))?;
    for _ in 0..world.draw(2..=4) {
        world.step("crowds leave and join");
        world.draw_floods(10, 1);
        let running = world.running();
        let mut leaving = std::collections::BTreeSet::new();
        for _ in 0..world.draw(5..=25) {
            leaving.insert(world.pick(&running));
        }
        for node in leaving {
            if world.chance(50) {
                world.crash(node);
            } else {
                world.stop(node)?;
            }
        }
        let time = world.draw_ms(0..=4_000);
        world.run_for(time)?;
        let gone: Vec<usize> = (0..NODES).filter(|node| !world.machines[*node].runs()).collect();
        join(world, &gone)?;
        let time = world.draw_ms(500..=4_000);
        world.run_for(time)?;
    }
    world.step("calm");
    // More want to be connected than there are places: who gets one is not settled here, only that all agree.
    for machine in &world.machines {
        machine.plan.borrow_mut().peers.values_mut().for_each(|necessary| *necessary = false);
    }
    world.settle(Duration::from_secs(60))
}
