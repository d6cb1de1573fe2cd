//! Grants, budgets and configuration of one plugin, from `NAME.toml` beside its file and from `[plugins.NAME]`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{BudgetKeys, BudgetProblem, ConfigError, keys};
use crate::plugin::PluginSettings;
use crate::plugin::store::Durability;

/// What the operator says about one plugin; nothing said is told apart from something empty said.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PluginOverrides {
    /// Capabilities it is granted beyond the default ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grants: Option<Vec<String>>,
    /// When what it sends may leave: at once, or when what it wrote before is on the disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durability: Option<Durability>,
    /// What it may use. Any key that is not another one's; [`BudgetKeys::read`] says which there are.
    #[serde(flatten)]
    pub budgets: BudgetKeys,
    /// Handed to the plugin as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<serde_json::Value>,
}

impl PluginOverrides {
    /// Nothing was said.
    pub fn is_empty(&self) -> bool {
        self.grants.is_none() && self.durability.is_none() && self.config.is_none() && self.budgets.is_empty()
    }

    /// What `self` does not say is taken from `other`.
    #[must_use]
    pub fn or(self, other: &Self) -> Self {
        Self {
            grants: self.grants.or_else(|| other.grants.clone()),
            durability: self.durability.or(other.durability),
            config: self.config.or_else(|| other.config.clone()),
            budgets: self.budgets.or(&other.budgets),
        }
    }

    /// Reads a section of `source`, whose keys are called `prefix` and their name in errors.
    pub(super) fn of_table(table: toml::Table, source: &keys::Source<'_>, prefix: &str) -> Result<Self, ConfigError> {
        let overrides: Self = table.try_into().map_err(|error: toml::de::Error| {
            let section = prefix.trim_end_matches('.');
            source.wrong(section, error.message().trim())
        })?;
        match overrides.budgets.read() {
            Ok(_) => Ok(overrides),
            Err(BudgetProblem { key, problem }) => Err(source.wrong(&format!("{prefix}{key}"), problem)),
        }
    }
}

impl From<PluginOverrides> for PluginSettings {
    /// Budgets that cannot be were refused where they were read.
    fn from(overrides: PluginOverrides) -> Self {
        let config = overrides.config.unwrap_or_else(|| serde_json::Value::Object(serde_json::Map::new()));
        let (grants, durability) = (overrides.grants.unwrap_or_default(), overrides.durability);
        let budgets = overrides.budgets.read().unwrap_or_default();
        Self { config, grants, durability, budgets }
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
            PluginOverrides::of_table(source.read()?, &source, "").map(Some)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ConfigError::Read { file, source }),
    }
}
