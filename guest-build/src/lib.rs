//! Finds or makes the wasm toolchain and builds plugins with it.
