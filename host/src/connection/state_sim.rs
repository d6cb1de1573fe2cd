//! Two nodes and a network that delays, breaks and forgets; nodes that restart.

use std::collections::VecDeque;

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

#[derive(Debug, Clone)]
enum Packet {
    Linked,
    Hello { incarnation: u64, dial: u64 },
    Control(Control),
    Close(CloseCode),
}

/// One end of a link: the process that owns it, and its name there.
#[derive(Debug, Clone, Copy)]
struct End {
    connection: ConnectionId,
    /// The owner has been told of the end, or the process that owned it is gone.
    over: bool,
}

#[derive(Debug)]
struct Link {
    ends: [Option<End>; 2],
    /// To each node.
    queues: [VecDeque<Packet>; 2],
    /// Nothing passes; neither side knows.
    cut: bool,
    /// When an end whose other side is gone or unreachable notices.
    idle: Option<Duration>,
}

struct Node {
    state: State,
    incarnation: u64,
    told: Vec<ConnectionId>,
    dialing: Vec<ConnectionId>,
    done: Vec<Result<ConnectionId, DialFailure>>,
}

struct World {
    nodes: [Node; 2],
    links: Vec<Link>,
    now: Duration,
    names: u64,
    rng: StdRng,
    trace: Vec<String>,
}

const NAMES: [u8; 2] = [3, 8];

fn fresh(at: usize, incarnation: u64) -> Node {
    let limits = ConnectionLimits { max_peers: 1, max_pending: 64 };
    let state = State::new(peer(NAMES[at]), limits);
    Node { state, incarnation, told: Vec::new(), dialing: Vec::new(), done: Vec::new() }
}

impl World {
    fn new(seed: u64) -> Self {
        let nodes = [fresh(0, 100), fresh(1, 200)];
        let rng = StdRng::seed_from_u64(seed);
        Self { nodes, links: Vec::new(), now: ZERO, names: 0, rng, trace: Vec::new() }
    }

    fn name(&mut self) -> ConnectionId {
        self.names += 1;
        ConnectionId(self.names)
    }

    fn feed(&mut self, at: usize, event: Event) {
        self.trace.push(format!("{:?} node {at} <- {event:?}", self.now));
        let actions = self.nodes[at].state.handle(event, self.now);
        for action in actions {
            self.trace.push(format!("        {action:?}"));
            self.act(at, action);
        }
        let state = &self.nodes[at].state;
        assert!(state.places_taken() <= state.limits.max_peers);
        assert!(self.nodes[at].told.len() <= 1, "one session at a time\n{}", self.trace.join("\n"));
    }

    fn link_of(&mut self, at: usize, connection: ConnectionId) -> Option<usize> {
        self.links.iter().position(|l| l.ends[at].is_some_and(|e| e.connection == connection && !e.over))
    }

    fn post(&mut self, at: usize, connection: ConnectionId, packet: Packet) {
        if let Some(link) = self.link_of(at, connection) {
            self.links[link].queues[1 - at].push_back(packet);
        }
    }

    fn act(&mut self, at: usize, action: Action) {
        match action {
            Action::Dial { connection } => self.nodes[at].dialing.push(connection),
            Action::CancelDial { connection } => self.nodes[at].dialing.retain(|c| *c != connection),
            Action::Greet { connection, dial } => {
                let incarnation = self.nodes[at].incarnation;
                self.post(at, connection, Packet::Hello { incarnation, dial });
            }
            Action::Send { connection, message } => self.post(at, connection, Packet::Control(message)),
            Action::TurnAway { connection, .. } => self.act(at, Action::Close { connection, code: CloseCode::Full }),
            Action::Close { connection, code } => {
                self.post(at, connection, Packet::Close(code));
                if let Some(link) = self.link_of(at, connection) {
                    // The task tells its end a little later.
                    self.links[link].queues[at] = VecDeque::from([Packet::Close(code)]);
                    self.links[link].idle = Some(self.now + Duration::from_secs(10));
                }
            }
            Action::Up { connection } => self.nodes[at].told.push(connection),
            Action::Down { connection, .. } => self.nodes[at].told.retain(|c| *c != connection),
            Action::Draining { connection } => self.feed_later(at, connection),
            Action::DialDone { result, .. } => self.nodes[at].done.push(result),
        }
    }

