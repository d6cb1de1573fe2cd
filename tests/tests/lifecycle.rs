//! The real binary with real plugins: upgrades that are watched, taken back by hand and by the node, stores that change
//! their layout and their owner, and files that are trusted or not.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weir_host::plugin::{PluginSettings, Rollback};
use weir_host::protocol::{Delivery, ProtocolId, ProtocolSpec, native};
use weir_tests::node::{TestNode, guest_path, source, until};
use weir_tests::weir::{END, Weir};

/// What old code may hold up an upgrade at most: its CPU time, and some time for a busy machine.
const BOUNDED: Duration = Duration::from_secs(20);

fn guest(name: &str) -> Result<String> {
    Ok(guest_path(name)?.to_str().context("UTF-8")?.to_owned())
}

/// A copy of a guest under a name of its own, in the node's folder.
fn put(weir: &Weir, name: &str, from: &str) -> Result<(PathBuf, String)> {
    let path = weir.folder().join(name);
    fs::copy(guest_path(from)?, &path)?;
    let text = path.to_str().context("UTF-8")?.to_owned();
    Ok((path, text))
}

fn says(message: &str, parts: &[&str]) -> Result<()> {
    for part in parts {
        ensure!(message.contains(part), "`{part}` is not in: {message}");
    }
    Ok(())
}

fn only(list: &Value) -> &Value {
    &list["plugins"][0]
}

fn version(weir: &Weir) -> Result<Value> {
    Ok(only(&weir.json(&["plugin", "list"])?)["version"].clone())
}

/// Crashes the plugin so often as its probation allows, and waits until the node has done what follows.
fn poison(weir: &Weir, follows: impl Fn(&Value) -> bool) -> Result<Value> {
    for _ in 0..3 {
        let failed = weir.failure_once(&["call", "journal", "poison", "--timeout", "20s"])?;
        ensure!(failed.code == "plugin-crashed" || failed.code == "gone", "{}: {}", failed.code, failed.message);
    }
    let list = weir.until("the node did something about it", &["plugin", "list"], |list| follows(only(list)))?;
    Ok(only(&list).clone())
}

#[test]
fn a_new_version_that_crashes_makes_way_for_the_one_before() -> Result<()> {
    let mut weir = Weir::start()?;
    weir.json(&["plugin", "load", &guest("journal")?, "--save"])?;
    weir.json(&["call", "journal", "note"])?;
    let report = weir.json(&["plugin", "upgrade", "journal", &guest("journal_next")?, "--save"])?;
    let plugin = &report["plugin"];
    assert_eq!((&plugin["state"], &plugin["previous"]["version"]), (&json!("active"), &json!("0.1.0")), "{report}");
    assert_eq!((&plugin["probation"]["most_crashes"], &plugin["probation"]["reversible"]), (&json!(3), &json!(true)));
    assert_eq!(report["copied_bytes"], Value::Null, "the layout is the same");
    says(&weir.text(&["plugin", "list"])?, &["on probation", "weir plugin rollback journal"])?;

    let plugin = poison(&weir, |plugin| plugin["version"] == "0.1.0" && plugin["state"] == "active")?;
    let why = plugin["fell_back"].as_str().context("why")?;
    says(why, &["went back from 0.2.0 to 0.1.0", "crashed too often after its upgrade", "poison"])?;
    assert_eq!((&plugin["probation"], &plugin["previous"]["version"]), (&Value::Null, &json!("0.2.0")));
    assert_eq!(plugin["counters"]["rollbacks"], 1);
    let stats = weir.json(&["call", "journal", "note"])?;
    assert_eq!((&stats["note"], &stats["cause-rollback"]), (&json!(2), &json!(1)), "{stats}");

    // The file in the folder is the one that failed; a restart does not try it again.
    assert!(weir.terminate()? < END);
    weir.run()?;
    let stats = weir.json(&["call", "journal", "note"])?;
    assert_eq!((&stats["note"], &stats["cause-boot"]), (&json!(3), &json!(1)), "{stats}");
    assert_eq!(version(&weir)?, "0.1.0");
    // Whoever puts it in its place by hand gets it, and it is watched again.
    let report = weir.json(&["plugin", "upgrade", "journal", &guest("journal_next")?])?;
    assert_eq!((&report["plugin"]["version"], &report["plugin"]["probation"]["crashes"]), (&json!("0.2.0"), &json!(0)));
    Ok(())
}

