//! A wallet at both plugins' ledgers: everything it can do, and that it never signs a number twice, whatever is lost.

mod ledgers;

use std::cell::Cell;
use std::path::{Path, PathBuf};

use ledgers::{Fate, Ledgers};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;
use weir_ledger::keys::KeyPair;
use weir_ledger::{Genesis, Key};
use weir_plugin_staking::items::Action;
use weir_wallet::actions::{GenesisOptions, Role, write_genesis};
use weir_wallet::api::ApiError;
use weir_wallet::node::Caller;
use weir_wallet::{Wallet, key_file};

struct Scene {
    folder: TempDir,
    genesis: Genesis,
    node: Ledgers,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let issuer = folder.path().join("issuer");
        key_file::create(&issuer).expect("a key");
        let options = GenesisOptions {
            name: "Test".to_owned(),
            symbol: "TST".to_owned(),
            recovery: None,
            payers: Vec::new(),
            unbonding_epochs: 1,
            file: folder.path().join("genesis.json"),
        };
        let done = write_genesis(&issuer, options).expect("written");
        let text = std::fs::read_to_string(done.file).expect("there");
        let genesis = Genesis::parse(&text).expect("a genesis");
        let node = Ledgers::new(&genesis);
        Self { folder, genesis, node }
    }

    /// Another node of the network, which has heard of nothing.
    fn fresh(&self) -> Ledgers {
        Ledgers::new(&self.genesis)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn account(&self, name: &str) -> Key {
        let path = self.path(name);
        let pair: KeyPair = if path.exists() { key_file::load(&path) } else { key_file::create(&path) }.expect("a key");
        pair.key()
    }

    /// Another process each time.
    fn wallet(&self, name: &str) -> Wallet<&Ledgers> {
        self.account(name);
        Wallet::open(&self.path(name), &self.node).expect("a wallet")
    }

    fn proofs(&self) -> usize {
        let proofs = self.node.call("staking", "proofs", &json!({})).expect("an answer");
        proofs["accounts"].as_array().expect("a list").len() + usize::from(!proofs["issuer"].is_null())
    }
}

#[test]
fn from_the_mint_to_the_claim() {
    let scene = Scene::new();
    let alice = scene.account("alice");
    let minted = scene.wallet("issuer").mint(alice, 1_000).expect("minted");
    assert_eq!((minted.number, minted.retried), (0, false));
    assert_eq!(scene.wallet("issuer").epoch().expect("closed").epoch, 1);
    assert_eq!(scene.wallet("alice").operate(Action::Stake(400)).expect("pending").number, 0);
    let epoch = scene.wallet("issuer").epoch().expect("closed");
    assert_eq!((epoch.epoch, epoch.epochs, epoch.operations, epoch.retried), (2, 1, 1, false));

    let declared = scene.wallet("issuer").declare(77).expect("declared");
    assert_eq!(scene.wallet("alice").claim().expect("nothing is due").id, None);
    let epoch = scene.wallet("issuer").epoch().expect("closed");
    assert_eq!((epoch.epoch, epoch.anchors, declared.number), (3, 1, 0));
    let claimed = scene.wallet("alice").claim().expect("claimed");
    assert_eq!((claimed.claimed, claimed.total, claimed.up_to_epoch), (77, 77, Some(3)));
    assert_eq!(scene.wallet("alice").claim().expect("once").claimed, 0);
    assert_eq!(scene.wallet("issuer").declare(1).expect("declared").number, 1);

    scene.wallet("alice").operate(Action::Unstake(100)).expect("pending");
    scene.wallet("issuer").epoch().expect("closed");
    scene.wallet("issuer").epoch().expect("closed, with nothing in it");
    scene.wallet("alice").operate(Action::Withdraw).expect("pending");
    assert_eq!(scene.wallet("issuer").epoch().expect("closed").epoch, 6);
    let shown = scene.wallet("alice").show().expect("shown");
    assert_eq!((shown.balance, shown.staked, shown.pending, shown.next_number), (700, 300, 0, 3));
    assert!(shown.roles.is_empty() && shown.unconfirmed.is_empty());
    assert_eq!(scene.wallet("issuer").show().expect("shown").roles, [Role::Issuer, Role::Payer]);
}

