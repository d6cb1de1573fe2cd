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

/// The file that the page means: below `host/src/` unless it names another package.
fn file_of(root: &Path, file: &str) -> PathBuf {
    let package = matches!(file.split_once('/'), Some(("tests" | "sim", _)));
    (if package { root.to_owned() } else { root.join("host/src") }).join(format!("{file}.rs"))
}

/// Whether the text has a function of this name that is run as a test.
fn has_test(text: &str, test: &str) -> bool {
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let needle = format!("fn {test}(");
    let of_name = lines.iter().enumerate().filter(|(_, line)| line.contains(&needle));
    let is_test = |at: usize| {
        let head = lines[..at].iter().rev().take_while(|line| line.starts_with("#[") || line.starts_with("//"));
        head.into_iter().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
    };
    of_name.into_iter().any(|(at, _)| is_test(at))
}

#[test]
fn every_test_that_the_page_on_liquid_names_is_where_it_says() {
    // Asked when it runs: where checkouts share a target folder, this may have been built in another.
    let own = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let root = Path::new(&own).parent().expect("the workspace");
    let page = fs::read_to_string(root.join("docs/liquid.md")).expect("the page");
    let named = page.split('`').filter_map(|word| word.split_once(".rs::")).filter(|(_, test)| !test.contains(' '));
    let there =
        |(file, test): &(&str, &str)| fs::read_to_string(file_of(root, file)).is_ok_and(|text| has_test(&text, test));
    let missing: Vec<_> = named.clone().filter(|named| !there(named)).collect();
    assert!(named.count() > 120, "the page has lost its tests");
    assert!(missing.is_empty(), "docs/liquid.md names tests that are not there: {missing:#?}");
}

#[test]
fn a_function_that_is_no_test_is_none() {
    let text =
        "#[test]\n/// Why.\nfn one() {}\n\nfn two() {}\n#[tokio::test(start_paused = true)]\nasync fn three() {}";
    assert_eq!(["one", "two", "three", "four"].map(|name| has_test(text, name)), [true, false, true, false]);
}
