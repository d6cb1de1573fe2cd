//! Guests that fail at one message: it is lost, its neighbours are not, and the report names it.

use anyhow::Result;
use weir_host::plugin::{CrashKind, PluginState};
use weir_tests::node::until;

use super::scene::Scene;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub(crate) async fn trap_on_message() -> Result<()> {
    let name = "trap-on-message";
    Scene::play(async |scene: &Scene| {
        let report = scene.misbehave(name).await?;
        scene.check_report(name, CrashKind::Trap, &report);
        let text = report.to_string();
        assert!(text.contains("panicked at ") && text.contains("trap_on_message.rs:3:"), "{text}");
        assert!(text.contains("that was poison"), "{text}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub(crate) async fn loop_forever() -> Result<()> {
    let name = "loop-forever";
    Scene::play(async |scene: &Scene| {
        let report = scene.misbehave(name).await?;
        scene.check_report(name, CrashKind::Timeout, &report);
        assert_eq!(report.failure.reason, "it ran for more than 1000 ms of CPU time without an end");
        let place = report.failure.backtrace.join(" < ");
        assert!(place.contains("loop_forever") || place.contains("handle"), "the report names a function: {report}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub(crate) async fn err_on_message() -> Result<()> {
    let name = "err-on-message";
    Scene::play(async |scene: &Scene| {
        let report = scene.misbehave(name).await?;
        scene.check_report(name, CrashKind::Error, &report);
        assert_eq!(report.failure.reason, "it returned the error `that was poison`");
        assert!(report.failure.backtrace.is_empty() && report.failure.panic.is_none(), "{report}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub(crate) async fn bad_result() -> Result<()> {
    let name = "bad-result";
    Scene::play(async |scene: &Scene| {
        let report = scene.misbehave(name).await?;
        scene.check_report(name, CrashKind::BadResult, &report);
        assert!(report.failure.reason.starts_with("what it returned cannot be read: "), "{report}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_of_them_on_one_node_and_a_plugin_that_never_stops_crashing() -> Result<()> {
    Scene::play(async |scene: &Scene| {
        for name in ["trap-on-message", "memory-eater", "loop-forever"] {
            scene.misbehave(name).await?;
        }
        let network = scene.flooder.host.network();
        let id = scene.reaches("/trap-on-message/1").await?;
        let poison = async || network.send(&scene.node.host.peer_id(), &id, "poison".into());
        until("it is quarantined", async || {
            // Refused once the protocol is gone, which is what is waited for.
            let _ = poison().await;
            scene.info("trap-on-message").state == PluginState::Quarantined
        })
        .await?;
        until("its peers know", async || poison().await.is_err()).await?;
        let error = scene.stats("trap-on-message").await.expect_err("it is quarantined");
        assert!(format!("{error:#}").contains("upgrade or unload"), "{error:#}");
        scene.unloads("trap-on-message").await?;
        scene.flows().await
    })
    .await
}
