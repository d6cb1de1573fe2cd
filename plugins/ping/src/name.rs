//! What the plugin and its protocol are called.

#[cfg(not(feature = "renamable"))]
pub use fixed::{plugin, protocol};
#[cfg(feature = "renamable")]
pub use written::{plugin, protocol};

#[cfg(not(feature = "renamable"))]
mod fixed {
    pub fn plugin() -> &'static str {
        "ping"
    }

    pub fn protocol() -> &'static str {
        crate::PROTOCOL_ID
    }
}

#[cfg(feature = "renamable")]
mod written {
    use weir_sdk::renamable::{self, Place};

    static NAME: Place = *b"weir renamable: ping\0\0\0\0\0\0\0\0\0\0\0\0";

    pub fn plugin() -> String {
        renamable::name(&NAME)
    }

    pub fn protocol() -> String {
        format!("/{}/1.0.0", plugin())
    }
}
