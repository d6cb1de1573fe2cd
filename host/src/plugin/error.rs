//! Why a plugin cannot be loaded, upgraded or operated, in a paragraph that says what to do.

use std::fmt::Display;

use super::crash::CrashReport;

/// A failure an operator or author can act on. The text names the thing, the limit and the fix.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PluginError {
    /// Not WebAssembly at all: a text file, or something else.
    #[error(
        "{file} is no WebAssembly: {found}. A plugin is the .wasm file that `cargo build --release --target \
             wasm32-unknown-unknown` makes; give that file instead"
    )]
    NotWasm {
        /// The file as it was named.
        file: String,
        /// What it begins with.
        found: String,
    },
    /// It starts like WebAssembly and is cut off or damaged.
    #[error("{file} is damaged or cut off: {reason}. Copy or build it again and compare the sizes")]
    Malformed {
        /// The file as it was named.
        file: String,
        /// What the parser or the compiler says.
        reason: String,
    },
    /// A component or module that is no plugin.
    #[error(
        "{file} is {found}, not a Weir plugin: it exports no `weir:plugin/handler`. Build it against the world \
             `plugin` of weir:plugin@0.1 (with Rust: crate weir-sdk, `weir_sdk::export!`)"
    )]
    OtherWorld {
        /// The file as it was named.
        file: String,
        /// What it is instead.
        found: String,
    },
    /// Built for another version of the ABI.
    #[error(
        "{file} was built for weir:plugin@{found}; this node serves weir:plugin@{served}. Build it with an SDK \
             of version {served}, or run a node that serves {found}"
    )]
    OtherVersion {
        /// The file as it was named.
        file: String,
        /// The version the file names.
        found: String,
        /// The version the node serves.
        served: String,
    },
    /// Imports or exports that this node cannot link.
    #[error(
        "{file} needs what this node does not have: {reason}. A plugin may import only the interfaces of \
             weir:plugin@0.1, and of WASI 0.2 with the grant `wasi`; build it for target wasm32-unknown-unknown"
    )]
    Unlinkable {
        /// The file as it was named.
        file: String,
        /// The import or export in question.
        reason: String,
    },
    /// Above the limit of size.
    #[error("{file} has {size} bytes; a plugin may have {limit}. Strip it (`strip = true` in the release profile)")]
    TooLarge {
        /// The file as it was named.
        file: String,
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// It is compiled code, of this engine or of another one.
    #[error(
        "{file} is compiled code. A node compiles plugins itself and never runs code that somebody else compiled, \
             because nobody can look at what it does: give the .wasm file that it was made from"
    )]
    Precompiled {
        /// The file as it was named.
        file: String,
    },
    /// Made so that compiling it would take too much, whatever its size.
    #[error("{file} has {found} {what}; a plugin may have {limit}. Split what it does into smaller pieces")]
    TooComplex {
        /// The file as it was named.
        file: String,
        /// What there is too much of.
        what: &'static str,
        /// How much was found, or counted before the rest was looked at.
        found: u64,
        /// How much there may be.
        limit: u64,
    },
    /// Compiling it took more than it may.
    #[error("compiling {file} needs more than {limit}; raise {key} in weir.toml if it is meant to be that large")]
    CompileLimit {
        /// The file as it was named.
        file: String,
        /// The limit, with its unit.
        limit: String,
        /// The key that sets it.
        key: &'static str,
    },
    /// `describe` failed or its manifest breaks a rule.
    #[error("the manifest of {file} is refused: {reason}")]
    Manifest {
        /// The file as it was named.
        file: String,
        /// The rule and the fix.
        reason: String,
    },
    /// Asked for capabilities that were not granted.
    #[error(
        "plugin {plugin} asks for {}; grant it with [plugins.{}] grants = [{}] in weir.toml and start the node again, \
             or with grants = [{}] in {settings}.toml beside the file",
        quoted(missing, " and "),
        key(settings),
        quoted(all, ", "),
        quoted(all, ", ")
    )]
    MissingGrant {
        /// The plugin.
        plugin: String,
        /// The name under which its settings are looked for: the file's, which need not be the plugin's.
        settings: String,
        /// What is not granted.
        missing: Vec<String>,
        /// All it asks for: what the line must say.
        all: Vec<String>,
    },
    /// With what it may use, the node could need more memory than it may.
    #[error("plugin {plugin} is not loaded with these budgets: {reason}")]
    OverMemoryLimit {
        /// The plugin.
        plugin: String,
        /// How much, of what, and what to change.
        reason: String,
    },
    /// A plugin of this name runs.
    #[error(
        "a plugin named {plugin} is loaded already; use `weir plugin upgrade {plugin} FILE` to replace it, or \
             `weir plugin unload {plugin}` first"
    )]
    NameTaken {
        /// The name.
        plugin: String,
    },
    /// An upgrade with a file of another plugin.
    #[error(
        "the file is plugin {found}, not {expected}; an upgrade keeps the name. Load it beside with \
             `weir plugin load`"
    )]
    NameMismatch {
        /// The plugin to upgrade.
        expected: String,
        /// What the file calls itself.
        found: String,
    },
    /// A protocol of it cannot be registered.
    #[error("plugin {plugin} cannot be registered: {reason}")]
    Protocol {
        /// The plugin.
        plugin: String,
        /// Which protocol, and why.
        reason: String,
    },
    /// The new revision cannot read what the old one wrote, or says so.
    #[error(
        "plugin {plugin} {version} reads stores of layout {reads_from} to {data_version}; the running revision \
             writes layout {running}. Upgrade to a revision whose reads-data-from is at most {running} and whose \
             data-version is at least {running}"
    )]
    DataVersion {
        /// The plugin.
        plugin: String,
        /// The new version.
        version: String,
        /// The oldest layout the new one reads.
        reads_from: u32,
        /// The layout the new one writes.
        data_version: u32,
        /// The layout the running one writes.
        running: u32,
    },
    /// The store has a layout that this revision cannot run on.
    #[error(
        "plugin {plugin} {version} reads stores of layout {reads_from} to {data_version}; its store has layout \
             {layout}, written by version {writer}. Load a revision that reads it, bring back the copy of the store \
             that was made before the upgrade with `weir plugin rollback {plugin} --restore-store`, or with `weir \
             plugin load FILE --restore-store` when none is loaded"
    )]
    Layout {
        /// The plugin.
        plugin: String,
        /// The version that cannot run.
        version: String,
        /// The oldest layout it reads.
        reads_from: u32,
        /// The layout it writes.
        data_version: u32,
        /// The layout the store has.
        layout: u32,
        /// The version that wrote it.
        writer: String,
    },
    /// No revision is kept that could come back.
    #[error(
        "no revision of plugin {plugin} ran before the one that runs; `weir plugin upgrade {plugin} FILE` puts any other in its place"
    )]
    NoPrevious {
        /// The plugin.
        plugin: String,
    },
    /// There is no copy of the store to be brought back.
    #[error(
        "there is no copy of the store of plugin {plugin} that the revision before could read: one is made when an \
             upgrade writes a newer layout; otherwise roll back without --restore-store"
    )]
    NoCopy {
        /// The plugin.
        plugin: String,
    },
    /// The file of a revision that was to come back is not there any more.
    #[error(
        "revision {version} of plugin {plugin} cannot come back: {reason}; load its file with `weir plugin load` or `weir plugin upgrade`"
    )]
    Lost {
        /// The plugin.
        plugin: String,
        /// The version.
        version: String,
        /// What the system says.
        reason: String,
    },
    /// No signature, where one is required.
    #[error(
        "{file} is not signed, and plugins.signatures asks for a signature by one of plugins.trusted_keys: sign it with \
             `weir plugin sign FILE --key KEYFILE`, or pin it with [plugins.NAME] digest"
    )]
    Unsigned {
        /// The file as it was named.
        file: String,
    },
    /// Signed by a key that is not trusted.
    #[error(
        "{file} is signed by {signer}, which is not among plugins.trusted_keys: add the key there, or take a file by a trusted signer"
    )]
    UntrustedSigner {
        /// The file as it was named.
        file: String,
        /// The key.
        signer: String,
    },
    /// The signature says nothing about the file.
    #[error(
        "{file} is refused: {reason}. Sign it again with `weir plugin sign FILE --key KEYFILE`, or take the file and its .sig anew from where they came from"
    )]
    BadSignature {
        /// The file as it was named.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// Another content is pinned.
    #[error(
        "{file} has the digest {found}; [plugins.{}] digest in weir.toml pins {pinned}. Take the file that was pinned, or pin this one and start the node again",
        key(section)
    )]
    DigestMismatch {
        /// The file as it was named.
        file: String,
        /// The name under which it is pinned.
        section: String,
        /// What is pinned.
        pinned: String,
        /// What the file is.
        found: String,
    },
    /// The store under the plugin's name is another's.
    #[error(
        "the store of plugin {plugin} belongs to {owner}, and this file comes from {found}. If it is to have the store \
             all the same, say --adopt; otherwise give it another name"
    )]
    ForeignStore {
        /// The plugin.
        plugin: String,
        /// Whose the store is.
        owner: String,
        /// Who the file would be.
        found: String,
    },
    /// `start` failed: an error it returned, a trap, or no end in time.
    #[error("plugin {} did not start: {report}", report.plugin)]
    Start {
        /// What happened.
        report: Box<CrashReport>,
    },
    /// The durable store refused.
    #[error("the store of plugin {plugin} failed: {reason}")]
    Store {
        /// The plugin.
        plugin: String,
        /// What the store says.
        reason: String,
    },
    /// No dead letter of that id.
    #[error("plugin {plugin} has no dead letter {id}; `weir plugin dead-letters {plugin}` shows those that there are")]
    UnknownLetter {
        /// The plugin.
        plugin: String,
        /// The id.
        id: u64,
    },
    /// A dead letter cannot be tried now.
    #[error("dead letter {id} of plugin {plugin} was not tried again: {reason}")]
    NotRetried {
        /// The plugin.
        plugin: String,
        /// The id.
        id: u64,
        /// Why, and what to do.
        reason: String,
    },
    /// A dead letter failed again.
    #[error("dead letter {id} failed again and stays: {report}")]
    RetryFailed {
        /// The id.
        id: u64,
        /// What happened.
        report: Box<CrashReport>,
    },
    /// There is no quarantine to lift.
    #[error("plugin {plugin} is not quarantined; `weir plugin list` shows what it is doing")]
    NotQuarantined {
        /// The plugin.
        plugin: String,
    },
    /// No plugin of that name.
    #[error("no plugin named {plugin} is loaded; `weir plugin list` shows what is")]
    Unknown {
        /// The name.
        plugin: String,
    },
    /// The runtime itself could not be set up, or the node is stopping.
    #[error("the plugin runtime is not available: {reason}")]
    Runtime {
        /// Why.
        reason: String,
    },
}