#[test]
fn an_amount_that_is_not_there_is_pending_with_a_note() {
    let scene = Scene::new();
    scene.wallet("issuer").mint(scene.account("alice"), 100).expect("minted");
    scene.wallet("issuer").epoch().expect("closed");
    assert_eq!(scene.wallet("alice").operate(Action::Stake(100)).expect("pending").note, None);
    let much = scene.wallet("alice").operate(Action::Stake(101)).expect("pending");
    assert!(much.note.is_some_and(|note| note.contains("the balance is 100 as of epoch 1")));
    let much = scene.wallet("alice").operate(Action::Unstake(1)).expect("pending");
    assert!(much.note.is_some_and(|note| note.contains("the stake is 0")));
}

#[test]
fn a_retry_sends_the_same_operation() {
    for fate in [Fate::RequestLost, Fate::AnswerLost] {
        let scene = Scene::new();
        scene.wallet("issuer").mint(scene.account("alice"), 100).expect("minted");
        scene.node.fate.set(fate);
        let error = scene.wallet("alice").operate(Action::Stake(10)).expect_err("nothing was heard");
        assert_eq!(error.code(), "unconfirmed", "{error}");
        assert_eq!(scene.wallet("alice").show().expect("shown").unconfirmed, ["stake 10"]);
        let done = scene.wallet("alice").operate(Action::Stake(10)).expect("sent again");
        assert_eq!((done.number, done.retried), (0, true));
        // Something else waits for what is open.
        scene.node.fate.set(fate);
        scene.wallet("alice").operate(Action::Stake(20)).expect_err("nothing was heard");
        let done = scene.wallet("alice").operate(Action::Stake(30)).expect("after the other one");
        assert_eq!((done.number, done.retried, done.resent), (2, false, 1));

        scene.node.fate.set(fate);
        let issuer = || scene.wallet("issuer");
        assert_eq!(issuer().epoch().expect_err("nothing was heard").code(), "unconfirmed");
        let epoch = issuer().epoch().expect("sent again");
        assert_eq!((epoch.epoch, epoch.retried), (1, true));
        scene.node.fate.set(fate);
        issuer().mint(scene.account("alice"), 5).expect_err("nothing was heard");
        assert_eq!(issuer().mint(scene.account("alice"), 5).expect("sent again").number, 2);
        scene.node.fate.set(fate);
        issuer().declare(9).expect_err("nothing was heard");
        let declared = issuer().declare(9).expect("sent again");
        assert_eq!((declared.number, declared.retried), (0, true));
        issuer().epoch().expect("closed");
        let shown = scene.wallet("alice").show().expect("shown");
        assert_eq!((shown.balance, shown.staked, scene.proofs()), (45, 60, 0));
    }
}

/// A dividend of 77, of which everything is due to alice.
fn a_dividend(scene: &Scene) {
    scene.wallet("issuer").mint(scene.account("alice"), 100).expect("minted");
    scene.wallet("alice").operate(Action::Stake(10)).expect("pending");
    scene.wallet("issuer").epoch().expect("closed");
    scene.wallet("issuer").declare(77).expect("declared");
    scene.wallet("issuer").epoch().expect("closed");
}

