//! Tests that need more than one crate: real nodes, real plugins, misbehaving peers.
