//! Streams overtake what is said of the sets, and trail it.

use super::*;

impl World {
    /// A lane of an open pair opens a stream, on any connection.
    pub(super) fn send(&mut self, at: usize, link: usize) {
        let node = &self.nodes[at];
        let (open, pick) = (node.open.len() as u64, self.below(PROTOCOLS));
        if !node.links.contains_key(&link) || open == 0 {
            return;
        }
        let Some((protocol, (ours, theirs))) = node.open.iter().nth((pick % open) as usize) else { return };
        let (registration, sequence, incarnation) = (*theirs, node.state.sequence(), node.incarnation);
        let header = StreamHeader { registration, sequence, incarnation, lane: 1, generation: 1, after: 0 };
        self.streams.push(Stream { link, to: 1 - at, header, protocol: protocol.clone(), of: *ours });
    }

    /// A stream is looked at: it waits for its set, is refused, or comes to the handler that it was meant for.
    pub(super) fn arrive(&mut self) {
        if self.streams.is_empty() {
            return;
        }
        let stream = self.streams.swap_remove(self.below(self.streams.len() as u64) as usize);
        let node = &self.nodes[stream.to];
        let Some(link) = self.links.get(&stream.link).filter(|_| node.links.contains_key(&stream.link)) else { return };
        let incarnation = link.incarnations[1 - stream.to];
        if stream.header.incarnation != incarnation {
            return;
        }
        if node.state.applied(&id(1 - stream.to)).is_none_or(|applied| applied < stream.header.sequence) {
            return self.streams.push(stream);
        }
        let Some((ours, theirs)) = node.open.get(&stream.protocol) else { return };
        if belongs(&stream.header, incarnation, *ours, *theirs) {
            assert_eq!(stream.of, *theirs, "of another registration of its sender: {stream:?}");
            assert_eq!(stream.header.registration, *ours, "for another registration: {stream:?}");
            self.taken += 1;
        }
    }
}
