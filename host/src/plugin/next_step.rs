//! What an operator or author does about a plugin's error, in one sentence.

use super::PluginError;
use super::error::{key, quoted};

impl PluginError {
    /// What an operator or author does next, in one sentence.
    pub fn next_step(&self) -> String {
        match self {
            Self::NotWasm { .. } | Self::OtherWorld { .. } => {
                "give the .wasm file that the build of a plugin made".into()
            }
            Self::Malformed { .. } => "copy or build the file again and compare the sizes".into(),
            Self::OtherVersion { served, .. } => format!("build it with an SDK of version {served}"),
            Self::Unlinkable { .. } => "build it for target wasm32-unknown-unknown, or with WASI 0.2 and no other interfaces, and grant it `wasi`".into(),
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
            Self::Layout { plugin, .. } => format!("run `weir plugin rollback {plugin} --restore-store`"),
            Self::NoPrevious { plugin } => format!("run `weir plugin upgrade {plugin} FILE`"),
            Self::NoCopy { plugin } => format!("run `weir plugin rollback {plugin}` without --restore-store"),
            Self::Lost { .. } => "load the file of that version again".into(),
            Self::Unsigned { .. } | Self::BadSignature { .. } => "run `weir plugin sign FILE --key KEYFILE`".into(),
            Self::UntrustedSigner { signer, .. } => format!("add \"{signer}\" to plugins.trusted_keys in weir.toml"),
            Self::DigestMismatch { section, found, .. } => {
                format!("take the pinned file, or set [plugins.{}] digest = \"{found}\" in weir.toml", key(section))
            }
            Self::ForeignStore { .. } => "say --adopt, or give the plugin another name".into(),
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
}
