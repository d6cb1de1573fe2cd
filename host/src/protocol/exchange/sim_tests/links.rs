//! Connections begin and end, at each end by itself; and nodes start anew.

use super::*;

impl World {
    /// Opens a connection, in the place of another where there are many.
    pub(super) fn connect(&mut self) {
        while self.links.len() >= CONNECTIONS {
            let Some(old) = self.a_link() else { break };
            self.down(0, old);
            self.down(1, old);
        }
        let hello = |node: &Node| (node.state.sequence(), node.state.local_set());
        let link = Link {
            incarnations: [0, 1].map(|at| self.nodes[at].incarnation),
            hellos: [0, 1].map(|at| hello(&self.nodes[at])),
            fresh: [true; 2],
            queues: Default::default(),
            past: Default::default(),
        };
        self.names += 1;
        self.links.insert(self.names, link);
    }

    pub(super) fn up(&mut self, at: usize, name: usize) {
        let Some(link) = self.links.get_mut(&name).filter(|link| link.fresh[at]) else { return };
        let (theirs, sent) = (link.incarnations[1 - at], link.hellos[at].0);
        // The connection layer brings no ghost of an incarnation that was replaced.
        if link.incarnations[at] != self.nodes[at].incarnation || theirs < self.nodes[at].applied.0 {
            return;
        }
        link.fresh[at] = false;
        let (sequence, set) = link.hellos[1 - at].clone();
        let old: Vec<_> = self.nodes[at].links.keys().copied().collect();
        for old in old.into_iter().filter(|old| self.links.get(old).is_none_or(|l| l.incarnations[1 - at] != theirs)) {
            self.nodes[at].links.remove(&old);
        }
        let node = &mut self.nodes[at];
        let actions = node.state.peer_up(id(1 - at), theirs, sequence, set).expect("a sound set");
        node.tell(actions);
        let mut exchanger = Exchanger::new(sent);
        let give = exchanger.changed(node.state.sequence(), self.now);
        node.links.insert(name, exchanger);
        self.give(at, name, give);
    }

    pub(super) fn down(&mut self, at: usize, link: usize) {
        let node = &mut self.nodes[at];
        if node.links.remove(&link).is_some() && node.links.is_empty() {
            let actions = node.state.peer_down(&id(1 - at));
            node.tell(actions);
        }
        let gone = |at: usize| !self.nodes[at].links.contains_key(&link);
        if gone(0) && gone(1) {
            self.links.remove(&link);
        } else if let Some(link) = self.links.get_mut(&link) {
            link.fresh[at] = false;
        }
    }

    /// One end finds that the other is gone.
    pub(super) fn notice(&mut self, at: usize, name: usize) {
        let gone = self.links.get(&name).is_some_and(|link| !link.fresh[1 - at]);
        if gone && !self.nodes[1 - at].links.contains_key(&name) {
            self.down(at, name);
        }
    }

    /// The process is gone at once; the other node notices when it does.
    pub(super) fn restart(&mut self, at: usize) {
        let incarnation = self.nodes[at].incarnation + 1;
        let applied = self.nodes[at].applied;
        self.nodes[at] = Node { incarnation, applied, ..Node::default() };
        for link in self.links.values_mut() {
            link.fresh = [false; 2];
            link.queues[at].clear();
        }
        let other = &self.nodes[1 - at].links;
        self.links.retain(|name, _| other.contains_key(name));
    }
}
