//! The program.

use std::process::ExitCode;

fn main() -> ExitCode {
    snaptrade_sidecar::cli::main()
}
