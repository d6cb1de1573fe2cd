//! `weir-sim`: runs scenarios with seeds and says which broke a rule, and how to see it again.

fn main() -> std::process::ExitCode {
    weir_sim::command::main()
}
