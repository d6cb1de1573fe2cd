//! The guests that behave, which the others are measured by: a counter, its next version, and one that refuses to start.

use anyhow::Result;
use weir_host::plugin::CrashKind;

use super::scene::Scene;
use super::traps::{goes_on, start_report};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub(crate) async fn counter() -> Result<()> {
    Scene::play(async |scene: &Scene| {
        scene.node.load("counter").await?;
        let line = scene.line("counter").await?;
        let report = scene.upgrade_counter(&line, "counter").await??;
        assert_eq!((report.snapshot_bytes, report.plugin.version.as_str()), (Some(8), "0.1.0"));
        scene.counted_all().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub(crate) async fn counter_v2() -> Result<()> {
    Scene::play(async |scene: &Scene| {
        scene.node.load("counter").await?;
        let line = scene.line("counter").await?;
        for (guest, version) in [("counter_v2", "0.2.0"), ("counter", "0.1.0"), ("counter_v2", "0.2.0")] {
            let report = scene.upgrade_counter(&line, guest).await??;
            assert_eq!((report.snapshot_bytes, report.plugin.version.as_str()), (Some(8), version));
        }
        scene.counted_all().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub(crate) async fn counter_fails_to_start() -> Result<()> {
    Scene::play(async |scene: &Scene| {
        scene.node.load("counter").await?;
        let line = scene.line("counter").await?;
        let error = scene.upgrade_counter(&line, "counter_fails_to_start").await?.expect_err("it does not start");
        let report = start_report(&error);
        assert_eq!((report.version.as_str(), report.failure.kind), ("0.3.0", CrashKind::Error));
        assert_eq!(report.failure.reason, "it returned the error `not today`");
        goes_on(scene, &report).await
    })
    .await
}
