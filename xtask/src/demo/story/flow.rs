//! Sends what accounts sign: through the node that each of them speaks to, all nodes at once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use serde_json::json;
use weir_ledger::to_hex;
use weir_plugin_staking::items::Action;
use weir_wallet::api::ApiError;
use weir_wallet::node::STAKING;

use super::accounts::Account;
use super::stage::Stage;
use crate::demo::node::Node;
use crate::demo::number::grouped;
use crate::interrupt;

/// How often the same bytes are sent again to a node that is busy or whose plugin is being replaced. They have one id, so
/// that is harmless.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);
/// Between two operations of the steady flow through one node.
const PACE: Duration = Duration::from_millis(20);
/// Operations in the steady flow: a node counts 10,000 pending ones, and the demo waits for that count.
const MOST: usize = 9_000;
/// And those of one account, which may have 64 pending.
const MOST_EACH: usize = 60;
/// Who sends for one signer at once: a node syncs its disk for all of them together.
const HANDS: usize = 4;

/// Submits one item.
pub fn submit(node: &Node, plugin: &str, bytes: &[u8]) -> Result<()> {
    let arguments = json!({"op": to_hex(bytes)});
    let mut tries = 0;
    loop {
        interrupt::check()?;
        tries += 1;
        match node.client.api().call(plugin, "submit", &arguments) {
            Ok(_) => return Ok(()),
            Err(ApiError::Refused(refusal)) if refusal.status >= 500 && tries < TRIES => thread::sleep(PAUSE),
            Err(error) => {
                return Err(error).with_context(|| node.with_log(&format!("{plugin} did not take an item")));
            }
        }
    }
}

/// Submits items of one signer to one node, several at once: a ledger puts them in order.
pub fn submit_all(stage: &Stage, node: &Node, plugin: &str, items: &[Vec<u8>], what: &str) -> Result<()> {
    let sent = AtomicU64::new(0);
    thread::scope(|scope| {
        let hands = (0..HANDS).map(|hand| {
            let sent = &sent;
            scope.spawn(move || {
                for item in items.iter().skip(hand).step_by(HANDS) {
                    submit(node, plugin, item)?;
                    count(stage, sent, items.len(), what);
                }
                Ok(())
            })
        });
        all(hands.collect())
    })
}

/// Lets each account of these nodes sign something and sends it through its node. Returns how many were sent.
pub fn send(
    stage: &Stage,
    accounts: &mut [Vec<Account>],
    nodes: &[usize],
    plugin: &str,
    what: &str,
    sign: impl Fn(usize, &mut Account) -> Option<Vec<u8>> + Sync,
) -> Result<u64> {
    let total = accounts.iter().enumerate().filter(|(node, _)| nodes.contains(node)).map(|(_, some)| some.len()).sum();
    let sent = AtomicU64::new(0);
    thread::scope(|scope| {
        let (sent, sign) = (&sent, &sign);
        let chosen = accounts.iter_mut().enumerate().filter(|(node, _)| nodes.contains(node));
        let hands = chosen.map(|(node, accounts)| {
            let node = &stage.nodes[node];
            scope.spawn(move || {
                for (place, account) in accounts.iter_mut().enumerate() {
                    if let Some(item) = sign(place, account) {
                        submit(node, plugin, &item)?;
                        count(stage, sent, total, what);
                    }
                }
                Ok(())
            })
        });
        all(hands.collect())
    })?;
    Ok(sent.into_inner())
}

fn count(stage: &Stage, sent: &AtomicU64, total: usize, what: &str) {
    let sent = sent.fetch_add(1, Ordering::Relaxed) + 1;
    if sent.is_multiple_of(20) {
        stage.screen.state(&format!("{} of {} {what}", grouped(sent), grouped(total)));
    }
}

/// Lets accounts stake one token after the other through every node while `work` is done. Returns how many operations
/// that were, and what came of the work.
pub fn while_flowing<T>(
    stage: &Stage,
    accounts: &mut [Vec<Account>],
    work: impl FnOnce(&AtomicU64) -> Result<T>,
) -> Result<(u64, T)> {
    let (ended, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let each = (MOST / accounts.iter().map(Vec::len).sum::<usize>().max(1)).min(MOST_EACH);
    let done = thread::scope(|scope| {
        let (ended, sent) = (&ended, &sent);
        let hands = accounts.iter_mut().enumerate().map(|(node, accounts)| {
            let node = &stage.nodes[node];
            scope.spawn(move || {
                for _ in 0..each {
                    for account in accounts.iter_mut() {
                        if ended.load(Ordering::Relaxed) {
                            return Ok(());
                        }
                        submit(node, STAKING, &account.sign(Action::Stake(1), stage.genesis))?;
                        sent.fetch_add(1, Ordering::Relaxed);
                        thread::sleep(PACE);
                    }
                }
                Ok(())
            })
        });
        let hands: Vec<_> = hands.collect();
        let done = work(sent);
        ended.store(true, Ordering::Relaxed);
        all(hands).and(done)
    })?;
    Ok((sent.into_inner(), done))
}

/// Waits for all of them; the first error counts.
fn all(hands: Vec<ScopedJoinHandle<'_, Result<()>>>) -> Result<()> {
    let mut outcome = Ok(());
    for hand in hands {
        let ended = hand.join().unwrap_or_else(|_| Err(anyhow!("a thread that sends panicked")));
        outcome = outcome.and(ended);
    }
    outcome
}