#[test]
fn a_claim_whose_answer_was_lost_is_sent_again_and_told() {
    for fate in [Fate::RequestLost, Fate::AnswerLost] {
        let scene = Scene::new();
        a_dividend(&scene);
        scene.node.fate.set(fate);
        let error = scene.wallet("alice").claim().expect_err("nothing was heard");
        assert_eq!(error.code(), "unconfirmed", "{error}");
        let shown = scene.wallet("alice").show().expect("shown");
        assert_eq!(shown.unconfirmed, ["claim 77 up to epoch 2"]);
        let claimed = scene.wallet("alice").claim().expect("sent again");
        assert_eq!((claimed.claimed, claimed.total, claimed.up_to_epoch), (77, 77, Some(2)));
        assert!(claimed.retried && claimed.id.is_some(), "{claimed:?}");
        let nothing = scene.wallet("alice").claim().expect("nothing is due");
        assert_eq!((nothing.claimed, nothing.total, nothing.id, nothing.retried), (0, 77, None, false));
        assert!(scene.wallet("alice").show().expect("shown").unconfirmed.is_empty());
    }
}

#[test]
fn what_became_due_since_a_lost_claim_is_claimed_with_it() {
    let scene = Scene::new();
    a_dividend(&scene);
    scene.node.fate.set(Fate::RequestLost);
    scene.wallet("alice").claim().expect_err("nothing was heard");
    scene.wallet("issuer").declare(3).expect("declared");
    scene.wallet("issuer").epoch().expect("closed");
    let claimed = scene.wallet("alice").claim().expect("sent again, and the rest");
    assert_eq!((claimed.claimed, claimed.total, claimed.up_to_epoch, claimed.retried), (80, 80, Some(3), true));
    assert!(scene.wallet("alice").show().expect("shown").unconfirmed.is_empty());
}

#[test]
fn a_node_that_has_forgotten_a_claim_is_sent_it_again() {
    let mut scene = Scene::new();
    a_dividend(&scene);
    let backup = scene.node.backup();
    let first = scene.wallet("alice").claim().expect("claimed");
    scene.node = backup;
    let again = scene.wallet("alice").claim().expect("claimed");
    assert_eq!((again.claimed, again.id, again.retried), (77, first.id, true));
    assert!(scene.wallet("alice").show().expect("shown").unconfirmed.is_empty());
    // And one that has not come so far keeps what was signed open, and says why.
    scene.wallet("issuer").declare(3).expect("declared");
    let behind = scene.node.backup();
    scene.wallet("issuer").epoch().expect("closed");
    scene.node.fate.set(Fate::RequestLost);
    scene.wallet("alice").claim().expect_err("nothing was heard");
    let ahead = std::mem::replace(&mut scene.node, behind);
    let error = scene.wallet("alice").claim().expect_err("it has not closed epoch 3");
    assert!(error.code() == "unconfirmed" && error.to_string().contains("epoch 3 is not closed here"), "{error}");
    scene.node = ahead;
    assert_eq!(scene.wallet("alice").claim().expect("sent again").total, 80);
}

/// A node whose dividends hear of an epoch late: the first answers are those from before it.
struct Late<'a> {
    node: &'a Ledgers,
    before: Value,
    late: Cell<u32>,
}

impl Caller for Late<'_> {
    fn call(&self, plugin: &str, command: &str, arguments: &Value) -> Result<Value, ApiError> {
        if command == "entitlement" && self.late.get() > 0 {
            self.late.set(self.late.get() - 1);
            return Ok(self.before.clone());
        }
        self.node.call(plugin, command, arguments)
    }
}

#[test]
fn a_claim_waits_for_dividends_that_follow_an_epoch() {
    let scene = Scene::new();
    let key = scene.account("alice");
    scene.wallet("issuer").mint(key, 100).expect("minted");
    let before = scene.node.call("dividend", "entitlement", &json!({"account": key})).expect("an answer");
    a_dividend(&scene);
    let node = Late { node: &scene.node, before, late: Cell::new(3) };
    let claimed = Wallet::open(&scene.path("alice"), &node).expect("a wallet").claim().expect("claimed");
    assert_eq!((claimed.claimed, claimed.note), (77, None));
}

