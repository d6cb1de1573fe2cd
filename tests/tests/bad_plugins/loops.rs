//! Guests that never return from where they are started, asked for their memory, or put in the place of another.

use anyhow::Result;
use weir_host::plugin::{CrashKind, PluginState};

use super::scene::{Scene, file};
use super::traps::{goes_on, start_report};

/// What a start that never ends is told by: the budget of a start.
const TOO_LONG: &str = "it ran for more than 5000 ms of CPU time without an end";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub(crate) async fn loop_in_start() -> Result<()> {
    Scene::play(async |scene: &Scene| {
        let report = start_report(&scene.refused(file("loop_in_start")?).await?);
        assert_eq!((report.version.as_str(), report.failure.kind), ("0.5.0", CrashKind::Timeout));
        assert_eq!(report.failure.reason, TOO_LONG);
        assert!(!report.failure.backtrace.is_empty(), "{report}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub(crate) async fn loop_in_restore() -> Result<()> {
    Scene::play(async |scene: &Scene| {
        scene.node.load("counter").await?;
        let line = scene.line("counter").await?;
        let error = scene.upgrade_counter(&line, "loop_in_restore").await?.expect_err("it does not start");
        let report = start_report(&error);
        assert_eq!((report.version.as_str(), report.failure.kind), ("0.5.1", CrashKind::Timeout));
        assert_eq!(report.failure.reason, TOO_LONG);
        goes_on(scene, &report).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub(crate) async fn loop_in_snapshot() -> Result<()> {
    Scene::play(async |scene: &Scene| {
        scene.node.load("loop_in_snapshot").await?;
        let line = scene.line("counter").await?;
        let report = scene.upgrade_counter(&line, "counter_v2").await??;
        assert_eq!((report.from_version.as_str(), report.plugin.version.as_str()), ("0.1.2", "0.2.0"));
        let why = "it ran for more than 1000 ms of CPU time without an end";
        assert_eq!((report.snapshot_bytes, report.snapshot_skipped.as_deref()), (None, Some(why)));
        let info = scene.info("counter");
        let crash = info.last_crash.expect("a crash report");
        assert_eq!((crash.event.as_str(), crash.failure.kind), ("snapshot", CrashKind::Timeout));
        assert_eq!(info.state, PluginState::Active);
        Ok(())
    })
    .await
}
