//! Holds the layers to what ARCHITECTURE.md says of them: they import downward only, and decide in pure states.

use std::fs;
use std::path::{Path, PathBuf};

/// From the bottom up. A layer may name those above it in this list, and itself; `supervisor` and `plugin` do not know
/// each other.
const LAYERS: [(&str, &[&str]); 13] = [
    ("wire", &["peer", "identity"]),
    ("transport", &["wire", "peer", "identity", "runtime", "reached"]),
    ("connection", &["transport", "wire", "peer", "identity", "runtime", "reached"]),
    ("stream", &["connection", "transport", "wire", "peer", "level", "reached"]),
    ("protocol", &["stream", "connection", "transport", "wire", "peer", "level", "reached"]),
    ("supervisor", &["protocol", "stream", "connection", "transport", "wire", "peer", "runtime"]),
    ("plugin", &["protocol", "stream", "connection", "transport", "wire", "peer", "runtime", "hex"]),
    (
        "limits.rs",
        &["config", "plugin", "supervisor", "protocol", "stream", "connection", "transport", "wire", "peer", "reached"],
    ),
    ("host", OF_HOST),
    ("host.rs", OF_HOST),
    ("node", OF_NODE),
    ("admin", OF_ADMIN),
    ("cli", OF_CLI),
];

/// What the wiring of the layers may name: all of them, and what is above none of them.
const OF_HOST: &[&str] = &[
    "plugin",
    "supervisor",
    "protocol",
    "stream",
    "connection",
    "transport",
    "wire",
    "peer",
    "identity",
    "runtime",
    "config",
    "limits",
    "metrics",
    "folder",
    "hex",
];

/// A host with its folder.
const OF_NODE: &[&str] = &[
    "host",
    "folder",
    "admin",
    "plugin",
    "supervisor",
    "protocol",
    "transport",
    "peer",
    "identity",
    "runtime",
    "config",
];

/// The admin API speaks of what people ask about, and of no connection, stream or packet.
const OF_ADMIN: &[&str] = &[
    "node",
    "host",
    "folder",
    "plugin",
    "supervisor",
    "protocol",
    "transport",
    "peer",
    "config",
    "limits",
    "metrics",
    "hex",
];

/// The command line speaks to a node over the admin API, and to `admin` and `node` themselves for `weir run`.
const OF_CLI: &[&str] = &[
    "admin",
    "node",
    "host",
    "folder",
    "config",
    "identity",
    "peer",
    "plugin",
    "protocol",
    "runtime",
    "telemetry",
    "transport",
];

/// What a pure state does not do.
const IMPURE: [&str; 9] = [
    ".await",
    "async fn",
    "spawn(",
    "Instant::now",
    "SystemTime",
    "std::fs",
    "std::net::Udp",
    "thread_rng",
    "getrandom",
];

/// Sources of the node below a path, without its tests.
fn sources(path: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    crate::docs_tests::sources(path, &mut files);
    let endings = ["tests", "tests.rs", "testing.rs", "_sim.rs", "_crowd.rs"];
    let of_tests = |part: &str| endings.iter().any(|ending| part.ends_with(ending));
    let below = |file: &Path| file.strip_prefix(root()).unwrap_or(file).to_owned();
    files.retain(|file| !below(file).iter().any(|part| of_tests(&part.to_string_lossy())));
    files
}

/// The lines of a file above its tests, without comments.
fn code(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).expect("a source file");
    let above = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    above.lines().map(|line| line.split("//").next().unwrap_or_default().to_owned()).collect()
}

fn root() -> PathBuf {
    Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("src")
}

#[test]
fn layers_import_downward_only() {
    let mut upward = Vec::new();
    for (layer, allowed) in LAYERS {
        let files = sources(&root().join(layer));
        assert!(!files.is_empty(), "{layer} has sources");
        for file in files {
            for line in code(&file) {
                for named in line.split("crate::").skip(1) {
                    let module: String = named.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
                    if !module.is_empty() && module != layer && !allowed.contains(&module.as_str()) {
                        upward.push(format!("{}: {}", file.display(), line.trim()));
                    }
                }
            }
        }
    }
    assert!(upward.is_empty(), "imports that do not point downward:\n{}", upward.join("\n"));
}

#[test]
fn every_network_layer_decides_in_a_pure_state() {
    let states = [
        "connection/state.rs",
        "connection/admission.rs",
        "connection/places.rs",
        "connection/closing.rs",
        "connection/dialing.rs",
        "connection/refusal.rs",
        "transport/door.rs",
        "transport/access.rs",
        "stream/pool/state.rs",
        "stream/pool_manager/state.rs",
        "stream/pool_manager/spare.rs",
        "stream/receive/counts.rs",
        "stream/lane/state.rs",
        "stream/receive/state.rs",
        "protocol/state.rs",
        "protocol/exchange/state.rs",
        "supervisor/state.rs",
        "plugin/poison/state.rs",
        "plugin/poison/muting.rs",
        "plugin/poison/pace.rs",
        "plugin/supervision/state.rs",
        "plugin/calls/state.rs",
        "supervisor/errands.rs",
    ];
    states.into_iter().for_each(is_pure);
}

#[test]
fn the_life_of_plugins_is_decided_in_pure_states() {
    let states = [
        "plugin/lifecycle/state.rs",
        "plugin/lifecycle/probation.rs",
        "plugin/lifecycle/succession.rs",
        "plugin/trust/owner.rs",
        "plugin/trust/policy.rs",
        "node/dropin/state.rs",
    ];
    states.into_iter().for_each(is_pure);
}

fn is_pure(state: &str) {
    for line in code(&root().join(state)) {
        let impure = IMPURE.iter().find(|word| line.contains(**word));
        assert!(impure.is_none(), "{state} is not pure: `{}`", line.trim());
    }
}

#[test]
fn only_the_transport_names_quic_and_only_plugins_name_wasm() {
    for (library, owner) in [("s2n_quic", "transport"), ("wasmtime", "plugin")] {
        for file in sources(&root()).iter().filter(|file| !file.starts_with(root().join(owner))) {
            let named = code(file).into_iter().find(|line| line.contains(&format!("{library}::")));
            assert!(named.is_none(), "{} names {library}: {named:?}", file.display());
        }
    }
}
