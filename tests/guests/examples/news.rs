//! `news` as a file: what `weir_tests::testnet` has natively.

#[path = "../../src/testnet/news.rs"]
mod news;

weir_sdk::export!(news::News);
