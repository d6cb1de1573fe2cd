//! Two nodes and a network that delays, breaks and forgets; nodes that restart.

use std::collections::VecDeque;

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

#[derive(Debug, Clone)]
enum Packet {
    Linked,
    Hello { incarnation: u64, dial: u64, beside: bool },
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
    /// Dials wanted.
    asked: usize,
    done: Vec<Result<ConnectionId, DialFailure>>,
}

struct World {
    nodes: [Node; 2],
    links: Vec<Link>,
    now: Duration,
    names: u64,
    rng: StdRng,
    /// How many connections each lets the other have.
    widths: [usize; 2],
    trace: Vec<String>,
}

const NAMES: [u8; 2] = [3, 8];

fn fresh(at: usize, incarnation: u64, connections_per_peer: usize) -> Node {
    let limits = ConnectionLimits { max_peers: 1, connections_per_peer, max_pending: 64, ..unreserved() };
    let state = State::new(peer(NAMES[at]), limits, AccessLists::default(), 1);
    Node { state, incarnation, told: Vec::new(), dialing: Vec::new(), asked: 0, done: Vec::new() }
}

impl World {
    fn new(seed: u64, widths: [usize; 2]) -> Self {
        let nodes = [fresh(0, 100, widths[0]), fresh(1, 200, widths[1])];
        let rng = StdRng::seed_from_u64(seed);
        Self { nodes, links: Vec::new(), now: ZERO, names: 0, rng, widths, trace: Vec::new() }
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
        self.check(at);
    }

    /// What the head of `state.rs` promises.
    fn check(&self, at: usize) {
        let Node { state, told, .. } = &self.nodes[at];
        let mine = || state.connections.values();
        assert!(state.places_taken() <= state.limits.max_peers);
        let held = mine().filter(|c| c.holds_place()).count();
        let width = self.widths[at];
        assert!(held <= width, "{held} connections\n{}", self.trace.join("\n"));
        assert!(told.len() <= width, "{} told at once\n{}", told.len(), self.trace.join("\n"));
        let lives: BTreeSet<_> = mine().filter(|c| c.told).map(|c| c.incarnation).collect();
        assert!(lives.len() <= 1, "two lives of the peer at once\n{}", self.trace.join("\n"));
        let endless = |c: &&Connection| c.deadline.is_none() && !matches!(c.stage, Stage::Up | Stage::Dialing);
        // One that is closed for good reports its end by itself.
        let left: Vec<_> = mine().filter(endless).filter(|c| !matches!(c.stage, Stage::Closing(_))).collect();
        assert!(left.is_empty(), "waits for ever: {left:?}");
        let counts = &state.counts;
        assert_eq!(counts.admitted - counts.ended, told.len() as u64, "what was told is counted");
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
            Action::Greet { connection, dial, beside } => {
                let incarnation = self.nodes[at].incarnation;
                self.post(at, connection, Packet::Hello { incarnation, dial, beside });
            }
            Action::Send { connection, message } => self.post(at, connection, Packet::Control(message)),
            Action::TurnAway { connection, code } | Action::Close { connection, code } => {
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

    fn dial(&mut self, at: usize, another: bool) {
        let connection = self.name();
        self.nodes[at].asked += 1;
        self.feed(at, Event::DialRequested { connection, peer: peer(NAMES[1 - at]), address: HOST, another });
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
        self.feed(
            at,
            Event::Linked { connection, peer: peer(NAMES[1 - at]), direction: Direction::Outbound, remote: HOST },
        );
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
                self.feed(at, Event::Linked { connection, peer: from, direction: Direction::Inbound, remote: HOST });
            }
            Packet::Hello { incarnation, dial, beside } => {
                self.feed(at, Event::Hello { connection, incarnation, dial, beside });
            }
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
        self.nodes[at] = fresh(at, self.nodes[at].incarnation + 1, self.widths[at]);
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
            0 => self.dial(at, false),
            1 => self.dial(at, self.widths != [1, 1]),
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

    /// All handshakes end and all that was sent arrives.
    fn settle_all(&mut self) {
        for _ in 0..8 {
            for at in 0..2 {
                self.handshake(at);
            }
            self.deliver_all();
        }
    }

    /// Whether both sides have the same connections up, at least one.
    fn converged(&self) -> bool {
        let up =
            |l: &Link, at: usize| l.ends[at].is_some_and(|e| !e.over && self.nodes[at].told.contains(&e.connection));
        let both = self.links.iter().filter(|l| !l.cut && up(l, 0) && up(l, 1)).count();
        both > 0 && self.nodes.iter().all(|node| node.told.len() == both)
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
                    self.dial(at, false);
                }
            }
            self.advance(Duration::from_millis(500));
        }
    }

    fn check_leaks(&self) {
        for node in &self.nodes {
            let alive = node.state.connections.values().filter(|c| c.stage == Stage::Up).count();
            let all = (alive, node.state.connections.len());
            assert_eq!(all, (node.told.len(), node.told.len()), "{}", self.trace.join("\n"));
            assert_eq!((node.state.places_taken(), node.state.dials()), (1, 0));
            assert_eq!(node.state.counts.dialed == 0, node.state.last_dial == 0);
            assert!(node.done.len() <= node.asked, "each dial is answered once");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn two_nodes_always_end_connected(
        seed in any::<u64>(), steps in 0usize..150, one in 1usize..=3, other in 1usize..=3,
    ) {
        let mut world = World::new(seed, [one, other]);
        for _ in 0..steps {
            world.step(true);
        }
        world.heal();
        prop_assert!(world.converged(), "not connected\n{}", world.trace.join("\n"));
        world.check_leaks();
    }

    #[test]
    fn dials_from_both_sides_never_fail_without_loss(seed in any::<u64>(), steps in 1usize..150) {
        let mut world = World::new(seed, [1, 1]);
        world.dial(0, false);
        world.dial(1, false);
        for _ in 0..steps {
            world.step(false);
        }
        world.settle_all();
        prop_assert!(world.converged(), "not connected\n{}", world.trace.join("\n"));
        for node in &world.nodes {
            let good = |r: &Result<_, _>| matches!(r, Ok(_) | Err(DialFailure::AlreadyConnected));
            prop_assert!(node.done.iter().all(good), "{:?}\n{}", node.done, world.trace.join("\n"));
        }
        prop_assert!(world.now < PROBE_TIMEOUT, "no dial waited for a timeout");
    }

    #[test]
    fn more_connections_never_cost_one_that_is_up(seed in any::<u64>(), steps in 1usize..200, width in 2usize..=3) {
        let mut world = World::new(seed, [width, width]);
        world.dial(0, false);
        world.dial(1, false);
        for _ in 0..steps {
            world.step(false);
        }
        world.settle_all();
        prop_assert!(world.converged(), "not connected\n{}", world.trace.join("\n"));
        for node in &world.nodes {
            prop_assert_eq!(node.state.counts.ended, 0, "lost one\n{}", world.trace.join("\n"));
        }
        // Undisturbed, one wish after the other fills the limit, whoever has it.
        for round in 0..width {
            world.dial(round % 2, true);
            world.settle_all();
        }
        prop_assert_eq!(world.nodes[0].told.len(), width, "{}", world.trace.join("\n"));
        prop_assert!(world.converged());
    }
}
