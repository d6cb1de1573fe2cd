//! Peers that are busy enough for a second connection, and quiet enough afterwards to lose it again.

use std::time::Duration;

use super::Scenario;
use super::cuts::bound_after;
use crate::courier::Flood;
use crate::trace::Trace;
use crate::world::{Outcome, Setup, World};

/// See `about`.
pub const BUSY: Scenario = Scenario {
    name: "busy_peers",
    about: "load makes a second connection and its end takes it away, with faults and churn in the middle of it",
    weight: 10,
    needs_plugins: false,
    world,
    play,
};

const PROTOCOLS: u8 = 6;
/// After this a further connection that nobody uses must be gone, beside the time that it may be unused.
const CLOSED: Duration = Duration::from_secs(15);

/// How long a little goes on after a connection has not been needed for so long that it is given up.
const GIVEN_UP: Duration = Duration::from_secs(6);

fn world(seed: u64, trace: Trace) -> World {
    // Fewer streams than lanes, and windows so small that the lanes are busy for seconds.
    let setup = Setup { max_streams: 4, stream_window: 32 << 10, connections_per_peer: 2, ..Setup::new(seed, 2) };
    World::new(setup, trace)
}

fn play(world: &mut World) -> Outcome {
    world.start_with(PROTOCOLS)?;
    for _ in 0..world.draw(1..=3) {
        world.step("load");
        let time = world.draw_ms(2_000..=5_000);
        load(world, time);
        let before = world.draw_ms(1_000..=4_500);
        world.run_for(before)?;
        let trouble = fault(world)?;
        if world.chance(40) {
            world.settle(bound_after(trouble))?;
        }
    }
    world.step("calm");
    world.heal();
    world.lift_all();
    world.register_all(PROTOCOLS);
    world.settle(bound_after(Duration::from_secs(60)))?;
    given_up_under_way(world)?;
    spare_ones_go(world)
}

/// Load makes a further connection, and one lane goes on after it in either direction: so the connection is given up
/// while one may be at home on it, with messages under way that those on the other connection may overtake.
fn given_up_under_way(world: &mut World) -> Outcome {
    world.step("load that leaves a little");
    let time = world.draw_ms(3_000..=4_000);
    load(world, time);
    world.run_for(time)?;
    let (most, before) = (world.draw_ms(100..=300), world.latency);
    world.set_latency(most);
    let until = Some(world.now() + world.spare_connection + GIVEN_UP);
    for (from, to) in [(0, 1), (1, 0)] {
        let (protocol, size) = (world.draw(0..=u64::from(PROTOCOLS - 1)) as u8, world.draw(100..=1_000) as usize);
        let gap = world.draw_ms(2..=10);
        world.flood(from, Flood { to, protocol, count: 20_000, size, gap, asks: 0, until });
    }
    let time = world.spare_connection + GIVEN_UP;
    world.run_for(time)?;
    world.set_latency(before);
    Ok(())
}

/// Everything that two nodes can send each other.
fn load(world: &mut World, time: Duration) {
    let until = Some(world.now() + time);
    let both = world.chance(50);
    for protocol in 0..PROTOCOLS {
        let size = world.draw(1_000..=6_000) as usize;
        let flood = |to| Flood { to, protocol, count: 20_000, size, gap: Duration::ZERO, asks: 0, until };
        world.flood(0, flood(1));
        if both {
            world.flood(1, flood(0));
        }
    }
}

/// Something happens while both connections are in use, or nothing does; how long it lasted.
fn fault(world: &mut World) -> Outcome<Duration> {
    let time = world.draw_ms(100..=9_000);
    match world.draw(0..=6) {
        0 => {
            world.step("partition");
            world.partition(&[0], &[1]);
            world.run_for(time)?;
            world.heal();
        }
        1 => {
            world.step("one-way cut");
            world.cut_one_way(0, 1);
            world.run_for(time)?;
            world.heal();
        }
        2 => {
            world.step("crash and restart");
            let victim = world.pick(&[0, 1]);
            world.crash(victim);
            world.run_for(time / 4)?;
            world.boot(victim)?;
        }
        3 => {
            world.step("churn");
            for _ in 0..world.draw(1..=6) {
                let (node, number) = (world.pick(&[0, 1]), world.draw(0..=u64::from(PROTOCOLS - 1)) as u8);
                world.unregister(node, number);
                let between = world.draw_ms(0..=300);
                world.run_for(between)?;
                world.register(node, number, Duration::ZERO);
            }
        }
        4 => {
            world.step("loss");
            let per_mille = world.draw(1..=20);
            world.set_loss(per_mille as f64 / 1_000.0);
            world.run_for(time / 4)?;
            world.heal();
        }
        5 => {
            world.step("access");
            let node = world.pick(&[0, 1]);
            world.draw_access(node);
            world.run_for(time / 4)?;
            world.lift_all();
        }
        _ => world.run_for(time / 2)?,
    }
    Ok(time)
}

fn spare_ones_go(world: &mut World) -> Outcome {
    world.step("quiet");
    let time = world.spare_connection + CLOSED;
    world.run_for(time)?;
    let looks = world.look()?;
    for (node, look) in &looks {
        if let Some((peer, all)) = look.peers.iter().find(|(_, all)| all.len() > 1) {
            let detail = format!("n{node} has {} to n{peer}, {} s after the load", all.len(), time.as_secs());
            return Err(world.violation("a connection that is needed no more is closed", detail));
        }
    }
    world.settle(Duration::from_secs(30))
}