/// An epoch is signed and its request lost, with an operation of alice in it.
fn a_lost_epoch() -> Scene {
    let scene = Scene::new();
    scene.wallet("issuer").mint(scene.account("alice"), 100).expect("minted");
    scene.wallet("issuer").epoch().expect("closed");
    scene.wallet("alice").operate(Action::Stake(10)).expect("pending");
    scene.node.fate.set(Fate::RequestLost);
    assert_eq!(scene.wallet("issuer").epoch().expect_err("nothing was heard").code(), "unconfirmed");
    scene
}

#[test]
fn an_epoch_that_was_lost_is_closed_although_the_node_has_drafted_others() {
    let scene = a_lost_epoch();
    scene.wallet("alice").operate(Action::Stake(5)).expect("pending");
    for other in 0..20u8 {
        let anchors = json!([{"topic": "other", "id": weir_ledger::hash(&[other])}]);
        scene.node.call("staking", "draft", &json!({ "anchors": anchors })).expect("a draft");
    }
    let epoch = scene.wallet("issuer").epoch().expect("sent again, with its pages");
    assert_eq!((epoch.epoch, epoch.retried), (2, true));
    assert_eq!(scene.wallet("alice").show().expect("shown").staked, 10);
    assert_eq!(scene.wallet("issuer").epoch().expect("closed").operations, 1);
    assert_eq!((scene.wallet("alice").show().expect("shown").staked, scene.proofs()), (15, 0));
}

#[test]
fn an_epoch_that_was_lost_is_closed_at_another_node() {
    let mut scene = a_lost_epoch();
    let other = scene.fresh();
    other.catch_up_with(&scene.node);
    scene.node = other;
    // The header arrives there, and what follows it is lost once more.
    scene.node.answered.set(1);
    scene.node.fate.set(Fate::RequestLost);
    assert_eq!(scene.wallet("issuer").epoch().expect_err("no page was heard").code(), "unconfirmed");
    let epoch = scene.wallet("issuer").epoch().expect("sent again, with its pages");
    assert_eq!((epoch.epoch, epoch.retried), (2, true));
    assert_eq!((scene.wallet("alice").show().expect("shown").staked, scene.proofs()), (10, 0));
}

#[test]
fn a_node_that_died_with_an_epochs_pages_does_not_stop_the_network() {
    let mut scene = Scene::new();
    scene.wallet("issuer").mint(scene.account("alice"), 100).expect("minted");
    scene.wallet("issuer").epoch().expect("closed");
    scene.wallet("alice").operate(Action::Stake(10)).expect("pending");
    let other = scene.fresh();
    other.catch_up_with(&scene.node);
    scene.wallet("issuer").epoch().expect("closed, at the node that dies");
    other.hear_decrees_of(&scene.node);
    scene.node = other;
    let epoch = scene.wallet("issuer").epoch().expect("the one that waits is closed, and one behind it");
    assert_eq!((epoch.epoch, epoch.epochs), (3, 1));
    assert_eq!((scene.wallet("alice").show().expect("shown").staked, scene.proofs()), (10, 0));
}

/// A node with many open declarations, a thousand of which its list shows, and whose dividends hear of an epoch late.
struct Declaring<'a> {
    node: &'a Ledgers,
    open: u64,
    seen: Cell<u64>,
}

impl Declaring<'_> {
    fn list(&self) -> Value {
        let closed =
            self.node.call("staking", "root", &json!({})).expect("an answer")["epoch"].as_u64().expect("a number");
        let followed = self.seen.replace(closed);
        let first = (followed * 1_000).min(self.open);
        let shown = first..(first + 1_000).min(self.open);
        let (payer, id) = (Key([1; 32]), |number: u64| weir_ledger::hash(&number.to_be_bytes()));
        let open: Vec<_> =
            shown.map(|number| json!({"id": id(number), "payer": payer, "number": number, "amount": "1"})).collect();
        json!({"epoch": followed, "declared": "0", "open": open, "anchored": [], "next": null, "payers": []})
    }
}

