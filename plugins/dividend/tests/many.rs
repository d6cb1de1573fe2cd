//! Dividends among many accounts, by the plugin itself: no turn stages more than a turn may, everybody is paid exactly what
//! is due, the table adds up, and a node that was away for all claims has them afterwards.
//!
//! The long form, with figures: `cargo test --release -p weir-plugin-dividend --test many -- --ignored --nocapture`.

mod staked;

use std::collections::BTreeMap;
use std::rc::Rc;

use num_bigint::BigUint;
use serde_json::{Value, json};
use staked::{Answering, Clock, PAYER, Staked, Timed, genesis, pair};
use weir_ledger::{Id, Key, to_hex};
use weir_plugin_dividend::Dividend;
use weir_plugin_dividend::items::{Body, Item};
use weir_plugin_staking::items::Action;
use weir_sdk::testing::{Native, Network, Step, TestNet, Ticket};

const NODES: u32 = 3;
const DIVIDEND: u32 = 1;
/// The one that is away while accounts claim.
const AWAY: u32 = 2;
/// Declarations of the first record date and of the second.
const AMOUNTS: [&[u128]; 2] = [&[1_000_000_007, 1, (1 << 90) + 1], &[999_999_999_989, 1 << 80]];

struct World {
    net: TestNet,
    staked: Staked,
    clock: Rc<Clock>,
    /// What accounts have at stake on the two record dates.
    stakes: Vec<[u128; 2]>,
}

impl World {
    fn new(accounts: u64) -> Self {
        let staked = Staked::new(accounts);
        let clock = Rc::new(Clock::default());
        let network = Network { seed: 5, nodes: NODES, watch_failed_events: false, ..Network::default() };
        let mut net = TestNet::new(network);
        let config = serde_json::to_string(genesis().file()).expect("json");
        for node in 0..NODES {
            net.install_on(node, Rc::new(Native::<Answering>::default()), String::new());
            net.install_on(node, Rc::new(Timed(clock.clone())), config.clone());
        }
        net.full_mesh();
        net.run_ms(1_000);
        // Large and small, and no two alike.
        let stakes = (0..accounts).map(|who| u128::from(who * who) + 1 + (u128::from(who % 7 == 0) << 60));
        let world = Self { net, staked, clock, stakes: stakes.map(|stake| [stake; 2]).collect() };
        world.clock.tell("nothing yet");
        world
    }

    fn submit_all(&mut self, items: impl Iterator<Item = Item>) {
        let items: Vec<_> = items.collect();
        for items in items.chunks(200) {
            let submit = |item: &Item| {
                self.net.submit_to(0, DIVIDEND, "submit", json!({ "op": to_hex(item.bytes()) }).to_string())
            };
            let mut tickets: Vec<Ticket> = items.iter().map(submit).collect();
            let answered = self.net.run_until(30_000, |net| {
                tickets.retain(|ticket| match net.answer(*ticket) {
                    Some(answer) => answer.map(|_| false).expect("it is taken"),
                    None => true,
                });
                tickets.is_empty()
            });
            assert!(answered, "all are answered");
        }
    }

    fn command(&mut self, node: u32, name: &str, args: &Value) -> Value {
        let ticket = self.net.submit_to(node, DIVIDEND, name, args.to_string());
        let mut answer = None;
        assert!(self.net.run_until(20_000, |net| {
            answer = net.answer(ticket);
            answer.is_some()
        }));
        answer.expect("an answer").unwrap_or_else(|failure| panic!("{name} on {node}: {failure:?}"))
    }

    /// Everybody has these epochs, and the same claims.
    fn settle(&mut self, epoch: u64, nodes: u32) -> u64 {
        let began = self.net.now_ms();
        let same = |net: &mut TestNet| {
            let at = |node| net.plugin::<Dividend, _>(node, |it| (it.pot().meta().epoch, it.pot().root()));
            let first = at(0);
            first.0 == epoch && (1..nodes).all(|node| at(node) == first)
        };
        assert!(self.net.run_until(600_000, same), "epoch {epoch} is everywhere, and one root");
        assert_eq!(self.net.totals().crashes, 0, "no turn was more than a turn may be");
        self.net.now_ms() - began
    }

    fn declare(&mut self, first: u64, amounts: &[u128]) -> Vec<Id> {
        let declarations: Vec<_> = (first..)
            .zip(amounts)
            .map(|(number, amount)| {
                let body = Body::Declaration { payer: pair(PAYER).key(), number, amount: *amount };
                Item::sign(body, &pair(PAYER), genesis().hash())
            })
            .collect();
        let ids = declarations.iter().map(Item::id).collect();
        self.submit_all(declarations.into_iter());
        ids
    }

    fn claim(&mut self, up_to_epoch: u64, which: impl Fn(usize) -> bool) {
        let accounts = self.staked.accounts.iter().enumerate().filter(|(place, _)| which(*place));
        let claims: Vec<_> = accounts
            .map(|(_, pair)| Item::sign(Body::Claim { account: pair.key(), up_to_epoch }, pair, genesis().hash()))
            .collect();
        self.submit_all(claims.into_iter());
    }