    /// The layers above have nothing open.
    fn feed_later(&mut self, at: usize, connection: ConnectionId) {
        self.feed(at, Event::OwnDrained { connection });
    }

    fn dial(&mut self, at: usize) {
        let connection = self.name();
        self.feed(at, Event::DialRequested { connection, peer: peer(NAMES[1 - at]) });
    }

    /// The handshake of one dial ends.
    fn handshake(&mut self, at: usize) {
        let Some(connection) = self.nodes[at].dialing.pop() else { return };
        let mut ends = [None, None];
        ends[at] = Some(End { connection, over: false });
        ends[1 - at] = Some(End { connection: self.name(), over: false });
        let mut queues = [VecDeque::new(), VecDeque::new()];
        queues[1 - at].push_back(Packet::Linked);
        self.links.push(Link { ends, queues, cut: false, idle: None });
        self.feed(at, Event::Linked { connection, peer: peer(NAMES[1 - at]), direction: Direction::Outbound });
    }

    fn deliver(&mut self, link: usize, at: usize) {
        let Some(End { connection, over: false }) = self.links[link].ends[at] else {
            return self.links[link].queues[at].clear();
        };
        // What a node closes itself it notices without the network.
        let own = self.links[link].idle.is_some();
        if self.links[link].cut && !own {
            return;
        }
        let Some(packet) = self.links[link].queues[at].pop_front() else { return };
        match packet {
            Packet::Linked => {
                let from = peer(NAMES[1 - at]);
                self.feed(at, Event::Linked { connection, peer: from, direction: Direction::Inbound });
            }
            Packet::Hello { incarnation, dial } => self.feed(at, Event::Hello { connection, incarnation, dial }),
            Packet::Close(code) => self.end(link, at, LinkError::Closed { code, local: false }),
            Packet::Control(message) => self.control(at, connection, message),
        }
    }

    fn control(&mut self, at: usize, connection: ConnectionId, message: Control) {
        match message {
            Control::Admitted => self.feed(at, Event::Admitted { connection }),
            Control::Refused { code, reason } => self.feed(at, Event::Refused { connection, code, reason }),
            Control::Ping(number) => self.post(at, connection, Packet::Control(Control::Pong(number))),
            Control::Pong(number) => self.feed(at, Event::Pong { connection, number }),
            Control::Drain { code } => self.feed(at, Event::PeerDrain { connection, code }),
            Control::Drained => self.feed(at, Event::PeerDrained { connection }),
            other => panic!("never sent: {other:?}"),
        }
    }

    fn end(&mut self, link: usize, at: usize, cause: LinkError) {
        let Some(end) = self.links[link].ends[at].as_mut().filter(|e| !e.over) else { return };
        end.over = true;
        let connection = end.connection;
        // The other end notices at last by its idle timeout, even when the close is lost.
        self.links[link].idle.get_or_insert(self.now + Duration::from_secs(10));
        self.feed(at, Event::Closed { connection, cause });
    }

    fn advance(&mut self, by: Duration) {
        self.now += by;
        for at in 0..2 {
            if self.nodes[at].state.deadline().is_some_and(|until| until <= self.now) {
                self.feed(at, Event::Tick);
            }
            for link in 0..self.links.len() {
                if self.links[link].idle.is_some_and(|until| until <= self.now) {
                    self.end(link, at, LinkError::TimedOut);
                }
            }
        }
    }

    /// The process dies and comes back; its peer hears nothing of it.
    fn restart(&mut self, at: usize) {
        self.trace.push(format!("node {at} restarts"));
        self.nodes[at] = fresh(at, self.nodes[at].incarnation + 1);
        for link in &mut self.links {
            if let Some(end) = &mut link.ends[at] {
                end.over = true;
            }
            link.queues[at].clear();
            link.idle.get_or_insert(self.now + Duration::from_secs(10));
        }
    }