impl Caller for Declaring<'_> {
    fn call(&self, plugin: &str, command: &str, arguments: &Value) -> Result<Value, ApiError> {
        if (plugin, command) == ("dividend", "list") {
            Ok(self.list())
        } else {
            self.node.call(plugin, command, arguments)
        }
    }
}

#[test]
fn more_declarations_than_a_list_shows_are_all_ordered() {
    for (open, epochs) in [(999, 1), (1_000, 1), (2_500, 3)] {
        let scene = Scene::new();
        scene.account("issuer");
        let node = Declaring { node: &scene.node, open, seen: Cell::new(0) };
        let done = Wallet::open(&scene.path("issuer"), &node).expect("a wallet").epoch().expect("closed");
        assert_eq!((done.epochs, done.anchors, done.note), (epochs, open, None));
    }
}

#[test]
fn what_the_node_refuses_leaves_the_number_free() {
    let scene = Scene::new();
    scene.wallet("issuer").mint(scene.account("alice"), 100).expect("minted");
    let error = scene.wallet("bob").operate(Action::Stake(10)).expect_err("no mint");
    assert_eq!(error.code(), "no-mint");
    scene.wallet("issuer").mint(scene.account("bob"), 100).expect("minted");
    assert_eq!(scene.wallet("bob").operate(Action::Stake(20)).expect("pending").number, 0);
    for amount in 0..64 {
        let done = scene.wallet("alice").operate(Action::Stake(amount + 1));
        assert_eq!(done.is_ok(), amount < 64, "{amount}: {done:?}");
    }
    let error = scene.wallet("alice").operate(Action::Withdraw).expect_err("too many");
    assert_eq!(error.code(), "too-far-ahead");
    assert_eq!(scene.wallet("alice").mint(scene.account("bob"), 1).expect_err("no right").code(), "wrong-role");
    assert_eq!(scene.wallet("alice").epoch().expect_err("no right").code(), "wrong-role");
    assert_eq!(scene.wallet("alice").declare(1).expect_err("no right").code(), "wrong-role");
    let refused = scene.wallet("alice").rotate(None, None).expect_err("no right");
    assert_eq!(refused.code(), "not-the-issuer");
}

#[test]
fn a_node_from_a_backup_is_sent_what_it_lacks() {
    let mut scene = Scene::new();
    scene.wallet("issuer").mint(scene.account("alice"), 100).expect("minted");
    scene.wallet("alice").operate(Action::Stake(1)).expect("pending");
    let backup = scene.node.backup();
    scene.wallet("alice").operate(Action::Stake(2)).expect("pending");
    scene.wallet("alice").operate(Action::Stake(3)).expect("pending");
    scene.wallet("issuer").mint(scene.account("bob"), 50).expect("minted");
    scene.node = backup;
    let done = scene.wallet("alice").operate(Action::Stake(4)).expect("after what was missing");
    assert_eq!((done.number, done.resent), (3, 2));
    assert_eq!(scene.wallet("issuer").mint(scene.account("bob"), 60).expect("minted").number, 2);
    assert_eq!(scene.wallet("issuer").epoch().expect("closed").operations, 4);
    assert_eq!(scene.wallet("alice").show().expect("shown").staked, 10);
}

#[test]
fn a_key_in_two_wallets_is_noticed_before_it_is_frozen() {
    let scene = Scene::new();
    scene.wallet("issuer").mint(scene.account("alice"), 100).expect("minted");
    copy(&scene.path("alice"), &scene.path("copy"));
    scene.node.fate.set(Fate::RequestLost);
    scene.wallet("alice").operate(Action::Stake(1)).expect_err("nothing was heard");
    scene.wallet("copy").operate(Action::Stake(2)).expect("it knows of nothing");
    let error = scene.wallet("alice").operate(Action::Stake(1)).expect_err("the number is taken");
    assert_eq!(error.code(), "signed-elsewhere");
    assert_eq!(scene.proofs(), 0, "nothing was sent");
}

fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).expect("a copy");
}

#[test]
fn a_rotation_replaces_the_issuer_and_may_take_back_epochs() {
    let scene = Scene::new();
    let alice = scene.account("alice");
    scene.wallet("issuer").mint(alice, 100).expect("minted");
    scene.wallet("issuer").epoch().expect("closed");
    scene.wallet("issuer").mint(alice, 900).expect("minted");
    scene.wallet("issuer").epoch().expect("closed");
    assert_eq!(scene.wallet("alice").show().expect("shown").balance, 1_000);
    // The key is lost: nothing is taken back.
    scene.node.fate.set(Fate::AnswerLost);
    assert_eq!(scene.wallet("issuer.recovery").rotate(None, None).expect_err("nothing heard").code(), "unconfirmed");
    let rotated = scene.wallet("issuer.recovery").rotate(None, None).expect("rotated");
    assert_eq!((rotated.reign, rotated.number, rotated.retried), (1, 4, true));
    assert_eq!(scene.wallet("issuer").epoch().expect_err("not any more").code(), "wrong-role");
    let name = "issuer.recovery.issuer-1";
    assert_eq!(scene.wallet(name).account(), rotated.new_key);
    assert_eq!(scene.wallet(name).epoch().expect("closed").epoch, 3);
    // The new one is stolen: everything behind epoch 1 is taken back.
    let mine = scene.account("mine");
    let rotated = scene.wallet("issuer.recovery").rotate(Some(mine), Some(1)).expect("rotated");
    assert_eq!((rotated.reign, rotated.number, rotated.key_file), (2, 2, None));
    let shown = scene.wallet("alice").show().expect("shown");
    assert_eq!((shown.epoch, shown.balance), (1, 100));
    assert_eq!(scene.wallet("mine").epoch().expect("closed").epoch, 2);
    assert_eq!(scene.proofs(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is lost, at whichever of two nodes that hear of each other late: no account and no issuer ever signs two
    /// things with one number, and what was asked for and confirmed is there exactly once.
    #[test]
    fn nothing_is_signed_twice(steps in proptest::collection::vec((0u8..10, 0u8..3, 0u8..2), 1..40)) {
        let mut scene = Scene::new();
        let mut other = scene.node.backup();
        let alice = scene.account("alice");
        scene.wallet("issuer").mint(alice, 1_000_000).expect("minted");
        let mut open: Option<Action> = None;
        let (mut amount, mut staked) = (0, 0);
        for (what, fate, swap) in steps {
            if swap == 1 {
                std::mem::swap(&mut scene.node, &mut other);
                scene.node.catch_up_with(&other);
            }
            scene.node.fate.set([Fate::Answered, Fate::RequestLost, Fate::AnswerLost][usize::from(fate)]);
            if what == 0 {
                let mut wallet = scene.wallet("issuer");
                if wallet.epoch().is_err() {
                    prop_assert!(wallet.epoch().is_ok());
                }
                continue;
            }
            // Who got no answer asks for the same again.
            let action = open.take().unwrap_or_else(|| {
                amount += 1;
                staked += amount;
                Action::Stake(amount)
            });
            match scene.wallet("alice").operate(action) {
                Ok(_) => {}
                Err(error) if error.code() == "unconfirmed" => open = Some(action),
                Err(error) if error.code() == "too-far-ahead" => {
                    let Action::Stake(refused) = action else { unreachable!() };
                    staked -= refused;
                }
                Err(error) => return Err(TestCaseError::fail(error.to_string())),
            }
        }
        if let Some(action) = open {
            scene.wallet("alice").operate(action).expect("sent again");
        }
        scene.wallet("issuer").epoch().expect("closed");
        prop_assert_eq!(scene.wallet("alice").show().expect("shown").staked, staked);
        prop_assert_eq!(scene.proofs(), 0);
    }
}
