//! The `lunapark` binary.

use std::process::ExitCode;

/// Messages are allocated by librdkafka's threads and freed by stream threads, and the other way round; mimalloc is made
/// for that, and takes the place of the C library's allocator for librdkafka, too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    lunapark::cli::main()
}