#[test]
fn a_new_layout_is_taken_back_with_the_store_before_it_only() -> Result<()> {
    let mut weir = Weir::start()?;
    weir.json(&["plugin", "load", &guest("journal")?, "--save"])?;
    weir.json(&["call", "journal", "note"])?;
    let report = weir.json(&["plugin", "upgrade", "journal", &guest("journal_layout")?, "--save"])?;
    assert!(report["copied_bytes"].as_u64() > Some(0), "{report}");
    assert_eq!(report["plugin"]["probation"]["reversible"], false, "{report}");
    assert_eq!(weir.json(&["call", "journal", "note"])?["note"], 2);

    let plugin = poison(&weir, |plugin| plugin["state"] == "quarantined")?;
    assert_eq!((&plugin["version"], &plugin["previous"]["reads_store"]), (&json!("0.3.0"), &json!(false)));
    let refused = weir.failure(&["plugin", "rollback", "journal"])?;
    assert_eq!(refused.code, "data-version");
    says(&refused.message, &["0.1.0", "layout 2", "--restore-store"])?;
    let report = weir.json(&["plugin", "rollback", "journal", "--restore-store"])?;
    assert!(report["restored_bytes"].as_u64() > Some(0), "{report}");
    assert_eq!((&report["plugin"]["version"], &report["plugin"]["state"]), (&json!("0.1.0"), &json!("active")));
    let stats = weir.json(&["call", "journal", "stats"])?;
    assert_eq!((&stats["note"], &stats["cause-rollback"]), (&json!(1), &json!(1)), "as before the upgrade: {stats}");
    weir.terminate()?;
    weir.run()?;
    assert_eq!((version(&weir)?, &weir.json(&["call", "journal", "stats"])?["note"]), (json!("0.1.0"), &json!(1)));
    Ok(())
}

#[test]
fn a_rollback_works_after_a_restart_and_is_taken_back_by_another() -> Result<()> {
    let mut weir = Weir::start()?;
    assert_eq!(weir.failure(&["plugin", "rollback", "journal"])?.code, "unknown-plugin");
    weir.json(&["plugin", "load", &guest("journal")?, "--save"])?;
    assert_eq!(weir.failure(&["plugin", "rollback", "journal"])?.code, "no-previous");
    weir.json(&["plugin", "upgrade", "journal", &guest("journal_next")?, "--save"])?;
    weir.terminate()?;
    weir.run()?;
    let list = weir.json(&["plugin", "list"])?;
    let seen = (&only(&list)["version"], &only(&list)["previous"]["version"]);
    assert_eq!(seen, (&json!("0.2.0"), &json!("0.1.0")), "{list}");
    assert_eq!(only(&list)["probation"]["crashes"], 0, "it goes on after a restart: {list}");
    assert_eq!(weir.failure(&["plugin", "rollback", "journal", "--restore-store"])?.code, "no-copy");
    let report = weir.json(&["plugin", "rollback", "journal"])?;
    assert_eq!((&report["from_version"], &report["plugin"]["version"]), (&json!("0.2.0"), &json!("0.1.0")));
    weir.terminate()?;
    weir.run()?;
    assert_eq!(version(&weir)?, "0.1.0");
    let report = weir.json(&["plugin", "rollback", "journal"])?;
    assert_eq!(report["plugin"]["version"], "0.2.0");
    weir.terminate()?;
    weir.run()?;
    assert_eq!(version(&weir)?, "0.2.0");
    // Two files, not one for every change.
    assert_eq!(fs::read_dir(weir.folder().join("revisions"))?.count(), 2);
    Ok(())
}

