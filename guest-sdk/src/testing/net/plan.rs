//! What a scenario is, as plain data: any scheduler can play it.

use serde::{Deserialize, Serialize};

use crate::testing::Random;

/// One link between two nodes, the same in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkSpec {
    /// From the commit that sent a message to its arrival, in microseconds.
    pub latency_us: u64,
    /// Up to so many microseconds more, drawn for each message. Messages of an ordered lane do not overtake each other.
    pub jitter_us: u64,
    /// Bytes a millisecond in each direction; 0 is no limit.
    pub bytes_per_ms: u64,
}

/// The world the nodes live in. Times are virtual.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Everything that is drawn follows from it.
    pub seed: u64,
    /// How many nodes there are.
    pub nodes: u32,
    /// Every link that no step changes.
    pub link: LinkSpec,
    /// Bytes that wait on a lane above which a send is refused as busy.
    pub lane_bytes: u32,
    /// Events and bytes a mailbox takes before its senders feel it.
    pub mailbox_events: u32,
    /// See `mailbox_events`.
    pub mailbox_bytes: u32,
    /// The most events and bytes of bodies of one turn.
    pub batch_events: u32,
    /// See `batch_events`.
    pub batch_bytes: u32,
    /// How long a turn keeps its plugin, in microseconds: what arrives meanwhile is the next batch.
    pub turn_us: u64,
    /// How long a cut or a dead peer goes unnoticed, in milliseconds. What is sent meanwhile is lost, or arrives if
    /// the cut heals sooner.
    pub silence_ms: u64,
    /// How long two nodes need to find each other again, in milliseconds; up to as much again is drawn.
    pub reconnect_ms: u64,
    /// How far the nodes' clocks are apart at most, in milliseconds.
    pub clock_skew_ms: u64,
    /// The longest time a relaxed commit may be missing on the disk, in milliseconds.
    pub sync_ms: u64,
    /// The longest time that `net.pause` holds, in milliseconds.
    pub pause_ms: u64,
    /// Fails the test when an event that returned `Err` changed the plugin's snapshot. It costs a snapshot an event.
    pub watch_failed_events: bool,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            seed: 1,
            nodes: 2,
            // A continent.
            link: LinkSpec { latency_us: 20_000, jitter_us: 10_000, bytes_per_ms: 0 },
            lane_bytes: 1 << 20,
            mailbox_events: 4_096,
            mailbox_bytes: 4 << 20,
            batch_events: 256,
            batch_bytes: 256 << 10,
            turn_us: 50,
            silence_ms: 1_000,
            reconnect_ms: 500,
            clock_skew_ms: 0,
            sync_ms: 50,
            pause_ms: 10_000,
            watch_failed_events: false,
        }
    }
}

/// Something that is done to the network. Plugins are named by the order in which they were installed, revisions by
/// the order in which the test announced them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// These two want a connection from now on.
    Connect(u32, u32),
    /// They close it and want none: what is in flight is lost.
    Disconnect(u32, u32),
    /// Their connection breaks, and they look for each other again: what is in flight is lost.
    Break(u32, u32),
    /// Their link from now on.
    Link(u32, u32, LinkSpec),
    /// Only nodes of one group reach each other; those in no group are one of their own.
    Partition(Vec<Vec<u32>>),
    /// Ends the partition.
    Heal,
    /// The plugin's instance is thrown away, as after a trap: its store, its timers and its peers stay.
    Crash {
        /// Where.
        node: u32,
        /// Which of its plugins.
        plugin: u32,
    },
    /// The node's process dies. Relaxed commits of the last `lose_ms` are lost, of those that the disk may not have.
    Kill {
        /// Which.
        node: u32,
        /// How much is lost, in milliseconds.
        lose_ms: u64,
    },
    /// A killed node starts again.
    Boot(u32),
    /// Another revision takes over, with the snapshot.
    Upgrade {
        /// Where.
        node: u32,
        /// Which of its plugins.
        plugin: u32,
        /// Which revision.
        revision: u32,
    },
    /// What a lane takes before its sends are busy, in bytes; 0 for nothing.
    Room {
        /// The sender.
        from: u32,
        /// The receiver.
        to: u32,
        /// Bytes.
        bytes: u32,
    },
    /// The plugin takes so much longer for every turn from now on, in microseconds.
    Slow {
        /// Where.
        node: u32,
        /// Microseconds.
        turn_us: u64,
    },
    /// Somebody calls a command. Its answer is in the trace, and under its ticket.
    Command {
        /// Where.
        node: u32,
        /// Which of its plugins.
        plugin: u32,
        /// The command.
        name: String,
        /// Its arguments as JSON.
        args: String,
    },
}

/// A step and its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timed {
    /// Milliseconds from the beginning of the scenario.
    pub at_ms: u64,
    /// What is done.
    pub step: Step,
}

/// A whole run: the network, and what is done to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scenario {
    /// The network.
    pub network: Network,
    /// What is done to it, in any order.
    pub steps: Vec<Timed>,
    /// When it ends, in milliseconds.
    pub until_ms: u64,
}

impl Scenario {
    /// A network to which nothing is done yet.
    pub fn new(network: Network, until_ms: u64) -> Self {
        Self { network, steps: Vec::new(), until_ms }
    }

