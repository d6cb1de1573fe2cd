//! More peers than places, and lists that change while everybody is connected.

use std::time::Duration;

use super::Scenario;
use crate::trace::Trace;
use crate::world::{Outcome, Setup, World};

/// See `about`.
pub const CROWDED: Scenario = Scenario {
    name: "crowded",
    about: "more peers than places: they are refused and evict each other, and access lists change meanwhile",
    weight: 10,
    needs_plugins: false,
    world,
    play,
};

const PROTOCOLS: u8 = 2;

fn world(seed: u64, trace: Trace) -> World {
    let machines = 4 + (seed % 4) as usize;
    let max_peers = 1 + (seed / 4 % (machines as u64 - 2)) as u32;
    // Sometimes one place is kept for those that the node dials itself.
    let reserved_outbound = u32::from(seed.is_multiple_of(5) && max_peers > 1);
    World::new(Setup { max_peers, reserved_outbound, ..Setup::new(seed, machines) }, trace)
}

fn play(world: &mut World) -> Outcome {
    let all: Vec<usize> = (0..world.machines.len()).collect();
    world.step("start");
    world.boot_all(&all)?;
    world.register_all(PROTOCOLS);
    for _ in 0..world.draw(5..=16) {
        let running = world.running();
        let Some((one, other)) = world.pick_two(&running) else { break };
        match world.draw(0..=9) {
            0..=3 => {
                world.step("dial");
                // An ordinary peer is dialed once; a necessary one takes places from others.
                let necessary = world.chance(40);
                world.watch(one, other, necessary);
            }
            4 => {
                world.step("forget");
                world.unwatch(one, other);
            }
            5 | 6 => {
                world.step("access");
                world.draw_access(one);
            }
            7 => {
                world.step("crash and restart");
                world.crash(one);
                world.boot(one)?;
            }
            _ => {
                world.step("flood");
                world.draw_floods(2, PROTOCOLS);
            }
        }
        let time = world.draw_ms(0..=2_000);
        world.run_for(time)?;
    }
    calm(world, &all)
}

/// Whoever wants a place and gets none would want it for ever: from here on nobody is necessary, and only then it is
/// settled who has one.
fn calm(world: &mut World, all: &[usize]) -> Outcome {
    world.step("calm");
    world.lift_all();
    for node in all {
        let known: Vec<usize> = world.machines[*node].plan.borrow().peers.keys().copied().collect();
        known.into_iter().for_each(|peer| world.watch(*node, peer, false));
    }
    world.settle(Duration::from_secs(90))
}
