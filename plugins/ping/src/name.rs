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

/// The name stands in the file behind a mark; whoever writes another one there has another plugin.
#[cfg(feature = "renamable")]
mod written {
    const MARK: usize = 16;
    static NAME: [u8; 32] = *b"weir renamable: ping\0\0\0\0\0\0\0\0\0\0\0\0";

    pub fn plugin() -> String {
        // The compiler must not know what stands there.
        let name = &std::hint::black_box(&NAME)[MARK..];
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(name).into_owned()
    }

    pub fn protocol() -> String {
        format!("/{}/1.0.0", plugin())
    }
}
