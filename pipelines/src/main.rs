//! The `lunapark` binary.

use std::ffi::c_long;
use std::process::ExitCode;

/// Messages are allocated by librdkafka's threads and freed by stream threads, and the other way round; mimalloc is made
/// for that, and takes the place of the C library's allocator for librdkafka, too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Milliseconds that freed pages wait before the system gets them back. With mimalloc's 10 the buffers of each fetch from
/// a broker were given back and faulted in afresh, a tenth of the CPU time per event.
const PURGE_DELAY: c_long = 1000;
/// `mi_option_purge_delay` of mimalloc 2 (`mi_option_e` in its `mimalloc.h`); the crate names only some.
const PURGE_DELAY_OPTION: libmimalloc_sys::mi_option_t = 15;

#[expect(unsafe_code, reason = "mimalloc's options are set by a C function")]
fn keep_freed_pages() {
    // SAFETY: the option exists in the version that is linked; its value may change at any time.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY_OPTION, PURGE_DELAY) }
}

fn main() -> ExitCode {
    keep_freed_pages();
    lunapark::cli::main()
}
