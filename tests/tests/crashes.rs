//! The real binary and a plugin that crashes: what an operator sees of it, and does about it.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weir_tests::node::guest_path;
use weir_tests::weir::Weir;

const NAME: &str = "poisonable";

fn guest() -> Result<String> {
    Ok(guest_path(NAME)?.to_str().context("UTF-8")?.to_owned())
}

fn state(list: &Value) -> &Value {
    &list["plugins"][0]["state"]
}

fn letters(weir: &Weir) -> Result<Vec<Value>> {
    let document = weir.json(&["plugin", "dead-letters", NAME])?;
    document["dead_letters"].as_array().cloned().context("a list")
}

fn shows(text: &str, parts: &[&str]) -> Result<()> {
    for part in parts {
        ensure!(text.contains(part), "`{part}` is not in: {text}");
    }
    Ok(())
}

#[test]
fn a_plugin_that_crashes_from_the_first_letter_to_safe_mode() -> Result<()> {
    let mut weir = Weir::start()?;
    weir.json(&["plugin", "load", &guest()?, "--save"])?;
    assert_eq!(weir.text(&["plugin", "dead-letters", NAME])?.trim(), "there are no dead letters");
    let failed = weir.json(&["call", NAME, "panic"]);
    ensure!(failed.is_err(), "it panics: {failed:?}");
    let all = letters(&weir)?;
    let letter = all.first().context("a letter")?;
    assert_eq!(
        (&letter["event"], &letter["command"], &letter["bytes"]),
        (&json!("command"), &json!("panic"), &json!(2))
    );
    assert_eq!(letter["caller"], json!({"operator": "local"}));
    let id = letter["id"].to_string();
    let whole = weir.json(&["plugin", "dead-letters", NAME, "show", &id])?;
    assert_eq!((&whole["body_hex"], &whole["sha256"]), (&json!("7b7d"), &letter["sha256"]));
    shows(&weir.text(&["plugin", "dead-letters", NAME])?, &["operator local: panic", "that was poison"])?;
    let place = ["that was poison", "poisonable.rs:", "next: ", "7b7d"];
    shows(&weir.text(&["plugin", "dead-letters", NAME, "show", &id])?, &place)?;
    let again = weir.failure(&["plugin", "dead-letters", NAME, "retry", &id])?;
    assert_eq!(again.code, "retry-failed");
    shows(&again.message, &["stays", "that was poison", "Next: "])?;
    assert_eq!(weir.failure(&["plugin", "dead-letters", NAME, "drop", "99"])?.code, "unknown-dead-letter");
    weir.json(&["plugin", "dead-letters", NAME, "drop", &id])?;
    assert_eq!(letters(&weir)?.len(), 0);
    assert_eq!(weir.failure(&["plugin", "lift", NAME])?.code, "not-quarantined");

    for _ in 0..4 {
        // The last of them may find it quarantined already.
        drop(weir.json(&["call", NAME, "panic"]));
    }
    let quarantined = weir.until("it is quarantined", &["plugin", "list"], |list| state(list) == "quarantined")?;
    let quarantine = &quarantined["plugins"][0]["quarantine"];
    assert_eq!(quarantine["times"], 1);
    assert!(quarantine["report"]["next_step"].as_str().is_some_and(|step| step.contains("weir plugin upgrade")));
    shows(&weir.text(&["plugin", "list"])?, &["quarantined", "weir plugin lift poisonable", "dead letters"])?;
    assert_eq!(weir.failure(&["call", NAME, "stats"])?.code, "plugin-quarantined");

    weir.terminate()?;
    weir.run()?;
    assert_eq!(state(&weir.json(&["plugin", "list"])?), "quarantined", "it survives the node");
    assert_eq!(letters(&weir)?.len(), 4);
    assert_eq!(weir.json(&["plugin", "lift", NAME])?["plugin"]["state"], "active");
    weir.json(&["call", NAME, "mend"])?;
    weir.json(&["call", NAME, "panic"])?;
    assert_eq!(weir.json(&["plugin", "muted", NAME])?, json!({"muted": []}));
    let unmuted = weir.json(&["plugin", "unmute", NAME, &weir.peer_id])?;
    assert_eq!(unmuted["unmuted"], 0);

    weir.terminate()?;
    weir.run_with(&["--safe-mode"])?;
    let list = weir.json(&["plugin", "list"])?;
    assert_eq!((&list["plugins"], &list["safe_mode"]), (&json!([]), &json!(true)));
    assert_eq!(weir.json(&["status"])?["safe_mode"], true);
    shows(&weir.text(&["plugin", "list"])?, &["safe mode"])?;
    weir.json(&["plugin", "load", &guest()?])?;
    assert_eq!(state(&weir.json(&["plugin", "list"])?), "active");
    Ok(())
}
