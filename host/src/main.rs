//! The `weir` binary.

fn main() -> std::process::ExitCode {
    weir_host::cli::main()
}
