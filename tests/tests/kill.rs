//! A node is killed in the middle of its work, at moments nobody chose, and started again in the same folder.
//!
//! Two keepers run in it, one strict and one relaxed, and a peer in this process keeps them busy and writes down what
//! they send. What the peer saw of a strict one must be there after every restart; of a relaxed one the last 50 ms may
//! be missing; no turn is ever there by half, and no answer to a command is lost.
//!
//! `WEIR_KILLS=500 cargo xtask test --test kill -- --nocapture` for more than the few of every run; `WEIR_SEED` repeats
//! the moments.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use weir_host::admin::{AdminClient, AdminRequest};
use weir_host::plugin::store::Durability;
use weir_host::protocol::{Inbound, NativeEvent, ProtocolId, ProtocolSpec, native};
use weir_tests::dice::{Dice, number, seed};
use weir_tests::keeper::{Told, Watched, read};
use weir_tests::node::{PATIENCE, TestNode, guest_path};
use weir_tests::weir::Weir;

/// Kills of a run that has no time.
const KILLS: u64 = 20;
/// Messages on their way to each keeper at once.
const IN_FLIGHT: u64 = 8;

type Shared = Arc<Mutex<Watched>>;

fn lock(watched: &Shared) -> MutexGuard<'_, Watched> {
    watched.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps a keeper busy and writes down what it sends.
fn watch(peer: &TestNode, name: &str, durability: Durability) -> Result<Shared> {
    let id: ProtocolId = format!("/{name}/1").parse()?;
    let spec = ProtocolSpec { id: id.clone(), delivery: Default::default(), max_message: 1 << 16 };
    let (handler, mut inbox) = native(64);
    let network = peer.host.network();
    network.register(spec, "watch", handler)?;
    let watched = Arc::new(Mutex::new(Watched::new(durability)));
    let ours = watched.clone();
    tokio::spawn(async move {
        while let Some(event) = inbox.next().await {
            let NativeEvent::Batch(batch) = event else { continue };
            let bodies = batch.items.iter().filter_map(|item| match item {
                Inbound::Message(body) => read(body),
                Inbound::Request { .. } => None,
            });
            for told in bodies {
                lock(&ours).hear(told);
                let more = if let Told::Turn { messages, .. } = told { messages } else { IN_FLIGHT };
                for _ in 0..more {
                    // What a node that was just killed does not take is not missed.
                    let _ = network.send(&batch.peer, &id, Bytes::from_static(&[7; 64]));
                }
            }
        }
    });
    Ok(watched)
}

/// Calls a command of the relaxed keeper again and again: its answers wait for the disk all the same.
fn command(folder: &Path, watched: Shared) {
    let client = AdminClient::new(folder.join("weir.sock"));
    tokio::spawn(async move {
        loop {
            let answer = client.send(AdminRequest::post("/v1/call/keeper-relaxed/add", "{}")).await;
            match answer.ok().and_then(|body| serde_json::from_slice(&body).ok()) {
                Some((turn, start)) => lock(&watched).answered(turn, start),
                // No node listens now; there is nothing to be woken by.
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    });
}

fn prepare(weir: &Weir, peer: &TestNode) -> Result<()> {
    let folder = weir.folder().join("plugins");
    std::fs::create_dir_all(&folder)?;
    for name in ["strict", "relaxed"] {
        std::fs::copy(guest_path(&format!("keeper_{name}"))?, folder.join(format!("keeper-{name}.wasm")))?;
    }
    let file = weir.folder().join("weir.toml");
    let more = format!(
        "\n[plugins.keeper-strict]\ndurability = \"strict\"\n\n[[peers]]\naddress = \"{}\"\nnecessary = true\n",
        peer.address()
    );
    Ok(std::fs::write(&file, std::fs::read_to_string(&file)? + &more)?)
}

fn wait_for(what: &str, mut holds: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        if Instant::now() > deadline {
            bail!("after {PATIENCE:?} still not: {what}");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

#[test]
fn what_left_a_node_before_it_was_killed_is_on_its_disk() -> Result<()> {
    let kills = number("WEIR_KILLS")?.unwrap_or(KILLS);
    let seed = seed()?;
    eprintln!("{kills} kills, WEIR_SEED={seed}");
    let mut dice = Dice::new(seed);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let _inside = runtime.enter();
    let peer = runtime.block_on(TestNode::start())?;
    let mut weir = Weir::init()?;
    prepare(&weir, &peer)?;
    let strict = watch(&peer, "keeper-strict", Durability::Strict)?;
    let relaxed = watch(&peer, "keeper-relaxed", Durability::Relaxed)?;
    command(weir.folder(), relaxed.clone());
    let keepers = [&strict, &relaxed];
    let (started, mut compared, mut was_early) = (Instant::now(), 0, true);
    for kill in 0..=kills {
        if kill > 0 && kill % 50 == 0 {
            eprintln!("{kill} kills after {:.0} s", started.elapsed().as_secs_f64());
        }
        let before = keepers.map(|keeper| lock(keeper).totals.starts);
        weir.begin()?;
        // One in five dies while it starts; the last lives long enough to tell what the one before left.
        let early = kill < kills && dice.draw(5) == 0;
        let within = Duration::from_micros(dice.draw(if early { 500_000 } else { 250_000 }));
        if !early {
            wait_for("both keepers run", || {
                keepers.iter().zip(before).all(|(keeper, starts)| lock(keeper).runs(starts))
            })
            .with_context(|| format!("kill {kill} of seed {seed}"))?;
            // Unless one of them told of a run that the other did not live to tell of.
            let once = keepers.iter().zip(before).all(|(keeper, starts)| lock(keeper).totals.starts == starts + 1);
            let lived = !std::mem::replace(&mut was_early, false);
            if once && lived {
                let (strict, relaxed) = (lock(&strict), lock(&relaxed));
                let prefix = strict.is_prefix_with(&relaxed) && relaxed.is_prefix_with(&strict);
                assert!(prefix, "no prefix of both keepers' turns: kill {kill} of seed {seed}");
                compared += 1;
            }
        }
        was_early |= early;
        // The moment itself.
        std::thread::sleep(within);
        weir.kill()?;
    }
    eprintln!(
        "{kills} kills in {:.0} s; {compared} times both keepers' turns together",
        started.elapsed().as_secs_f64()
    );
    for keeper in keepers {
        let keeper = lock(keeper);
        let t = keeper.totals;
        eprintln!(
            "{:?}: {} restarts looked at, {} turns seen; torn turns {}, lost turns {} (in {} restarts, at most {:.1} ms \
             of them), lost answers {}",
            keeper.durability,
            t.starts,
            t.turns,
            t.torn,
            t.lost,
            t.losses,
            t.window as f64 / 1000.0,
            t.lost_answers
        );
        keeper.check();
        assert!(t.starts > kills / 2 && t.turns > t.starts, "too little was seen: {t:?}");
    }
    Ok(())
}