#[test]
fn a_store_is_not_given_to_code_that_cannot_read_it() -> Result<()> {
    let mut weir = Weir::start()?;
    weir.json(&["plugin", "load", &guest("journal_layout")?])?;
    weir.json(&["call", "journal", "note"])?;
    weir.json(&["plugin", "unload", "journal"])?;
    let load = guest("journal")?;
    let refused = weir.failure(&["plugin", "load", &load])?;
    assert_eq!(refused.code, "data-version");
    says(&refused.message, &["reads stores of layout 1 to 1", "has layout 2, written by version 0.3.0"])?;
    assert_eq!(weir.failure(&["plugin", "load", &load, "--restore-store"])?.code, "no-copy");
    weir.terminate()?;
    weir.run()?;
    assert_eq!(weir.failure(&["plugin", "load", &load])?.code, "data-version");
    assert_eq!(weir.json(&["plugin", "load", &guest("journal_layout")?])?["plugin"]["data_version"], 2);
    Ok(())
}

#[test]
fn on_the_store_before_it_a_quarantined_plugin_is_tried_at_once() -> Result<()> {
    let mut weir = Weir::start()?;
    weir.json(&["plugin", "load", &guest("journal")?])?;
    weir.json(&["call", "journal", "note"])?;
    let layout = guest("journal_layout")?;
    weir.json(&["plugin", "upgrade", "journal", &layout])?;
    weir.json(&["call", "journal", "note"])?;
    poison(&weir, |plugin| plugin["state"] == "quarantined")?;
    weir.terminate()?;
    weir.run()?;
    let loaded = weir.json(&["plugin", "load", &layout, "--restore-store"])?;
    assert_eq!((&loaded["plugin"]["state"], &loaded["plugin"]["quarantine"]), (&json!("active"), &Value::Null));
    assert_eq!(weir.json(&["call", "journal", "stats"])?["note"], 1, "of the copy");
    weir.terminate()?;
    weir.run()?;
    assert_eq!(weir.json(&["plugin", "load", &layout])?["plugin"]["state"], "active", "it is over for good");
    Ok(())
}

