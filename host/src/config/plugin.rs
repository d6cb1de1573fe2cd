//! Grants and configuration of one plugin, from `NAME.toml` beside its file and from `[plugins.NAME]`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{ConfigError, keys};
use crate::plugin::PluginSettings;
use crate::plugin::store::Durability;

/// What the operator says about one plugin; nothing said is told apart from something empty said.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginOverrides {
    /// Capabilities it is granted beyond the default ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grants: Option<Vec<String>>,
    /// When what it sends may leave: at once, or when what it wrote before is on the disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durability: Option<Durability>,
    /// Handed to the plugin as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<serde_json::Value>,
}

impl PluginOverrides {
    /// Nothing was said.
    pub fn is_empty(&self) -> bool {
        self.grants.is_none() && self.durability.is_none() && self.config.is_none()
    }

    /// What `self` does not say is taken from `other`.
    #[must_use]
    pub fn or(self, other: &Self) -> Self {
        Self {
            grants: self.grants.or_else(|| other.grants.clone()),
            durability: self.durability.or(other.durability),
            config: self.config.or_else(|| other.config.clone()),
        }
    }
}

impl From<PluginOverrides> for PluginSettings {
    fn from(overrides: PluginOverrides) -> Self {
        let config = overrides.config.unwrap_or_else(|| serde_json::Value::Object(serde_json::Map::new()));
        let (grants, durability) = (overrides.grants.unwrap_or_default(), overrides.durability);
        Self { config, grants, durability }
    }
}

/// The settings beside a plugin's file: `staking.toml` for `staking.wasm`. `None` when there is none.
///
/// # Errors
/// When the file is there and cannot be read or is wrong.
pub fn read_plugin_file(wasm: &Path) -> Result<Option<PluginOverrides>, ConfigError> {
    let file: PathBuf = wasm.with_extension("toml");
    match std::fs::read_to_string(&file) {
        Ok(text) => {
            let source = keys::Source::parse(&text, &file)?;
            source.refuse_unknown(&keys::PLUGIN)?;
            source.read().map(Some)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ConfigError::Read { file, source }),
    }
}
