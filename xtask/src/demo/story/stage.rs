//! The five nodes, and what an operator does with them: start, connect, cut, heal, drop plugins in and take them out.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use weir_ledger::Id;
use weir_wallet::actions::{GenesisOptions, write_genesis};
use weir_wallet::api::Api;
use weir_wallet::key_file;
use weir_wallet::node::{DIVIDEND, Node as Ledgers, STAKING};

use super::screen::Screen;
use super::watch::{self, Watch};
use crate::demo::held::Held;
use crate::demo::node::Node;
use crate::guests;

/// As many as there are.
pub const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
/// Connecting and telling each other about protocols takes milliseconds on one machine; dialing again at most a second.
pub const SOON: Duration = Duration::from_secs(30);
/// Everything that all nodes have to do together, with five nodes on two processors.
pub const LONG: Duration = Duration::from_secs(120);

/// The nodes and what they play with.
pub struct Stage {
    pub nodes: Vec<Node>,
    pub plugins: guests::Ledgers,
    pub screen: Arc<Screen>,
    pub genesis: Id,
    /// Key files of who issues and who pays dividends.
    pub issuer: PathBuf,
    pub payer: PathBuf,
    settings: PathBuf,
    weir: PathBuf,
    watch: Option<Watch>,
}

impl Stage {
    /// Makes keys and a genesis, and starts the nodes, which know nothing yet.
    pub fn set(weir: &Path, plugins: guests::Ledgers, folder: &Path) -> Result<Self> {
        let screen = Arc::new(Screen::new());
        screen.step("keys, a genesis, and five nodes");
        let (issuer, payer) = (folder.join("issuer.key"), folder.join("payer.key"));
        key_file::create(&issuer)?;
        let settings = folder.join("genesis.toml");
        let genesis = write_genesis(
            &issuer,
            GenesisOptions {
                name: "Demo".to_owned(),
                symbol: "DEMO".to_owned(),
                recovery: None,
                payers: vec![key_file::create(&payer)?.key()],
                unbonding_epochs: 2,
                file: settings.clone(),
            },
        )?;
        let mut nodes = Vec::new();
        for name in NAMES {
            let node = Node::start_with(weir, folder, name, patient)?;
            screen.fact(&format!("node {name}: {} (pid {})", node.peer_address(), node.pid().unwrap_or_default()));
            nodes.push(node);
        }
        let (genesis, weir) = (genesis.genesis, weir.to_owned());
        let watched = nodes.iter().map(|node| (node.name, node.client.api().clone())).collect();
        let watch = Some(Watch::start(watched, Arc::clone(&screen)));
        Ok(Self { nodes, plugins, screen, genesis, issuer, payer, settings, weir, watch })
    }

    /// A node's plugins, typed.
    pub fn ledgers(&self, node: usize) -> Ledgers<&Api> {
        Ledgers(self.nodes[node].client.api())
    }

    /// Waits for the same of all these nodes, for at most `limit` each. An error says which one did not come to it, how it
    /// stands, and how to look closer.
    pub fn until(
        &self,
        nodes: &[usize],
        what: &str,
        limit: Duration,
        look: impl Fn(usize) -> Result<bool>,
    ) -> Result<()> {
        for place in nodes {
            let node = &self.nodes[*place];
            self.screen.state(&format!("waiting for node {}: {what}", node.name));
            let found = node.until(what, limit, || Ok(look(*place)?.then_some(())));
            found.with_context(|| {
                let sentence =
                    self.ledgers(*place).status().map_or_else(|error| error.to_string(), |status| status.sentence);
                format!(
                    "node {} says: {sentence}. What all nodes logged is kept, see the folder named above",
                    node.name
                )
            })?;
        }
        Ok(())
    }

    /// Puts a plugin with its settings into a node's plugin folder, as an operator does: settings first, then the file at once.
    pub fn drop_in(&self, node: &Node, name: &str, file: &Path) -> Result<()> {
        let folder = node.directory.join("plugins");
        let place = || -> std::io::Result<()> {
            fs::copy(&self.settings, folder.join(name).with_extension("toml"))?;
            let partial = node.directory.join(name).with_extension("partial");
            fs::copy(file, &partial)?;
            fs::rename(partial, folder.join(name).with_extension("wasm"))
        };
        place().with_context(|| format!("put {} into {}", file.display(), folder.display()))
    }

    /// The version of a plugin that runs on a node.
    pub fn version(&self, node: &Node, name: &str) -> Result<Option<String>> {
        let listed = node.weir(&["plugin", "list"])?;
        for failed in listed["failed"].as_array().into_iter().flatten() {
            let ours = failed["file"].as_str().is_some_and(|file| file.contains(name));
            ensure!(!ours, node.with_log(&format!("{name} is not loaded: {failed}")));
        }
        let mut plugins = listed["plugins"].as_array().into_iter().flatten();
        let active = |plugin: &&Value| plugin["name"] == name && plugin["state"] == "active";
        Ok(plugins.find(active).and_then(|plugin| plugin["version"].as_str().map(str::to_owned)))
    }

