//! Looks at the nodes all the time and shows what they say.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::Value;
use weir_wallet::api::Api;

use super::screen::{Row, Screen};

/// How often: a person sees it move, and five nodes have next to nothing to do for it.
const EVERY: Duration = Duration::from_millis(500);
/// Longer than any look takes unless a node hangs; then its row has dashes.
const LOOK: Duration = Duration::from_secs(5);

/// Watches until it is dropped.
pub struct Watch {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    pub fn start(nodes: Vec<(&'static str, Api)>, screen: Arc<Screen>) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ended);
        let thread = thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                screen.show(nodes.iter().map(|(name, api)| look(name, api)).collect());
                thread::sleep(EVERY);
            }
        });
        Self { ended, thread: Some(thread) }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _drew_to_the_end = thread.join();
        }
    }
}

/// What a node says of itself now.
pub fn look(node: &'static str, api: &Api) -> Row {
    let get = |path: &str| api.ask("GET", path, b"", LOOK).unwrap_or_default();
    let (peers, plugins) = (get("/v1/peers"), get("/v1/plugins"));
    let listed = |name: &str| {
        let mut plugins = plugins["plugins"].as_array().into_iter().flatten();
        plugins.find(|plugin| plugin["name"] == name).map(|plugin| text(&plugin["version"]))
    };
    let call = |plugin: &str, command: &str| match listed(plugin) {
        Some(_) => api.call(plugin, command, &Value::Object(Default::default())).unwrap_or_default(),
        None => Value::Null,
    };
    let (status, dividend) = (call("staking", "status"), call("dividend", "root"));
    let connected =
        peers["peers"].as_array().map(|peers| peers.iter().filter(|peer| peer["connected"] == true).count());
    Row {
        node,
        peers: connected.map_or("-".to_owned(), |peers| peers.to_string()),
        staking: listed("staking").unwrap_or("-".to_owned()),
        epoch: text(&status["epoch"]),
        root: short(&status["root"]),
        pending: text(&status["pending"]),
        dividend: short(&dividend["root"]),
        claims: text(&dividend["counted"]),
        state: text(&status["state"]),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Enough of a root to see that two are equal.
fn short(root: &Value) -> String {
    root.as_str().and_then(|root| root.get(..10)).unwrap_or("-").to_owned()
}
