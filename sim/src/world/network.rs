//! What becomes of packets: cuts, loss, and how long they take.

use std::time::Duration;

use super::World;

impl World {
    fn names(&self, nodes: &[usize]) -> Vec<String> {
        nodes.iter().map(|index| self.machines[*index].name.clone()).collect()
    }

    fn pairs<'a>(a: &'a [usize], b: &'a [usize]) -> impl Iterator<Item = (usize, usize)> + 'a {
        a.iter().flat_map(move |x| b.iter().filter(move |y| x != *y).map(move |y| (*x, *y)))
    }

    /// No packet passes between these groups, in either direction.
    pub fn partition(&mut self, a: &[usize], b: &[usize]) {
        self.trace.note("-", format_args!("partition {a:?} {b:?}"));
        for (x, y) in Self::pairs(a, b) {
            self.cuts.extend([(x, y), (y, x)]);
            self.sim.partition(self.machines[x].name.as_str(), self.machines[y].name.as_str());
        }
    }

    /// Nothing passes from one to the other; the way back is open.
    pub fn cut_one_way(&mut self, from: usize, to: usize) {
        self.trace.note("-", format_args!("cut n{from} -> n{to}"));
        self.cuts.insert((from, to));
        self.sim.partition_oneway(self.machines[from].name.as_str(), self.machines[to].name.as_str());
    }

    /// Everything passes again, without loss.
    pub fn heal(&mut self) {
        self.trace.note("-", "heal");
        self.set_loss(0.0);
        for (x, y) in std::mem::take(&mut self.cuts) {
            self.sim.repair_oneway(self.machines[x].name.as_str(), self.machines[y].name.as_str());
        }
    }

    /// With this probability a packet is lost, and with it all that are on their way on the same link.
    pub fn set_loss(&mut self, probability: f64) {
        self.trace.note("-", format_args!("loss {probability}"));
        self.sim.set_fail_rate(probability);
    }

    /// How long packets take at most; each takes its own time, so they overtake each other.
    pub fn set_latency(&mut self, most: Duration) {
        self.trace.note("-", format_args!("latency up to {} ms", most.as_millis()));
        self.sim.set_max_message_latency(most);
    }

    /// How long packets between these take, all the same.
    pub fn set_link_latency(&mut self, a: usize, b: usize, time: Duration) {
        let names = self.names(&[a, b]);
        self.sim.set_link_latency(names[0].as_str(), names[1].as_str(), time);
    }
}
