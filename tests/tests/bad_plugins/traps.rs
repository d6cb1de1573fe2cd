//! Guests that panic where they are described, started, asked for their memory, or put in the place of another.

use anyhow::Result;
use weir_host::plugin::{CrashKind, CrashReport, PluginError, PluginState};
use weir_tests::node::until;

use super::scene::{Scene, file};

/// The report of a start that failed.
pub(crate) fn start_report(error: &PluginError) -> CrashReport {
    let PluginError::Start { report } = error else { panic!("no start failed: {error}") };
    assert_eq!(error.code(), "start-failed");
    assert_eq!(
        (report.plugin.as_str(), report.event.as_str(), report.position, report.peer),
        ("counter", "start", None, None)
    );
    CrashReport::clone(report)
}

fn panicked(report: &CrashReport, version: &str, message: &str, place: &str) {
    assert_eq!((report.version.as_str(), report.failure.kind), (version, CrashKind::Trap));
    let panic = report.failure.panic.as_ref().expect("a panic was told");
    assert_eq!((panic.message.as_str(), panic.event), (message, None));
    assert!(panic.location.contains(place), "{report}");
    assert!(report.to_string().contains(message), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub(crate) async fn trap_in_start() -> Result<()> {
    Scene::play(async |scene: &Scene| {
        let error = scene.refused(file("trap_in_start")?).await?;
        panicked(&start_report(&error), "0.4.0", "no start", "trap_in_start.rs:3:");
        // In the place of a counter that runs it starts no better, and that one goes on.
        scene.node.load("counter").await?;
        let line = scene.line("counter").await?;
        let error = scene.upgrade_counter(&line, "trap_in_start").await?.expect_err("it does not start");
        panicked(&start_report(&error), "0.4.0", "no start", "trap_in_start.rs:3:");
        goes_on(scene, &start_report(&error)).await
    })
    .await
}

/// The counter of before runs, has counted everything, and its operator sees why it is still that one.
pub(crate) async fn goes_on(scene: &Scene, why: &CrashReport) -> Result<()> {
    let info = scene.info("counter");
    assert_eq!((info.state, info.version.as_str()), (PluginState::Active, "0.1.0"));
    assert_eq!(info.last_error.as_deref(), Some(why.to_string().as_str()));
    assert!(why.revision > info.revision, "{why} beside revision {}", info.revision);
    scene.counted_all().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub(crate) async fn trap_in_restore() -> Result<()> {
    Scene::play(async |scene: &Scene| {
        scene.node.load("counter").await?;
        let line = scene.line("counter").await?;
        let error = scene.upgrade_counter(&line, "trap_in_restore").await?.expect_err("it does not start");
        panicked(&start_report(&error), "0.4.1", "no restore", "trap_in_restore.rs:6:");
        goes_on(scene, &start_report(&error)).await?;
        // Without a revision before it, it runs.
        scene.unloads("counter").await?;
        scene.node.load("trap_in_restore").await?;
        assert_eq!(scene.info("counter").version, "0.4.1");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub(crate) async fn counter_trap_in_snapshot() -> Result<()> {
    Scene::play(async |scene: &Scene| {
        scene.node.load("counter_trap_in_snapshot").await?;
        let line = scene.line("counter").await?;
        // An upgrade that fails anyway: the old revision is made anew from its store, and no message is lost.
        let error = scene.upgrade_counter(&line, "counter_fails_to_start").await?.expect_err("it does not start");
        assert_eq!(start_report(&error).failure.kind, CrashKind::Error);
        assert_eq!(
            (scene.info("counter").version.as_str(), scene.info("counter").state),
            ("0.1.1", PluginState::Active)
        );
        // One that works is not held up by it.
        let report = scene.upgrade_counter(&line, "counter_v2").await??;
        assert_eq!((report.from_version.as_str(), report.plugin.version.as_str()), ("0.1.1", "0.2.0"));
        assert_eq!(report.snapshot_bytes, None);
        assert!(report.snapshot_skipped.is_some_and(|why| why.contains("unreachable")), "the trap is named");
        let crash = scene.info("counter").last_crash.expect("a crash report");
        assert_eq!((crash.event.as_str(), crash.version.as_str()), ("snapshot", "0.1.1"));
        assert!(crash.to_string().contains("no snapshot"), "{crash}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub(crate) async fn trap_in_describe() -> Result<()> {
    Scene::play(async |scene: &Scene| {
        let error = scene.refused(file("trap_in_describe")?).await?;
        assert_eq!(error.code(), "bad-manifest");
        let text = error.to_string();
        assert!(text.contains("`describe` failed") && text.contains("`describe` may not call any import"), "{text}");
        assert!(text.contains("trap_in_describe.wasm"), "{text}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub(crate) async fn trap_after_crash() -> Result<()> {
    let name = "trap-after-crash";
    Scene::play(async |scene: &Scene| {
        scene.node.load("trap_after_crash").await?;
        let line = scene.line(name).await?;
        scene.say(&line, b"poison".to_vec()).await?;
        until("it is given up", async || scene.info(name).state == PluginState::Quarantined).await?;
        let info = scene.info(name);
        let crash = info.last_crash.expect("a crash report");
        assert_eq!((crash.event.as_str(), crash.failure.kind), ("start", CrashKind::Trap), "{crash}");
        assert!(crash.to_string().contains("no second start"), "{crash}");
        // The message, and starts that are not tried for ever.
        assert!((2..100).contains(&info.counters.crashes), "{} crashes", info.counters.crashes);
        assert!(scene.stats(name).await.is_err());
        scene.unloads(name).await
    })
    .await
}