    /// Lets every node keep every other one connected, and waits until all share both protocols.
    pub fn connect(&self) -> Result<()> {
        for (place, node) in self.nodes.iter().enumerate() {
            for other in &self.nodes[..place] {
                node.weir(&["peers", "add", &other.peer_address(), "--necessary"])?;
            }
        }
        self.until(&self.all(), "four peers with both protocols", SOON, |node| {
            let peers = self.nodes[node].weir(&["peers"])?;
            let with_both = |peer: &&Value| peer["protocols"].as_array().is_some_and(|list| list.len() == 2);
            Ok(peers["peers"].as_array().into_iter().flatten().filter(with_both).count() == NAMES.len() - 1)
        })
    }

    /// Lets two groups of nodes hear nothing of each other: each blocks the peers of the other.
    pub fn cut(&self, one: &[usize], other: &[usize]) -> Result<()> {
        self.access("block", one, other)?;
        for group in [one, other] {
            self.until(group, "being connected with its own side only", SOON, |node| {
                Ok(self.connected(node)? == self.ids(group, node))
            })?;
        }
        Ok(())
    }

    /// Takes that back.
    pub fn heal(&self, one: &[usize], other: &[usize]) -> Result<()> {
        self.access("unblock", one, other)?;
        let all = self.all();
        self.until(&all, "being connected with everybody", SOON, |node| {
            Ok(self.connected(node)? == self.ids(&all, node))
        })
    }

    fn access(&self, verb: &str, one: &[usize], other: &[usize]) -> Result<()> {
        for (from, to) in [(one, other), (other, one)] {
            for node in from {
                for peer in to {
                    self.nodes[*node].weir(&["access", verb, &self.nodes[*peer].peer_id])?;
                }
            }
        }
        Ok(())
    }

    fn ids(&self, group: &[usize], without: usize) -> BTreeSet<String> {
        group.iter().filter(|node| **node != without).map(|node| self.nodes[*node].peer_id.clone()).collect()
    }

    fn connected(&self, node: usize) -> Result<BTreeSet<String>> {
        let peers = self.nodes[node].weir(&["peers"])?;
        let peers = peers["peers"].as_array().cloned().unwrap_or_default();
        let connected = peers.iter().filter(|peer| peer["connected"] == true);
        Ok(connected.filter_map(|peer| peer["peer_id"].as_str().map(str::to_owned)).collect())
    }

    pub fn all(&self) -> Vec<usize> {
        (0..self.nodes.len()).collect()
    }

    /// Shows how the nodes stand when an act is over.
    pub fn end_of_act(&self) {
        self.screen.show(self.nodes.iter().map(|node| watch::look(node.name, node.client.api())).collect());
        self.screen.end_of_act();
    }

    /// Leaves the last table on the screen and draws no more.
    pub fn curtain(&mut self) {
        self.watch = None;
        self.screen.settle();
    }

    /// All nodes as they are left running.
    pub fn hold(&mut self, folder: &Path) -> Held {
        self.curtain();
        let on = |node: &Node| format!("{} --dir {}", self.weir.display(), node.directory.display());
        let wallet = |key: &str| {
            let key = folder.join(key);
            format!("cargo run -p weir-wallet -- --dir {} --key {}", self.nodes[0].directory.display(), key.display())
        };
        let (a, b) = (&self.nodes[0], &self.nodes[1]);
        let commands = vec![
            format!("{} call {STAKING} status", on(a)),
            format!("{} call {STAKING} top", on(b)),
            format!("{} call {DIVIDEND} root", on(b)),
            format!("{} peers", on(a)),
            wallet("me.key new"),
            wallet("issuer.key mint ACCOUNT 100"),
            wallet("issuer.key epoch"),
        ];
        Held { nodes: std::mem::take(&mut self.nodes), folder: folder.to_owned(), commands }
    }
}

impl Drop for Stage {
    /// Nobody looks at nodes that are being ended.
    fn drop(&mut self) {
        self.curtain();
    }
}

/// Healing is part of the story, so a node that lost its peers looks for them every second.
fn patient(directory: &Path) -> Result<()> {
    let file = directory.join("weir.toml");
    let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let head = "[reconnect]\n";
    ensure!(text.contains(head), "{} has no section [reconnect]", file.display());
    let text = text.replacen(head, &format!("{head}max_wait = \"1s\"\n"), 1);
    fs::write(&file, text).with_context(|| format!("write {}", file.display()))
}
