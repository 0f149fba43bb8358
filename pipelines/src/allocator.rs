//! The allocator of every program that is made with this crate: the service, its tests and its benches.
#![expect(unsafe_code, reason = "mimalloc's options are set by a C function")]

use std::ffi::c_long;

/// Messages are allocated by librdkafka's threads and freed by stream threads, and the other way round; mimalloc is made
/// for that, and takes the place of the C library's allocator for librdkafka, too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc 2 (`mi_option_e` in its `mimalloc.h`); the crate names only some.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
/// Milliseconds that freed pages wait before the system gets them back, where something is allocated then; whole segments
/// of them wait ten times as long. With mimalloc's 10 the buffers of each fetch from a broker were given back and faulted in
/// afresh, a tenth of the CPU time per event.
const DELAY: c_long = 1000;

/// Keeps freed memory for a moment, as one who reads from a broker needs it again at once; `MIMALLOC_PURGE_DELAY` has the
/// last word. For `main`, before it starts a thread.
pub fn keep_freed_pages() {
    // SAFETY: the option exists in the version that is linked; no other thread reads or sets options in that moment.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, DELAY) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The option goes by a number: another version of mimalloc may have another one there.
    #[test]
    fn the_option_is_the_one_whose_default_is_known() {
        // SAFETY: the option exists in the version that is linked; no test sets it.
        assert_eq!(unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) }, 10);
    }
}