    fn cut(&mut self, link: usize) {
        self.trace.push(format!("link {link} breaks"));
        self.links[link].cut = true;
        self.links[link].idle.get_or_insert(self.now + Duration::from_secs(10));
    }

    fn step(&mut self, rough: bool) {
        let at = self.rng.random_range(0..2);
        match self.rng.random_range(0..if rough { 24 } else { 20 }) {
            0..=1 => self.dial(at),
            2..=5 => self.handshake(at),
            6..=18 => {
                if let Some(link) = self.any_link() {
                    self.deliver(link, at);
                }
            }
            19 => self.advance(Duration::from_millis(if rough { 700 } else { 1 })),
            20 => self.restart(at),
            21 => {
                if let Some(link) = self.any_link() {
                    self.cut(link);
                }
            }
            22 => self.feed(at, Event::CloseRequested { peer: peer(NAMES[1 - at]), code: CloseCode::Removed }),
            _ => {
                if let Some(connection) = self.nodes[at].dialing.pop() {
                    self.feed(at, Event::DialFailed { connection, failure: DialFailure::Timeout });
                }
            }
        }
    }

    fn any_link(&mut self) -> Option<usize> {
        (!self.links.is_empty()).then(|| self.rng.random_range(0..self.links.len()))
    }

    fn deliver_all(&mut self) {
        for _ in 0..20 {
            for link in 0..self.links.len() {
                self.deliver(link, 0);
                self.deliver(link, 1);
            }
        }
    }

    /// Whether both sides have the same one connection up.
    fn converged(&self) -> bool {
        let [a, b] = [&self.nodes[0], &self.nodes[1]];
        let same = |l: &Link| {
            let up = |at: usize, node: &Node| l.ends[at].is_some_and(|e| !e.over && node.told == [e.connection]);
            !l.cut && up(0, a) && up(1, b)
        };
        self.links.iter().any(same)
    }

    /// The network heals; whoever is not connected dials now and then.
    fn heal(&mut self) {
        for round in 0..120 {
            for at in 0..2 {
                while !self.nodes[at].dialing.is_empty() {
                    self.handshake(at);
                }
            }
            self.deliver_all();
            if self.converged() && round > 60 {
                return;
            }
            for at in 0..2 {
                if self.nodes[at].told.is_empty() && self.rng.random_bool(0.3) {
                    self.dial(at);
                }
            }
            self.advance(Duration::from_millis(500));
        }
    }

    fn check_leaks(&self) {
        for node in &self.nodes {
            let alive = node.state.connections.values().filter(|c| c.stage == Stage::Up).count();
            assert_eq!((alive, node.state.connections.len()), (1, 1), "{}", self.trace.join("\n"));
            assert_eq!((node.state.places_taken(), node.state.dials()), (1, 0));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn two_nodes_always_end_with_one_connection(seed in any::<u64>(), steps in 0usize..150) {
        let mut world = World::new(seed);
        for _ in 0..steps {
            world.step(true);
        }
        world.heal();
        prop_assert!(world.converged(), "not connected\n{}", world.trace.join("\n"));
        world.check_leaks();
    }

    #[test]
    fn dials_from_both_sides_never_fail_without_loss(seed in any::<u64>(), steps in 1usize..150) {
        let mut world = World::new(seed);
        world.dial(0);
        world.dial(1);
        for _ in 0..steps {
            world.step(false);
        }
        for _ in 0..8 {
            for at in 0..2 {
                world.handshake(at);
            }
            world.deliver_all();
        }
        prop_assert!(world.converged(), "not connected\n{}", world.trace.join("\n"));
        for node in &world.nodes {
            let good = |r: &Result<_, _>| matches!(r, Ok(_) | Err(DialFailure::AlreadyConnected));
            prop_assert!(node.done.iter().all(good), "{:?}\n{}", node.done, world.trace.join("\n"));
        }
        prop_assert!(world.now < PROBE_TIMEOUT, "no dial waited for a timeout");
    }
}
