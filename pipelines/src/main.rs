//! The `lunapark` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    lunapark::allocator::keep_freed_pages();
    lunapark::cli::main()
}
