//! The binary `weir-wallet`: see [`weir_wallet::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    weir_wallet::cli::main()
}
