//! Guests that say of themselves what is not so, or use what they were not given.

use anyhow::Result;
use weir_host::plugin::{CrashKind, PluginSettings, PluginState};
use weir_tests::node::source;

use super::scene::{Scene, file};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub(crate) async fn takes_protocol() -> Result<()> {
    Scene::play(async |scene: &Scene| {
        let says = |text: &str| assert!(text.contains("/ping/1.0.0") && text.contains("ping"), "{text}");
        let error = scene.refused(file("takes_protocol")?).await?;
        assert_eq!(error.code(), "protocol-refused");
        says(&error.to_string());
        // Neither does it come to it in the place of a plugin that runs, which goes on.
        scene.node.load("counter").await?;
        let line = scene.line("counter").await?;
        let error = scene.upgrade_counter(&line, "takes_protocol").await?.expect_err("the protocol is taken");
        assert_eq!(error.code(), "protocol-refused");
        says(&error.to_string());
        let info = scene.info("counter");
        assert_eq!((info.state, info.version.as_str(), info.protocols.len()), (PluginState::Active, "0.1.0", 1));
        scene.counted_all().await?;
        assert_eq!(scene.node.host.network().owner(&"/ping/1.0.0".parse()?).as_deref(), Some("ping"));
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub(crate) async fn same_key_twice() -> Result<()> {
    Scene::play(async |scene: &Scene| {
        let error = scene.refused(file("same_key_twice")?).await?;
        assert_eq!(error.code(), "bad-manifest");
        let text = error.to_string();
        assert!(text.contains("two protocols share the key 1"), "{text}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub(crate) async fn asks_for_grant() -> Result<()> {
    Scene::play(async |scene: &Scene| {
        let error = scene.refused(file("asks_for_grant")?).await?;
        assert_eq!(error.code(), "missing-grant");
        let line = "asks for \"call:bank\"; grant it with [plugins.asks_for_grant] grants = [\"call:bank\"]";
        assert!(error.to_string().contains(line), "{error}");
        // Others than it asks for are of no use to it.
        let grants = |grant: &str| PluginSettings { grants: vec![grant.to_owned()], ..PluginSettings::default() };
        let error = scene.refused(source("asks_for_grant", grants("call:ping"))?).await?;
        assert_eq!(error.code(), "missing-grant");
        scene.node.load_with("asks_for_grant", grants("call:bank")).await?;
        assert_eq!(scene.info("asks-for-grant").grants, ["call:bank"]);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub(crate) async fn uses_ungranted() -> Result<()> {
    let name = "uses-ungranted";
    Scene::play(async |scene: &Scene| {
        let report = scene.misbehave(name).await?;
        scene.check_report(name, CrashKind::Trap, &report);
        let reason = "crypto.sign needs the capability `sign`: name it in the manifest and grant it";
        assert_eq!(report.failure.reason, reason);
        // What it tried when it was started, before and after the crash, was refused and left no trace.
        let stats = scene.stats(name).await?;
        let refused = |key: &str| stats[key].as_u64().unwrap_or(0);
        let starts = refused("call-refused");
        assert!(starts >= 2 && refused("register-refused") == 2 * starts, "{stats}");
        assert_eq!(scene.node.host.network().owner(&"/room/1".parse()?), None);
        Ok(())
    })
    .await
}
