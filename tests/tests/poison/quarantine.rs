//! What becomes of a plugin that fails too often.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quarantine_survives_the_node_and_is_lifted_by_hand() {
    let disk = MemoryDisk::default();
    let node = Node::on(&disk, policy());
    node.plugins.load(source()).await.expect("it loads");
    let not = node.plugins.lift(NAME).await.expect_err("there is nothing to lift");
    assert_eq!(not.code(), "not-quarantined");
    for _ in 0..5 {
        node.call("panic").await.expect_err("it panics");
    }
    node.is(PluginState::Quarantined).await;
    assert!(node.info().protocols.is_empty() && node.network.owner(&protocol()).is_none());
    let error = node.call("stats").await.expect_err("it is quarantined");
    assert_eq!(error.code(), "plugin-quarantined");
    let shown = json!(node.info());
    assert_eq!((&shown["state"], &shown["quarantine"]["times"]), (&json!("quarantined"), &json!(1)));
    node.plugins.shutdown(tokio::time::Instant::now() + PATIENCE).await;
    node.store.close().await.expect("closed");

    let node = Node::on(&disk, policy());
    let info = node.plugins.load(source()).await.expect("it loads, and is quarantined");
    assert_eq!(info.state, PluginState::Quarantined);
    assert!(info.last_error.is_some_and(|error| error.contains("that was poison")));
    assert_eq!(node.plugins.lift(NAME).await.expect("lifted").state, PluginState::Active);
    assert!(node.call("stats").await.is_ok() && node.info().quarantine.is_none());
    node.network.connect(peer(HONEST));
    assert!(node.send(HONEST, &[b"fine"]).await);
    for _ in 0..5 {
        node.call("panic").await.expect_err("it panics");
    }
    node.is(PluginState::Quarantined).await;
    assert_eq!(node.info().quarantine.map(|quarantine| quarantine.times), Some(2));
    node.plugins.unload(NAME).await.expect("it is loaded");
    assert_eq!(node.plugins.load(source()).await.expect("it loads").state, PluginState::Active);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quarantined_plugin_comes_back_by_itself() {
    let supervision = SupervisionPolicy { quarantine: Duration::from_millis(300), ..SupervisionPolicy::default() };
    let node = Node::start(PluginPolicy { supervision, ..policy() }).await;
    for _ in 0..5 {
        node.call("panic").await.expect_err("it panics");
    }
    node.is(PluginState::Quarantined).await;
    node.is(PluginState::Active).await;
    until("it answers", async || node.call("stats").await.is_ok()).await.expect("in time");
    assert!(node.send(HONEST, &[b"fine"]).await);
    assert_eq!(node.count("fine").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_ends_backoff_and_quarantine_and_loses_nothing_that_waits() {
    let supervision =
        SupervisionPolicy { backoff: PATIENCE * 10, longest_backoff: PATIENCE * 10, ..Default::default() };
    let node = Node::start(PluginPolicy { supervision, ..policy() }).await;
    for _ in 0..3 {
        node.call("panic").await.expect_err("it panics");
    }
    node.is(PluginState::BackingOff).await;
    assert!(node.send(HONEST, &[b"fine", b"fine"]).await, "its messages wait");
    node.plugins.upgrade(NAME, source()).await.expect("upgraded");
    assert_eq!((node.count("fine").await, node.info().state), (2, PluginState::Active));
    for _ in 0..2 {
        node.call("panic").await.expect_err("it panics");
    }
    // What the old revision did is not held against the new one: it would wait far longer than this test.
    node.is(PluginState::Active).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_lifts_a_quarantine() {
    let node = Node::start(policy()).await;
    for _ in 0..5 {
        node.call("panic").await.expect_err("it panics");
    }
    node.is(PluginState::Quarantined).await;
    node.plugins.upgrade(NAME, source()).await.expect("upgraded");
    assert_eq!(node.info().quarantine, None);
    assert!(node.send(HONEST, &[b"fine"]).await);
    assert_eq!((node.count("fine").await, node.info().state), (1, PluginState::Active));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_has_no_snapshot_did_not_crash() {
    let node = Node::start(policy()).await;
    let report = node.plugins.upgrade(NAME, source()).await.expect("upgraded");
    assert_eq!(report.snapshot_skipped.as_deref(), Some("it returned the error `it has none`"));
    assert_eq!((&report.plugin.last_crash, &report.plugin.last_error), (&None, &None));
    assert_eq!((report.plugin.counters.crashes, report.plugin.counters.restarts), (0, 0));
}
