//! Staking and dividend on real nodes: who issues, who has accounts, and how both sign.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use weir_host::host::Host;
use weir_host::plugin::store::Durability;
use weir_host::plugin::{CallError, Caller, PluginSettings};
use weir_ledger::keys::KeyPair;
use weir_ledger::{Genesis, GenesisFile, Id, from_hex, to_hex};
use weir_plugin_dividend::items::{Body as DividendBody, Item};
use weir_plugin_staking::items::{Action, Decree, LABEL, Operation, Order, Signed};

/// How long one command may take: nodes of a busy machine share its processors.
const LIMIT: Duration = Duration::from_secs(60);

/// Signs the log of one account.
#[derive(Clone)]
pub struct Wallet {
    pair: KeyPair,
    genesis: Id,
    seq: u64,
    before: Id,
}

impl Wallet {
    /// The account.
    pub fn account(&self) -> weir_ledger::Key {
        self.pair.key()
    }

    /// The next operation.
    pub fn sign(&mut self, action: Action) -> Vec<u8> {
        let body = Operation { account: self.pair.key(), seq: self.seq, before: self.before, action };
        let signed = Signed::sign(body, &self.pair, self.genesis);
        (self.seq, self.before) = (self.seq + 1, signed.id());
        signed.bytes().to_vec()
    }

    /// A claim of all that is due up to an epoch.
    pub fn claim(&self, up_to_epoch: u64) -> Vec<u8> {
        let body = DividendBody::Claim { account: self.pair.key(), up_to_epoch };
        Item::sign(body, &self.pair, self.genesis).bytes().to_vec()
    }
}

/// A token: its genesis, and the keys that it names.
pub struct Token {
    genesis: Genesis,
    issuer: KeyPair,
    payer: KeyPair,
    declared: u64,
}

fn pair(number: u64) -> KeyPair {
    let mut secret = [0x5a; 32];
    secret[..8].copy_from_slice(&number.to_le_bytes());
    KeyPair::from_secret(&secret)
}

impl Token {
    /// One with this name.
    ///
    /// # Errors
    /// When the name may not be one.
    pub fn new(name: &str) -> Result<Self> {
        let (issuer, payer) = (pair(1), pair(3));
        let genesis = Genesis::new(GenesisFile {
            name: name.to_owned(),
            symbol: "TST".to_owned(),
            issuer: issuer.key(),
            recovery: pair(2).key(),
            payers: vec![payer.key()],
            unbonding_epochs: 2,
        })?;
        Ok(Self { genesis, issuer, payer, declared: 0 })
    }

    /// How both plugins are configured on every node; `strict` as an operator has staking.
    ///
    /// # Errors
    /// Never: a genesis is JSON.
    pub fn settings(&self, grants: &[&str]) -> Result<PluginSettings> {
        let grants = grants.iter().map(|&grant| grant.to_owned()).collect();
        let config = serde_json::to_value(self.genesis.file())?;
        Ok(PluginSettings { config, grants, durability: Some(Durability::Strict), ..PluginSettings::default() })
    }

    /// The same as the file beside a plugin's file.
    ///
    /// # Errors
    /// Never: a genesis is JSON.
    pub fn settings_file(&self, grants: &[&str]) -> Result<String> {
        let config = serde_json::to_value(self.genesis.file())?;
        // Texts, numbers and lists of texts are written alike in JSON and TOML.
        let lines = config.as_object().into_iter().flatten().map(|(key, value)| format!("{key} = {value}\n"));
        Ok(format!("durability = \"strict\"\ngrants = {}\n\n[config]\n{}", json!(grants), lines.collect::<String>()))
    }

    /// The accounts with these numbers.
    pub fn wallets(&self, count: u64) -> Vec<Wallet> {
        let wallet = |number| Wallet {
            pair: pair(1_000 + number),
            genesis: self.genesis.hash(),
            seq: 0,
            before: self.genesis.hash(),
        };
        (0..count).map(wallet).collect()
    }

    /// The issuer's decree with this number that gives an account so much; the id of the one before it becomes its own.
    pub fn mint_to(&self, to: weir_ledger::Key, amount: u128, seq: u64, before: &mut Id) -> Vec<u8> {
        let order = Order::Mint { to, amount };
        let decree = Decree { key: self.issuer.key(), reign: 0, seq, before: *before, order };
        let signed = Signed::sign(decree, &self.issuer, self.genesis.hash());
        *before = signed.id();
        signed.bytes().to_vec()
    }

