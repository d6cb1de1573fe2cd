//! What one plugin's store load does to another: how long a turn of a quiet plugin takes alone, and beside one that
//! writes as much as it may.
//!
//! `cargo xtask test --test store_stall -- --nocapture` prints the figures; `WEIR_STALL_SECONDS=30` measures longer. A
//! machine differs from another, so what is held to is a ratio: the worst stall against the time the same disk takes to
//! sync as much by itself.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use weir_host::peer::PeerId;
use weir_host::plugin::store::{Durability, Store, StorePolicy, WriteBatch};
use weir_host::plugin::{PluginPolicy, PluginSettings, PluginSource, Plugins};
use weir_host::protocol::ProtocolId;
use weir_tests::guests::guest;
use weir_tests::mock_network::MockNetwork;
use weir_tests::node::{PATIENCE, until};
use weir_tests::plugins::config;

const PEER: PeerId = PeerId::from_bytes([1; 32]);
/// The pause between two messages to the quiet plugin.
const PAUSE: Duration = Duration::from_millis(2);

/// Times of a quiet plugin's turns, in order of length.
struct Times(Vec<Duration>);

impl Times {
    fn at(&self, share: f64) -> Duration {
        self.0[((self.0.len() - 1) as f64 * share) as usize]
    }

    fn show(&self, what: &str) {
        let ms = |d: Duration| d.as_secs_f64() * 1e3;
        eprintln!(
            "{what:<34} {:>6} turns  p50 {:>7.2} ms  p99 {:>7.2} ms  worst {:>7.2} ms",
            self.0.len(),
            ms(self.at(0.5)),
            ms(self.at(0.99)),
            ms(self.at(1.0))
        );
    }
}

fn source(file: &str, durability: Durability) -> PluginSource {
    let settings = PluginSettings { durability: Some(durability), config: json!({}), ..PluginSettings::default() };
    PluginSource { bytes: guest(file), path: None, settings }
}

/// Sends the quiet plugin one message after the other, and waits for what it answers.
async fn quiet(network: &MockNetwork, name: &str, during: Duration) -> Times {
    let id: ProtocolId = format!("/{name}/1").parse().expect("a protocol id");
    let (mut times, began) = (Vec::new(), Instant::now());
    while began.elapsed() < during || times.len() < 10 {
        let mine = |network: &MockNetwork| network.take_sent().iter().any(|(_, of, _)| *of == id);
        mine(network);
        let sent = Instant::now();
        assert!(network.deliver(PEER, &id, &[b"go"]).await);
        while !mine(network) {
            assert!(sent.elapsed() < PATIENCE, "no turn within {PATIENCE:?}");
            // Finer than what is measured; there is nothing to be woken by.
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        times.push(sent.elapsed());
        tokio::time::sleep(PAUSE).await;
    }
    times.sort_unstable();
    Times(times)
}

/// Copies a large namespace again and again, as before an upgrade.
async fn copies(store: &Store) -> tokio::task::JoinHandle<()> {
    let (from, to) = (store.namespace("large"), store.host_namespace("copy"));
    for number in 0..1_024_u32 {
        let mut batch = WriteBatch::default();
        batch.put(number.to_be_bytes().to_vec(), vec![number as u8; 64 << 10]);
        from.commit(batch, Durability::Relaxed).await.expect("written");
    }
    store.sync().await.expect("synced");
    tokio::spawn(async move {
        loop {
            from.copy_to(&to).await.expect("copied");
        }
    })
}

/// The worst of some syncs of so many bytes in the same folder, with nobody in between.
fn bare_disk(folder: &Path, bytes: usize) -> Duration {
    let path = folder.join("bare");
    let one = |_| {
        let began = Instant::now();
        let mut file = std::fs::File::create(&path).expect("a file");
        std::io::Write::write_all(&mut file, &vec![7; bytes]).expect("written");
        file.sync_all().expect("synced");
        began.elapsed()
    };
    (0..10).map(one).max().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_plugins_store_load_stalls_another_by_a_bounded_time() {
    let seconds = std::env::var("WEIR_STALL_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    let during = Duration::from_secs(seconds);
    let folder = tempfile::tempdir().expect("a folder");
    let policy = StorePolicy::default();
    let bare = bare_disk(folder.path(), policy.max_pending_bytes);
    eprintln!(
        "the bare disk syncs {} MiB in {:.1} ms at worst",
        policy.max_pending_bytes >> 20,
        bare.as_secs_f64() * 1e3
    );
    let network = Arc::new(MockNetwork::default());
    network.connect(PEER);
    let store = Store::open(&folder.path().join("store.redb"), policy).expect("a store");
    let config = config(&network, store.clone(), PluginPolicy::default());
    let plugins = Plugins::start(config).expect("an engine");
    plugins.load(source("keeper_relaxed", Durability::Relaxed)).await.expect("loaded");
    plugins.load(source("keeper_strict", Durability::Strict)).await.expect("loaded");
    let alone = quiet(&network, "keeper-relaxed", during).await;
    alone.show("relaxed, alone");
    quiet(&network, "keeper-strict", during).await.show("strict, alone");

    // It writes 3 MiB in every turn, and takes the next at once.
    plugins.load(source("store_flooder", Durability::Relaxed)).await.expect("loaded");
    let turns = || plugins.list().into_iter().find(|info| info.name == "store-flooder").map_or(0, |i| i.counters.turns);
    until("the flood has begun", async || turns() > 3).await.expect("in time");
    let (before, began) = (turns(), Instant::now());
    let beside = quiet(&network, "keeper-relaxed", during).await;
    let rate = (turns() - before) as f64 * 3.0 / began.elapsed().as_secs_f64();
    beside.show("relaxed, beside the flood");
    quiet(&network, "keeper-strict", during).await.show("strict, beside the flood");
    eprintln!("the flood wrote {rate:.0} MiB/s");
    let ratio = beside.at(1.0).as_secs_f64() / bare.max(Duration::from_millis(50)).as_secs_f64();
    eprintln!("worst stall of a relaxed turn: {ratio:.1} times the bare disk's, or the 50 ms that a turn may wait");
    assert!(turns() > before, "there was no load");
    assert!(ratio < 40.0, "a stall of {:?}", beside.at(1.0));
    plugins.unload("store-flooder").await.expect("unloaded");
    let copying = copies(&store).await;
    quiet(&network, "keeper-relaxed", during).await.show("relaxed, beside copies of 64 MiB");
    quiet(&network, "keeper-strict", during).await.show("strict, beside copies of 64 MiB");
    copying.abort();
    plugins.shutdown(tokio::time::Instant::now() + Duration::from_secs(5)).await;
}
