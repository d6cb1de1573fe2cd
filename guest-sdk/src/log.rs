//! Lines for the host's log: macros that cost nothing, and a bridge for `tracing` behind its feature.

use std::fmt::Arguments;

pub use crate::abi::Level;
use crate::backend;

/// Writes one line. The macros [`crate::info!`] and its like call it with their module as the target.
pub fn write(level: Level, target: &str, message: Arguments<'_>) {
    match message.as_str() {
        Some(text) => backend::log::write(level, target, text),
        None => backend::log::write(level, target, &message.to_string()),
    }
}

/// Writes a line at trace level, formatted like `println!`.
#[macro_export]
macro_rules! trace {
    ($($line:tt)*) => { $crate::log::write($crate::log::Level::Trace, module_path!(), format_args!($($line)*)) };
}

/// Writes a line at debug level, formatted like `println!`.
#[macro_export]
macro_rules! debug {
    ($($line:tt)*) => { $crate::log::write($crate::log::Level::Debug, module_path!(), format_args!($($line)*)) };
}

/// Writes a line at info level, formatted like `println!`.
#[macro_export]
macro_rules! info {
    ($($line:tt)*) => { $crate::log::write($crate::log::Level::Info, module_path!(), format_args!($($line)*)) };
}

/// Writes a line at warn level, formatted like `println!`.
#[macro_export]
macro_rules! warn {
    ($($line:tt)*) => { $crate::log::write($crate::log::Level::Warn, module_path!(), format_args!($($line)*)) };
}

/// Writes a line at error level, formatted like `println!`.
#[macro_export]
macro_rules! error {
    ($($line:tt)*) => { $crate::log::write($crate::log::Level::Error, module_path!(), format_args!($($line)*)) };
}
