//! What a new instance is told: its configuration and what its predecessor left.

use serde::de::DeserializeOwned;

use crate::abi::Init;
use crate::{Error, Result, decode};

impl Init {
    /// The plugin's section of the configuration. An absent section reads as `{}`, so a struct with
    /// `#[serde(default)]` always gets a value.
    pub fn config<T: DeserializeOwned>(&self) -> Result<T> {
        let text = if self.config.trim().is_empty() { "{}" } else { &self.config };
        serde_json::from_str(text).map_err(|error| Error::new("bad-config", format!("the configuration: {error}")))
    }

    /// What the predecessor's `snapshot` returned, if it returned something: memory it would like to keep.
    pub fn snapshot(&self) -> Option<&[u8]> {
        self.predecessor.as_ref()?.snapshot.as_deref()
    }

    /// The predecessor's snapshot, decoded from postcard. None where there is none.
    pub fn restore<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        self.snapshot().map(decode).transpose()
    }

    /// Whether the operator granted this capability.
    pub fn is_granted(&self, capability: &str) -> bool {
        self.granted.iter().any(|granted| granted == capability)
    }
}
