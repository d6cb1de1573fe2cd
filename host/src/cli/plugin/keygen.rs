//! `weir plugin keygen`: a key to sign plugin files with.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::identity::NodeKey;
use crate::runtime::Runtime;

#[derive(Debug, Args)]
pub(super) struct Keygen {
    /// Where to write it; readable by you alone
    #[arg(value_name = "KEYFILE")]
    file: PathBuf,
}

impl Keygen {
    pub(super) fn execute(self, output: &Output) -> Result<(), Failure> {
        let runtime = Runtime::system().map_err(|error| Failure::new("start-failed", error.to_string()))?;
        let key = NodeKey::create(&self.file, &*runtime.entropy)?;
        let document = json!({"key": self.file, "public_key": key.peer_id()});
        output.show(&document, |_| {
            format!(
                "wrote {}; nodes trust what it signs with\ntrusted_keys = [\"{}\"]\nin [plugins] of weir.toml",
                self.file.display(),
                key.peer_id()
            )
        });
        Ok(())
    }
}
