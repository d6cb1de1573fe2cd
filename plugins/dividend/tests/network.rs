//! Both plugins on several nodes in virtual time: staking's epochs come through calls, declarations and claims by gossip.

use serde_json::{Value, json};
use weir_ledger::keys::KeyPair;
use weir_ledger::{Genesis, GenesisFile, from_hex, to_hex};
use weir_plugin_dividend::Dividend;
use weir_plugin_dividend::items::{Body, Item};
use weir_plugin_staking::items::{Action, Operation, Signed};
use weir_plugin_staking::{First, Staking};
use weir_sdk::testing::{Faults, Network, Scenario, TestNet};

fn pair(name: u8) -> KeyPair {
    KeyPair::from_secret(&[name; 32])
}

fn genesis() -> Genesis {
    Genesis::new(GenesisFile {
        name: "Test".to_owned(),
        symbol: "TST".to_owned(),
        issuer: pair(1).key(),
        recovery: pair(2).key(),
        payers: vec![pair(3).key()],
        unbonding_epochs: 1,
    })
    .expect("in order")
}

const STAKING: u32 = 0;
const DIVIDEND: u32 = 1;

struct World {
    net: TestNet,
    last: u32,
}

impl World {
    fn command(&mut self, node: u32, plugin: u32, name: &str, args: &Value) -> Value {
        let ticket = self.net.submit_to(node, plugin, name, args.to_string());
        let mut answer = None;
        let answered = self.net.run_until(20_000, |net| {
            answer = net.answer(ticket);
            answer.is_some()
        });
        assert!(answered, "{name} is not answered");
        answer.expect("an answer").unwrap_or_else(|failure| panic!("{name} on {node}: {failure:?}"))
    }

    fn submit(&mut self, plugin: u32, bytes: &[u8]) {
        self.command(0, plugin, "submit", &json!({ "op": to_hex(bytes) }));
    }

    /// As the wallet does it: open declarations become anchors, the issuer signs what the node drafted.
    fn epoch(&mut self) {
        let list = self.command(0, DIVIDEND, "list", &json!({}));
        let open = list["open"].as_array().expect("a list").iter();
        let anchors: Vec<_> = open.map(|open| json!({ "topic": "dividend", "id": open["id"] })).collect();
        let draft = self.command(0, STAKING, "draft", &json!({ "anchors": anchors }));
        let body = from_hex(draft["body"].as_str().expect("hex"), 1 << 20).expect("hex");
        let signed = pair(1).sign(weir_plugin_staking::items::LABEL, genesis().hash(), &body);
        self.submit(STAKING, &signed);
    }

    fn mint(&mut self, name: u8, amount: u128) {
        use weir_plugin_staking::items::{Decree, Order};
        let status = self.command(0, STAKING, "status", &json!({}));
        let before = status["issuer"]["head"].as_str().expect("an id").parse().expect("an id");
        let seq = status["issuer"]["next_seq"].as_u64().expect("a number");
        let order = Order::Mint { to: pair(name).key(), amount };
        let decree = Decree { key: pair(1).key(), reign: 0, seq, before, order };
        self.submit(STAKING, Signed::sign(decree, &pair(1), genesis().hash()).bytes());
    }

    fn act(&mut self, name: u8, action: Action) {
        let account = self.command(0, STAKING, "account", &json!({ "account": pair(name).key() }));
        let before = account["head"].as_str().expect("an id").parse().expect("an id");
        let seq = account["next_seq"].as_u64().expect("a number");
        let body = Operation { account: pair(name).key(), seq, before, action };
        self.submit(STAKING, Signed::sign(body, &pair(name), genesis().hash()).bytes());
    }

    fn settle(&mut self) {
        let last = self.last;
        let equal = self.net.run_until(120_000, |net| {
            let root = |net: &TestNet, node| {
                net.plugin::<Staking<First>, _>(node, |staking| staking.ledger().meta().closed.epoch)
            };
            let target = root(net, 0);
            (0..last).all(|node| net.is_up(node)) && (0..last).all(|node| root(net, node) == target)
        });
        assert!(equal, "staking settles");
        // Dividends ask staking once a second.
        self.net.run_ms(20_000);
    }
}

#[test]
fn declared_is_claimed_and_claimable_and_dust() {
    let nodes = 6;
    let mut net = TestNet::new(Network { seed: 3, nodes, ..Network::default() });
    let config = serde_json::to_value(genesis().file()).expect("json");
    net.install::<Staking<First>>(config.clone());
    net.install::<Dividend>(config);
    net.full_mesh();
    net.run_ms(1_000);
    let mut world = World { net, last: nodes };
    for name in 10..20 {
        world.mint(name, 1_000);
    }
    world.epoch();
    for name in 10..20 {
        world.act(name, Action::Stake(u128::from(name) * 7));
    }
    world.epoch();
    world.settle();
    let faults = Faults { from_ms: 0, to_ms: 20_000, breaks: 10, crashes: 4, kills: 2, partitions: 2, spared: 1 };
    world.net.plan(&Scenario::new(Network { seed: 3, nodes, ..Network::default() }, 20_000).faults(&faults));
    for number in 0..5u64 {
        let body = Body::Declaration { payer: pair(3).key(), number, amount: 1_000 + u128::from(number) };
        world.submit(DIVIDEND, Item::sign(body, &pair(3), genesis().hash()).bytes());
        world.act(10 + number as u8, Action::Unstake(3));
        world.net.run_ms(3_000);
        world.epoch();
    }
    world.net.run_ms(25_000);
    world.settle();
    for name in [10, 13, 17] {
        let body = Body::Claim { account: pair(name).key(), up_to_epoch: 7 };
        world.submit(DIVIDEND, Item::sign(body, &pair(name), genesis().hash()).bytes());
    }
    world.net.run_ms(60_000);
    world.settle();
    let mut roots = Vec::new();
    for node in 0..nodes {
        let root = world.command(node, DIVIDEND, "root", &json!({}));
        assert_eq!((&root["epoch"], &root["counted"]), (&7.into(), &5.into()), "{root}");
        roots.push(root["root"].clone());
    }
    assert!(roots.iter().all(|root| *root == roots[0]), "{roots:?}");
    // A wallet that did not hear the answer submits the same again: it is settled, and stays so.
    let compared = |world: &World| world.net.plugin::<Dividend, _>(0, Dividend::reconciled);
    let before = compared(&world);
    let body = Body::Declaration { payer: pair(3).key(), number: 0, amount: 1_000 };
    let signed = Item::sign(body, &pair(3), genesis().hash());
    let again = world.command(0, DIVIDEND, "submit", &json!({ "op": to_hex(signed.bytes()) }));
    assert_eq!((&again["known"], compared(&world)), (&true.into(), before));
    let all = world.command(nodes - 1, DIVIDEND, "entitlements", &json!({}));
    let sum = |field: &str| -> u128 {
        let accounts = all["accounts"].as_array().expect("accounts").iter();
        accounts.map(|account| account[field].as_str().expect("an amount").parse::<u128>().expect("an amount")).sum()
    };
    let (declared, dust) = (5_010, 5_010 - sum("claimed") - sum("claimable"));
    assert!(sum("claimed") > 0 && dust < 10, "{declared} = {} + {} + {dust}", sum("claimed"), sum("claimable"));
}