    /// Adds a step.
    pub fn at(mut self, at_ms: u64, step: Step) -> Self {
        self.steps.push(Timed { at_ms, step });
        self
    }

    /// Connects everybody with everybody.
    pub fn full_mesh(mut self) -> Self {
        let nodes = self.network.nodes;
        for from in 0..nodes {
            self.steps.extend((from + 1..nodes).map(|to| Timed { at_ms: 0, step: Step::Connect(from, to) }));
        }
        self
    }

    /// Connects each node with about `degree` others, so that all are connected: a ring of random order and random
    /// links beside it.
    pub fn random_mesh(mut self, degree: u32) -> Self {
        let mut random = Random::new(self.network.seed ^ 0x6d65_7368);
        let links = random_links(self.network.nodes, degree, &mut random);
        self.steps.extend(links.into_iter().map(|(from, to)| Timed { at_ms: 0, step: Step::Connect(from, to) }));
        self
    }

    /// Adds faults, drawn from the network's seed; after the last one the network is whole.
    pub fn faults(mut self, faults: &Faults) -> Self {
        self.steps.extend(faults.draw(&self.network));
        self
    }
}

fn random_links(nodes: u32, degree: u32, random: &mut Random) -> std::collections::BTreeSet<(u32, u32)> {
    let mut order: Vec<u32> = (0..nodes).collect();
    random.shuffle(&mut order);
    let mut links = std::collections::BTreeSet::new();
    let mut add = |from: u32, to: u32| from != to && links.insert((from.min(to), from.max(to)));
    for (at, node) in order.iter().enumerate() {
        add(*node, order[(at + 1) % order.len()]);
    }
    let most = u64::from(nodes) * u64::from(nodes.saturating_sub(1)) / 2;
    let wanted = (u64::from(nodes) * u64::from(degree) / 2).min(most) as usize;
    for _ in 0..wanted * 20 {
        if links.len() >= wanted {
            break;
        }
        let (from, to) = (random.within(0..nodes.into()) as u32, random.within(0..nodes.into()) as u32);
        if from != to {
            links.insert((from.min(to), from.max(to)));
        }
    }
    links
}

/// Faults to draw. Each number is how many of its kind there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faults {
    /// The first and the last moment, in milliseconds.
    pub from_ms: u64,
    /// See `from_ms`.
    pub to_ms: u64,
    /// Connections that break and come back.
    pub breaks: u32,
    /// Instances that are thrown away.
    pub crashes: u32,
    /// Processes that die and start again up to three seconds later, with up to `sync_ms` of commits lost.
    pub kills: u32,
    /// Partitions into two random halves, one after the other, each healed before the next.
    pub partitions: u32,
    /// Nodes that no kill and no crash touches, counted from the first.
    pub spared: u32,
}

impl Faults {
    fn draw(&self, network: &Network) -> Vec<Timed> {
        let mut random = Random::new(network.seed ^ 0x6661_756c_7473);
        let mut steps = Vec::new();
        let nodes = u64::from(network.nodes);
        let node = |random: &mut Random, least: u64| random.within(least.min(nodes - 1)..nodes) as u32;
        for _ in 0..self.breaks {
            let (from, to) = (node(&mut random, 0), node(&mut random, 0));
            steps.push(Timed { at_ms: self.moment(&mut random), step: Step::Break(from, to) });
        }
        for _ in 0..self.crashes {
            let node = node(&mut random, self.spared.into());
            steps.push(Timed { at_ms: self.moment(&mut random), step: Step::Crash { node, plugin: 0 } });
        }
        for _ in 0..self.kills {
            let (node, at_ms) = (node(&mut random, self.spared.into()), self.moment(&mut random));
            let lose_ms = random.within(0..network.sync_ms + 1);
            steps.push(Timed { at_ms, step: Step::Kill { node, lose_ms } });
            let back = (at_ms + 1 + random.within(0..3_000)).min(self.to_ms);
            steps.push(Timed { at_ms: back.max(at_ms), step: Step::Boot(node) });
        }
        self.draw_partitions(network, &mut random, &mut steps);
        // A boot of one kill may come before another kill of the same node.
        steps.extend((0..network.nodes).map(|node| Timed { at_ms: self.to_ms, step: Step::Boot(node) }));
        steps
    }

    fn draw_partitions(&self, network: &Network, random: &mut Random, steps: &mut Vec<Timed>) {
        let each = (self.to_ms - self.from_ms) / u64::from(self.partitions.max(1));
        for number in 0..u64::from(self.partitions) {
            let mut order: Vec<u32> = (0..network.nodes).collect();
            random.shuffle(&mut order);
            let half = random.within(1..u64::from(network.nodes)) as usize;
            let begin = self.from_ms + number * each;
            let step = Step::Partition(vec![order.split_off(half), order]);
            steps.push(Timed { at_ms: begin + random.within(0..each / 4 + 1), step });
            steps.push(Timed { at_ms: begin + each - random.within(0..each / 4 + 1), step: Step::Heal });
        }
    }

    fn moment(&self, random: &mut Random) -> u64 {
        random.within(self.from_ms..self.to_ms)
    }
}
