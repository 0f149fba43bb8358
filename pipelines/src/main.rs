//! The `lunapark` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    lunapark::cli::main()
}
