//! Plugins that misbehave, one each, for the tests.
