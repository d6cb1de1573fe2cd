//! What a plugin keeps, taken out of one node and put into another: whole, refused where it would be wrong, and never
//! by half.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use weir_tests::node::guest_path;
use weir_tests::weir::Weir;

const NAME: &str = "keeper-relaxed";

fn load(weir: &Weir) -> Result<Value> {
    let guest = guest_path("keeper_relaxed")?;
    weir.json(&["plugin", "load", guest.to_str().context("a text")?])
}

/// One turn more: its number. What it rests on is on the disk.
fn turn(weir: &Weir) -> Result<u64> {
    weir.json(&["call", NAME, "add"])?[0].as_u64().context("a number")
}

#[test]
fn a_store_moves_from_one_node_to_another() -> Result<()> {
    let (one, two) = (Weir::start()?, Weir::start()?);
    load(&one)?;
    for expected in 2..=400 {
        ensure!(turn(&one)? == expected);
    }
    let file = one.folder().join("keeper.store");
    let file = file.to_str().context("a text")?;
    // While it runs, and between two turns.
    let exported = one.json(&["plugin", "store", "export", NAME, file])?;
    ensure!(exported["entries"] == 258, "256 turns and two more keys: {exported}");
    let bytes = exported["bytes"].as_u64().context("a size")?;

    let unknown = two.failure(&["plugin", "store", "export", NAME, file])?;
    ensure!(unknown.code == "unknown-store", "{unknown:?}");
    ensure!(std::fs::metadata(file)?.len() > bytes, "a failed export leaves the file as it was");
    let imported = two.json(&["plugin", "store", "import", NAME, file])?;
    ensure!(imported["entries"] == 258 && imported["bytes"] == bytes, "{imported}");
    load(&two)?;
    // The start found turn 400 whole, and was one itself.
    ensure!(turn(&two)? == 402);

    let loaded = two.failure(&["plugin", "store", "import", NAME, file, "--replace"])?;
    ensure!(
        loaded.code == "plugin-loaded" && loaded.message.contains("weir plugin unload keeper-relaxed"),
        "{loaded:?}"
    );
    ensure!(two.failure(&["plugin", "store", "purge", NAME])?.code == "plugin-loaded");
    two.json(&["plugin", "unload", NAME])?;
    let full = two.failure(&["plugin", "store", "import", NAME, file])?;
    ensure!(full.code == "store-not-empty" && full.message.contains("--replace"), "{full:?}");
    let other = two.failure(&["plugin", "store", "import", "other", file])?;
    ensure!(other.code == "other-plugin" && other.message.contains("--other"), "{other:?}");
    two.json(&["plugin", "store", "import", NAME, file, "--replace"])?;
    load(&two)?;
    ensure!(turn(&two)? == 402, "the export's turns, not the later ones");

    two.json(&["plugin", "unload", NAME])?;
    let purged = two.json(&["plugin", "store", "purge", NAME])?;
    ensure!(purged["bytes"].as_u64() > Some(1_000), "{purged}");
    ensure!(two.failure(&["plugin", "store", "purge", NAME])?.code == "unknown-store");
    load(&two)?;
    ensure!(turn(&two)? == 2, "it begins anew");
    Ok(())
}

/// Writes one note with a version of the journal that is loaded and unloaded again, and takes the store out.
fn exported(weir: &Weir, guest: &str, file: &str) -> Result<()> {
    weir.json(&["plugin", "load", guest_path(guest)?.to_str().context("a text")?])?;
    weir.json(&["call", "journal", "note"])?;
    weir.json(&["plugin", "unload", "journal"])?;
    weir.json(&["plugin", "store", "export", "journal", file])?;
    weir.json(&["plugin", "store", "purge", "journal"])?;
    Ok(())
}

#[test]
fn a_store_comes_back_in_the_layout_in_which_it_went() -> Result<()> {
    let weir = Weir::start()?;
    let (first, second) = (weir.folder().join("first.store"), weir.folder().join("second.store"));
    let (first, second) = (first.to_str().context("a text")?, second.to_str().context("a text")?);
    exported(&weir, "journal", first)?;
    exported(&weir, "journal_layout", second)?;
    let old = guest_path("journal")?;
    let load = ["plugin", "load", old.to_str().context("a text")?];
    weir.json(&["plugin", "store", "import", "journal", second])?;
    let refused = weir.failure(&load)?;
    ensure!(refused.code == "data-version" && refused.message.contains("has layout 2"), "{refused:?}");
    // The node knows the newer layout, and the file brings the older one.
    weir.json(&["plugin", "store", "import", "journal", first, "--replace"])?;
    weir.json(&load)?;
    ensure!(weir.json(&["call", "journal", "stats"])?["note"] == 1);
    Ok(())
}

#[test]
fn a_damaged_file_changes_nothing() -> Result<()> {
    let mut weir = Weir::start()?;
    load(&weir)?;
    for _ in 0..50 {
        turn(&weir)?;
    }
    let file = weir.folder().join("keeper.store");
    let path = file.to_str().context("a text")?.to_owned();
    weir.json(&["plugin", "store", "export", NAME, &path])?;
    let last = turn(&weir)?;
    weir.json(&["plugin", "unload", NAME])?;
    let whole = std::fs::read(&file)?;
    let import = ["plugin", "store", "import", NAME, path.as_str(), "--replace"];
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    let cases = [
        (whole[..whole.len() / 2].to_vec(), "store-file-damaged"),
        (whole[..whole.len() - 1].to_vec(), "store-file-damaged"),
        ([whole.clone(), b"x".to_vec()].concat(), "store-file-damaged"),
        (Vec::new(), "not-a-store-file"),
        (b"PK\x03\x04".repeat(1_000), "not-a-store-file"),
    ];
    for (content, code) in cases {
        std::fs::write(&file, content)?;
        let refused = weir.failure(&import)?;
        ensure!(refused.code == code, "{refused:?}");
    }
    std::fs::write(&file, flipped)?;
    // A length, a key's order or the checksum: something does not fit, whatever it was.
    weir.failure(&import)?;
    // Also after a restart: what was half laid down is gone.
    weir.terminate()?;
    weir.run()?;
    load(&weir)?;
    ensure!(turn(&weir)? == last + 2, "the store is as it was");
    Ok(())
}