#[test]
fn old_code_cannot_block_an_upgrade() -> Result<()> {
    let weir = Weir::start()?;
    let (loops, next) = (guest("loop_in_snapshot")?, guest("counter_v2")?);
    weir.json(&["plugin", "load", &loops])?;
    let since = Instant::now();
    let report = weir.json(&["plugin", "upgrade", "counter", &next])?;
    assert!(since.elapsed() < BOUNDED, "{:?}", since.elapsed());
    assert!(report["snapshot_skipped"].is_string() && report["snapshot_bytes"].is_null(), "{report}");
    assert_eq!(report["plugin"]["version"], "0.2.0");

    weir.json(&["plugin", "upgrade", "counter", &loops])?;
    let report = weir.json(&["plugin", "upgrade", "counter", &next, "--skip-snapshot"])?;
    assert_eq!(report["snapshot_skipped"], "the operator wanted none", "{report}");
    assert!(report["pause_us"].as_u64() < Some(1_000_000), "it was not asked: {report}");
    assert_eq!(report["plugin"]["last_crash"]["event"], "snapshot", "of the first time: {report}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_takes_the_new_size_of_messages() -> Result<()> {
    let (node, other) = (TestNode::start().await?, TestNode::start().await?);
    node.load("journal").await?;
    let (handler, _inbox) = native(8);
    let id: ProtocolId = "/journal/1".parse()?;
    let spec = ProtocolSpec { id: id.clone(), delivery: Delivery::Ordered, max_message: 1 << 20 };
    other.host.network().register(spec, "test", handler)?;
    node.connect(&other).await?;
    let network = other.host.network();
    let largest = async |most: u32| {
        let lane = || network.lane(&node.host.peer_id(), &id);
        until("the size is known", async || lane().is_ok_and(|lane| lane.max_message == most)).await
    };
    largest(1 << 16).await?;
    network.send(&node.host.peer_id(), &id, "before".into())?;
    until("it arrived", async || node.call("journal", "stats", json!({})).await.is_ok_and(|s| s["before"] == 1))
        .await?;
    let plugins = node.host.plugins();
    plugins.upgrade("journal", source("journal_next", PluginSettings::default())?).await?;
    largest(1 << 15).await?;
    network.send(&node.host.peer_id(), &id, "after".into())?;
    until("it arrived", async || node.call("journal", "stats", json!({})).await.is_ok_and(|s| s["after"] == 1)).await?;
    let report = plugins.rollback("journal", Rollback::default()).await?;
    assert_eq!(report.plugin.version, "0.1.0");
    largest(1 << 16).await
}

#[test]
fn files_are_trusted_by_signature_or_digest() -> Result<()> {
    let mut weir = Weir::init()?;
    let key = weir.folder().join("publisher.key").to_str().context("UTF-8")?.to_owned();
    let made = weir.json(&["plugin", "keygen", &key])?;
    let public = made["public_key"].as_str().context("a key")?.to_owned();
    let trusted = format!("[\"{public}\"]");
    weir.configure("plugins", &[("signatures", "\"require\""), ("trusted_keys", &trusted)])?;
    weir.run()?;
    let (path, file) = put(&weir, "journal.wasm", "journal")?;
    let refused = weir.failure(&["plugin", "load", &file])?;
    assert_eq!(refused.code, "unsigned");
    says(&refused.message, &["weir plugin sign", "journal.wasm"])?;

    let signed = weir.json(&["plugin", "sign", &file, "--key", &key])?;
    assert_eq!(signed["signer"], json!(public));
    let loaded = weir.json(&["plugin", "load", &file, "--save"])?;
    assert_eq!((&loaded["plugin"]["signer"], &loaded["plugin"]["digest"]), (&json!(public), &signed["digest"]));
    assert_eq!(loaded["plugin"]["store_owner"], json!(format!("signer {public}")));

    // The signature of one file says nothing about another, and a stranger's nothing at all.
    fs::copy(guest_path("journal_next")?, &path)?;
    assert_eq!(weir.failure(&["plugin", "upgrade", "journal", &file])?.code, "bad-signature");
    let other = weir.folder().join("other.key").to_str().context("UTF-8")?.to_owned();
    weir.json(&["plugin", "keygen", &other])?;
    weir.json(&["plugin", "sign", &file, "--key", &other])?;
    assert_eq!(weir.failure(&["plugin", "upgrade", "journal", &file])?.code, "untrusted-signer");
    fs::write(weir.folder().join("journal.wasm.sig"), "nonsense \u{fffd}\n")?;
    assert_eq!(weir.failure(&["plugin", "upgrade", "journal", &file])?.code, "bad-signature");
    assert_eq!(version(&weir)?, "0.1.0");
    weir.json(&["plugin", "sign", &file, "--key", &key])?;
    assert_eq!(weir.json(&["plugin", "upgrade", "journal", &file, "--save"])?["plugin"]["version"], "0.2.0");

    // What was saved was saved with its signature, and a rollback finds its own again.
    weir.terminate()?;
    weir.run()?;
    assert_eq!(version(&weir)?, "0.2.0");
    assert_eq!(weir.json(&["plugin", "rollback", "journal"])?["plugin"]["signer"], json!(public));
    weir.terminate()?;

    // A digest in the configuration is as good as a signature, and keeps everything else out.
    let toml = weir.folder().join("weir.toml");
    let digest = signed["digest"].as_str().context("a digest")?;
    let pinned = format!("{}\n[plugins.counter]\ndigest = \"{digest}\"\n", fs::read_to_string(&toml)?);
    fs::write(&toml, pinned)?;
    weir.run()?;
    let refused = weir.failure(&["plugin", "load", &guest("counter")?])?;
    assert_eq!(refused.code, "digest-mismatch");
    says(&refused.message, &[digest, "[plugins.counter] digest"])?;
    Ok(())
}

#[test]
fn a_store_belongs_to_whoever_signed_first() -> Result<()> {
    let mut weir = Weir::init()?;
    let key = weir.folder().join("publisher.key").to_str().context("UTF-8")?.to_owned();
    let public = weir.json(&["plugin", "keygen", &key])?["public_key"].as_str().context("a key")?.to_owned();
    weir.configure("plugins", &[("trusted_keys", &format!("[\"{public}\"]"))])?;
    weir.run()?;
    let (_, signed) = put(&weir, "signed.wasm", "journal")?;
    let (_, unsigned) = put(&weir, "unsigned.wasm", "journal_next")?;
    // Unsigned files share what lies under their name, until a signer comes.
    let loaded = weir.json(&["plugin", "load", &unsigned])?;
    assert_eq!(loaded["plugin"]["store_owner"], "anyone", "{loaded}");
    weir.json(&["call", "journal", "note"])?;
    weir.json(&["plugin", "sign", &signed, "--key", &key])?;
    let report = weir.json(&["plugin", "upgrade", "journal", &signed])?;
    assert_eq!(report["plugin"]["store_owner"], json!(format!("signer {public}")), "{report}");

    let refused = weir.failure(&["plugin", "upgrade", "journal", &unsigned])?;
    assert_eq!(refused.code, "foreign-store");
    says(&refused.message, &[&format!("belongs to signer {public}"), "--adopt"])?;
    weir.json(&["plugin", "unload", "journal"])?;
    assert_eq!(weir.failure(&["plugin", "load", &unsigned])?.code, "foreign-store");
    let loaded = weir.json(&["plugin", "load", &unsigned, "--adopt"])?;
    assert_eq!(loaded["plugin"]["store_owner"], "anyone", "{loaded}");
    assert_eq!(weir.json(&["call", "journal", "note"])?["note"], 2);
    Ok(())
}

#[test]
fn an_upgrade_widens_no_grant_by_itself() -> Result<()> {
    let weir = Weir::start()?;
    let (old, file) = put(&weir, "old.wasm", "asks_for_nothing")?;
    fs::write(old.with_extension("toml"), "grants = [\"call:bank\", \"sign\"]\n[config]\nkept = true\n")?;
    let loaded = weir.json(&["plugin", "load", &file])?;
    assert_eq!(loaded["plugin"]["grants"], json!([]), "nothing was asked for: {loaded}");
    // What the operator once offered does not count for code that he has not seen ask for it.
    let (new, file) = put(&weir, "new.wasm", "asks_for_grant")?;
    let refused = weir.failure(&["plugin", "upgrade", "asks-for-grant", &file])?;
    assert_eq!(refused.code, "missing-grant");
    fs::write(new.with_extension("toml"), "grants = [\"call:bank\"]\n")?;
    let report = weir.json(&["plugin", "upgrade", "asks-for-grant", &file])?;
    assert_eq!(report["plugin"]["grants"], json!(["call:bank"]));
    // What is in force is inherited.
    fs::remove_file(new.with_extension("toml"))?;
    let report = weir.json(&["plugin", "upgrade", "asks-for-grant", &file])?;
    assert_eq!(report["plugin"]["grants"], json!(["call:bank"]));
    Ok(())
}

#[test]
fn what_is_granted_and_not_asked_for_is_not_there() -> Result<()> {
    let weir = Weir::start()?;
    let (path, file) = put(&weir, "uses.wasm", "uses_ungranted")?;
    fs::write(
        path.with_extension("toml"),
        "grants = [\"sign\", \"call:ping\", \"protocol:/ping\", \"protocol:/room\"]\n",
    )?;
    let loaded = weir.json(&["plugin", "load", &file])?;
    assert_eq!(loaded["plugin"]["grants"], json!([]), "{loaded}");
    let stats = weir.json(&["call", "uses-ungranted", "stats"])?;
    assert_eq!((&stats["call-refused"], &stats["register-refused"]), (&json!(1), &json!(2)), "{stats}");
    Ok(())
}
