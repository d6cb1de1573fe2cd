//! Guests that want more memory, more of a table, or more of the stack than there is for them.

use anyhow::{Context, Result};
use weir_host::plugin::{CrashKind, PluginPolicy, PluginSource};
use weir_tests::guests;

use super::scene::{Scene, file};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub(crate) async fn memory_eater() -> Result<()> {
    let name = "memory-eater";
    Scene::play(async |scene: &Scene| {
        let report = scene.misbehave(name).await?;
        scene.check_report(name, CrashKind::Trap, &report);
        let refused = report.failure.refused_memory.context("bytes that were refused")?;
        assert!(refused >= 1 << 30, "{refused}");
        assert!(report.to_string().contains("refused memory"), "{report}");
        assert!(scene.info(name).counters.memory_bytes <= PluginPolicy::default().memory);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub(crate) async fn table_eater() -> Result<()> {
    let name = "table-eater";
    Scene::play(async |scene: &Scene| {
        let source = PluginSource { bytes: guests::table_eater(), ..file("table_eater")? };
        let report = scene.misbehave_as(name, source).await?;
        scene.check_report(name, CrashKind::Trap, &report);
        let panic = report.failure.panic.as_ref().context("a panic was told")?;
        let eaten = panic.message.strip_prefix("refused after ").and_then(|text| text.strip_suffix(" elements"));
        let eaten: usize = eaten.with_context(|| panic.message.clone())?.parse()?;
        let limit = PluginPolicy::default().table_elements;
        // It asks for ten thousand at a time, and has some of its own.
        assert!(eaten <= limit && eaten + 20_000 > limit, "{eaten} of {limit}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub(crate) async fn deep_recursion() -> Result<()> {
    let name = "deep-recursion";
    Scene::play(async |scene: &Scene| {
        let report = scene.misbehave(name).await?;
        scene.check_report(name, CrashKind::Trap, &report);
        assert!(report.failure.reason.contains("call stack exhausted"), "{report}");
        assert!(report.failure.backtrace.first().is_some_and(|function| function.contains("dive")), "{report}");
        // The innermost functions tell it; the rest of some ten thousand says nothing more.
        assert!(report.failure.backtrace.len() <= 64, "{report}");
        Ok(())
    })
    .await
}