    /// The epoch that a node drafted, signed.
    ///
    /// # Errors
    /// When the answer is no draft.
    pub fn sign(&self, draft: &Value) -> Result<Vec<u8>> {
        let body = from_hex(draft["body"].as_str().context("hex")?, 1 << 20)?;
        Ok(self.issuer.sign(LABEL, self.genesis.hash(), &body))
    }

    /// The payer's next declaration.
    pub fn declaration(&mut self, amount: u128) -> Vec<u8> {
        let body = DividendBody::Declaration { payer: self.payer.key(), number: self.declared, amount };
        self.declared += 1;
        Item::sign(body, &self.payer, self.genesis.hash()).bytes().to_vec()
    }

    /// Gives every one of these accounts so much, by a node.
    ///
    /// # Errors
    /// When the node does not take it.
    pub async fn mint(&self, node: &Host, wallets: &[Wallet], amount: u128) -> Result<()> {
        let status = call(node, "staking", "status", json!({})).await?;
        let mut before: Id = status["issuer"]["head"].as_str().context("an id")?.parse()?;
        let first = status["issuer"]["next_seq"].as_u64().context("a number")?;
        for (seq, wallet) in (first..).zip(wallets) {
            submit(node, "staking", &self.mint_to(wallet.account(), amount, seq, &mut before)).await?;
        }
        Ok(())
    }

    /// Closes the next epoch with all that a node knows, open declarations among it where it has the plugin: its number and how
    /// many operations it includes.
    ///
    /// # Errors
    /// When the node has closed no earlier epoch in time, or does not take this one.
    pub async fn epoch(&self, node: &Host) -> Result<(u64, u64)> {
        let mut anchors = Vec::new();
        if node.plugins().list().iter().any(|plugin| plugin.name == "dividend") {
            let list = call(node, "dividend", "list", json!({})).await?;
            let open = list["open"].as_array().context("a list")?;
            anchors.extend(open.iter().map(|open| json!({ "topic": "dividend", "id": open["id"] })));
        }
        let deadline = tokio::time::Instant::now() + LIMIT;
        let draft = loop {
            match call(node, "staking", "draft", json!({ "anchors": anchors })).await {
                Ok(draft) => break draft,
                // It is closing the epoch before.
                Err(error) if tokio::time::Instant::now() > deadline => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        ensure!(draft["complete"] == true, "the epoch does not take everything: {draft}");
        submit(node, "staking", &self.sign(&draft)?).await?;
        let number = |field: &str| draft[field].as_u64().context("a number");
        Ok((number("epoch")?, number("operations")?))
    }

    /// Declares a dividend by a node; the id of the declaration.
    ///
    /// # Errors
    /// When the node does not take it.
    pub async fn declare(&mut self, node: &Host, amount: u128) -> Result<Id> {
        let item = self.declaration(amount);
        submit(node, "dividend", &item).await?;
        Ok(Item::decode(&item)?.id())
    }
}

/// Calls a command of a node's plugin.
///
/// # Errors
/// Why there is no answer.
pub async fn call(node: &Host, plugin: &str, command: &str, args: Value) -> Result<Value> {
    let (body, caller) = (serde_json::to_vec(&args)?.into(), Caller::Operator("test".to_owned()));
    let answer = node.plugins().call(plugin, command, body, caller, LIMIT).await;
    Ok(serde_json::from_slice(&answer.with_context(|| format!("{plugin} {command}"))?)?)
}

/// Submits an item as a wallet does: the same bytes again until the node has them.
///
/// # Errors
/// Why the plugin refuses it.
pub async fn submit(node: &Host, plugin: &str, item: &[u8]) -> Result<()> {
    let body = bytes::Bytes::from(serde_json::to_vec(&json!({ "op": to_hex(item) }))?);
    let deadline = tokio::time::Instant::now() + LIMIT;
    loop {
        let caller = Caller::Operator("wallet".to_owned());
        match node.plugins().call(plugin, "submit", body.clone(), caller, LIMIT).await {
            Ok(_) => return Ok(()),
            Err(error) if is_for_now(&error) && tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(error) => bail!("{plugin} does not take an item: {error}"),
        }
    }
}

/// Another revision took over, or as much is pending as may be: nothing says that the item is no good.
fn is_for_now(error: &CallError) -> bool {
    match error {
        CallError::Gone | CallError::Busy => true,
        CallError::Failed(failure) => ["enough", "too-far-ahead"].contains(&failure.code.as_str()),
        _ => false,
    }
}
