//! Holds docs/liquid.md and the tests that it names together.

use std::fs;
use std::path::{Path, PathBuf};

/// The Rust file of this path, or every one below this folder.
pub(crate) fn sources(path: &Path, out: &mut Vec<PathBuf>) {
    if path.is_dir() {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries.for_each(|entry| sources(&entry.path(), out));
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        out.push(path.to_owned());
    }
}

/// Where a test named on the page may be: anywhere in the layer of its file.
fn layer(root: &Path, file: &str) -> PathBuf {
    match file.split_once('/') {
        Some((package @ ("tests" | "sim"), _)) => root.join(package),
        Some((layer, _)) => root.join("host/src").join(layer),
        None => root.join("host/src"),
    }
}

#[test]
fn every_test_that_the_page_on_liquid_names_exists() {
    // Asked when it runs: where checkouts share a target folder, this may have been built in another.
    let own = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let root = Path::new(&own).parent().expect("the workspace");
    let page = fs::read_to_string(root.join("docs/liquid.md")).expect("the page");
    let named = page.split('`').filter_map(|word| word.split_once(".rs::"));
    let mut missing = Vec::new();
    for (file, test) in named.clone().filter(|(_, test)| !test.contains(' ')) {
        let mut files = Vec::new();
        sources(&layer(root, file), &mut files);
        let needle = format!("fn {test}(");
        let holds = |path: &PathBuf| fs::read_to_string(path).is_ok_and(|text| text.contains(&needle));
        if !files.iter().any(holds) {
            missing.push(format!("{file}.rs::{test}"));
        }
    }
    assert!(named.count() > 40, "the page has lost its tests");
    assert!(missing.is_empty(), "docs/liquid.md names tests that do not exist: {missing:#?}");
}