impl PluginError {
    /// The stable name of the case, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotWasm { .. } => "not-wasm",
            Self::Malformed { .. } => "malformed",
            Self::OtherWorld { .. } => "other-world",
            Self::OtherVersion { .. } => "other-abi-version",
            Self::Unlinkable { .. } => "unlinkable",
            Self::TooLarge { .. } => "file-too-large",
            Self::Precompiled { .. } => "compiled-code",
            Self::TooComplex { .. } => "too-complex",
            Self::CompileLimit { .. } => "compile-limit",
            Self::Manifest { .. } => "bad-manifest",
            Self::MissingGrant { .. } => "missing-grant",
            Self::OverMemoryLimit { .. } => "over-memory-limit",
            Self::NameTaken { .. } => "name-taken",
            Self::NameMismatch { .. } => "name-mismatch",
            Self::Protocol { .. } => "protocol-refused",
            Self::DataVersion { .. } => "data-version",
            Self::Layout { .. } => "data-version",
            Self::NoPrevious { .. } => "no-previous",
            Self::NoCopy { .. } => "no-copy",
            Self::Lost { .. } => "revision-lost",
            Self::Unsigned { .. } => "unsigned",
            Self::UntrustedSigner { .. } => "untrusted-signer",
            Self::BadSignature { .. } => "bad-signature",
            Self::DigestMismatch { .. } => "digest-mismatch",
            Self::ForeignStore { .. } => "foreign-store",
            Self::Start { .. } => "start-failed",
            Self::Store { .. } => "store-failed",
            Self::UnknownLetter { .. } => "unknown-dead-letter",
            Self::NotRetried { .. } => "not-retried",
            Self::RetryFailed { .. } => "retry-failed",
            Self::NotQuarantined { .. } => "not-quarantined",
            Self::Unknown { .. } => "unknown-plugin",
            Self::Runtime { .. } => "runtime-unavailable",
        }
    }

    /// The crash behind it, in parts.
    pub fn report(&self) -> Option<&CrashReport> {
        match self {
            Self::Start { report } | Self::RetryFailed { report, .. } => Some(report),
            _ => None,
        }
    }
}

/// The store refused what was asked of it for a plugin.
pub(super) fn store_failed<E: Display>(plugin: &str) -> impl Fn(E) -> PluginError {
    move |error| PluginError::Store { plugin: plugin.to_owned(), reason: error.to_string() }
}

/// `"a" and "b"`.
pub(super) fn quoted(names: &[String], between: &str) -> String {
    names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(between)
}

/// A key as TOML wants it: bare where that is allowed.
pub(super) fn key(name: &str) -> String {
    let bare = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if !name.is_empty() && name.bytes().all(bare) { name.to_owned() } else { format!("{name:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_grant_prints_the_line_to_add() {
        let (missing, all) = (vec!["call:bank".to_owned()], vec!["call:bank".to_owned()]);
        let error = PluginError::MissingGrant {
            plugin: "staking".to_owned(),
            settings: "staking-0.1".to_owned(),
            missing,
            all,
        };
        let text = error.to_string();
        let start =
            "plugin staking asks for \"call:bank\"; grant it with [plugins.\"staking-0.1\"] grants = [\"call:bank\"]";
        assert!(text.starts_with(start), "{text}");
        assert!(text.contains("in staking-0.1.toml beside the file"), "{text}");
    }
}