    /// Exactly what an account is due after so many record dates.
    fn due(&self, place: usize, dates: usize, totals: [u128; 2]) -> u128 {
        let over = |date: usize| {
            let declared: u128 = AMOUNTS[date].iter().filter(|_| date < dates).sum();
            BigUint::from(declared) * self.stakes[place][date] * totals[1 - date]
        };
        let whole = (over(0) + over(1)) / (BigUint::from(totals[0]) * totals[1]);
        u128::try_from(whole).expect("an amount")
    }

    /// All accounts' entitlements, read page by page.
    fn table(&mut self, node: u32) -> BTreeMap<Key, [u128; 3]> {
        let (mut table, mut after) = (BTreeMap::new(), Value::Null);
        loop {
            let page = self.command(node, "entitlements", &json!({ "after": after }));
            for entry in page["accounts"].as_array().expect("a list") {
                let amount = |field: &str| entry[field].as_str().expect("an amount").parse().expect("an amount");
                let account = entry["account"].as_str().expect("a key").parse().expect("a key");
                table.insert(account, ["accrued", "claimed", "claimable"].map(amount));
            }
            after = page["next"].clone();
            if after.is_null() {
                return table;
            }
        }
    }

    /// Every account is due exactly its share, the claimed part is what was claimed, and all of it is no more than was
    /// declared, by less than one token an account.
    fn adds_up(&mut self, node: u32, dates: usize, claimed: impl Fn(usize) -> usize) {
        let table = self.table(node);
        assert_eq!(table.len(), self.stakes.len());
        let (mut paid, mut open) = (0, 0);
        let totals = [0, 1].map(|date| self.stakes.iter().map(|stake| stake[date]).sum::<u128>());
        for (place, pair) in self.staked.accounts.iter().enumerate() {
            let due = self.due(place, dates, totals);
            let taken = self.due(place, claimed(place), totals);
            assert_eq!(table[&pair.key()], [due, taken, due - taken], "account {place}");
            (paid, open) = (paid + taken, open + due - taken);
        }
        let declared: u128 = AMOUNTS[..dates].iter().copied().flatten().sum();
        let dust = declared.checked_sub(paid + open).expect("paid never exceeds declared");
        assert!(dust < self.stakes.len() as u128);
        eprintln!("declared {declared} = claimed {paid} + claimable {open} + dust {dust}");
    }
}

fn live(accounts: u64) {
    let mut world = World::new(accounts);
    let all: Vec<_> = world.stakes.iter().enumerate().map(|(who, stake)| (who, Action::Stake(stake[0]))).collect();
    world.staked.epoch(&all, &[]);
    world.settle(1, NODES);
    world.clock.tell(&format!("{accounts} stakes of one epoch on {NODES} nodes"));

    let first = world.declare(0, AMOUNTS[0]);
    world.staked.epoch(&[], &first);
    world.settle(2, NODES);
    world.clock.tell("three declarations on all of them");

    // One in a hundred takes a half away before the second record date.
    let second = world.declare(3, AMOUNTS[1]);
    let mut moved = Vec::new();
    for (who, stake) in world.stakes.iter_mut().enumerate().filter(|(who, _)| who % 100 == 50) {
        moved.push((who, Action::Unstake(stake[1] / 2)));
        stake[1] -= stake[1] / 2;
    }
    world.staked.epoch(&moved, &second);
    world.settle(3, NODES);
    world.clock.tell(&format!("{} stakes changed and two declarations", moved.len()));
    world.adds_up(0, 2, |_| 0);
    world.clock.tell("everybody's entitlement, read by the page");

    world.net.step(Step::Kill { node: AWAY, lose_ms: 0 });
    world.claim(2, |_| true);
    world.settle(3, AWAY);
    world.clock.tell(&format!("{accounts} claims handed in at one node and gossiped to another"));
    world.claim(3, |place| place % 3 == 0);
    world.settle(3, AWAY);
    world.clock.tell("a third of them claims again");
    let claimed = |place: usize| if place.is_multiple_of(3) { 2 } else { 1 };
    world.adds_up(1, 2, claimed);
    world.clock.tell("everybody's entitlement again");

    world.net.step(Step::Boot(AWAY));
    let took_ms = world.settle(3, NODES);
    world.clock.tell(&format!("a node that was away gets all claims in {took_ms} virtual ms"));
    world.adds_up(AWAY, 2, claimed);

    world.net.run_ms(5_000);
    for node in 0..NODES {
        let indexed = world.net.plugin::<Dividend, _>(node, Dividend::reconciled);
        assert_eq!(indexed, 0, "node {node}: claims are in no index, which has room for so many only");
    }

    // Staking goes back behind the second record date, and on.
    world.staked.go_back_to(2);
    world.staked.epoch(&[], &[]);
    world.staked.epoch(&[], &[]);
    world.settle(4, NODES);
    world.clock.tell("everything is made again after staking went back");
    let dates = |place: usize| claimed(place).min(1);
    world.adds_up(1, 1, dates);
}

#[test]
fn a_thousand_accounts_are_paid_to_the_token() {
    live(1_000);
}

#[test]
#[ignore = "long: a hundred thousand accounts stake, and claim twice on three nodes"]
fn a_hundred_thousand_accounts_are_paid_to_the_token() {
    live(100_000);
}
