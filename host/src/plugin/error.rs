//! Why a plugin cannot be loaded, upgraded or called, in a paragraph that says what to do.

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
}

impl PluginError {
    /// What an operator or author does next, in one sentence.
    pub fn next_step(&self) -> String {
        match self {
            Self::NotWasm { .. } | Self::OtherWorld { .. } => {
                "give the .wasm file that the build of a plugin made".into()
            }
            Self::Malformed { .. } => "copy or build the file again and compare the sizes".into(),
            Self::OtherVersion { served, .. } => format!("build it with an SDK of version {served}"),
            Self::Unlinkable { .. } => "build it without WASI, for target wasm32-unknown-unknown".into(),
            Self::TooLarge { .. } => "strip it: `strip = true` in the release profile".into(),
            Self::Precompiled { .. } => "give the .wasm file it was compiled from".into(),
            Self::TooComplex { .. } => "split what the plugin does, or leave out what it does not use".into(),
            Self::CompileLimit { .. } => {
                "give it a higher limit in [plugins] of weir.toml if you trust the file".into()
            }
            Self::OverMemoryLimit { .. } => "lower its budgets or raise limits.memory_limit in weir.toml".into(),
            Self::Manifest { .. } => "mend the manifest in the plugin's source and build it again".into(),
            Self::MissingGrant { settings, all, .. } => {
                format!("add grants = [{}] to [plugins.{}] in weir.toml", quoted(all, ", "), key(settings))
            }
            Self::NameTaken { plugin } => format!("run `weir plugin upgrade {plugin} FILE`"),
            Self::NameMismatch { .. } => "run `weir plugin load FILE`".into(),
            Self::Protocol { .. } => "unload the handler that has the protocol".into(),
            Self::DataVersion { running, .. } => format!("upgrade to a revision that reads layout {running}"),
            Self::Start { report } | Self::RetryFailed { report, .. } => report.next_step.clone(),
            Self::Store { .. } => "look at the node's disk and its log, then restart the node".into(),
            Self::UnknownLetter { plugin, .. } => format!("run `weir plugin dead-letters {plugin}`"),
            Self::NotRetried { plugin, id, .. } => {
                format!("run `weir plugin dead-letters {plugin} retry {id}` when that has changed")
            }
            Self::NotQuarantined { .. } | Self::Unknown { .. } => "run `weir plugin list`".into(),
            Self::Runtime { .. } => "start the node again".into(),
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

/// `"a" and "b"`.
fn quoted(names: &[String], between: &str) -> String {
    names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(between)
}

/// A key as TOML wants it: bare where that is allowed.
fn key(name: &str) -> String {
    let bare = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if !name.is_empty() && name.bytes().all(bare) { name.to_owned() } else { format!("{name:?}") }
}

/// Why a command was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No plugin of that name.
    #[error("no plugin named {0} is loaded; `weir plugin list` shows what is")]
    UnknownPlugin(String),
    /// No answer within the time the caller gave.
    #[error("no answer in time")]
    TimedOut,
    /// The plugin has too many commands waiting.
    #[error("the plugin has too many commands waiting; try again")]
    Busy,
    /// The plugin was restarted, upgraded without its memory, or unloaded before it answered.
    #[error("the plugin was restarted or unloaded before it answered; try again")]
    Gone,
    /// The plugin answered with a failure.
    #[error("{} ({})", .0.message, .0.code)]
    Failed(crate::wire::Failure),
}

impl CallError {
    /// The stable name of the case, for programs; for [`CallError::Failed`] the plugin's own code.
    pub fn code(&self) -> &str {
        match self {
            Self::UnknownPlugin(_) => "unknown-plugin",
            Self::TimedOut => "timed-out",
            Self::Busy => "busy",
            Self::Gone => "gone",
            Self::Failed(failure) => &failure.code,
        }
    }
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
