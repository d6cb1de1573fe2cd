//! The store against a model, through crashes, and on a real file.
