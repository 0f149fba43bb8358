//! The matrix unit of Intel's server CPUs since Sapphire Rapids.
#![expect(unsafe_code, reason = "AMX instructions, and calls into code compiled for AVX-512")]

use std::arch::asm;
use std::arch::x86_64::{__cpuid_count, __get_cpuid_max, _xgetbv};
use std::marker::PhantomData;
use std::sync::OnceLock;

use super::super::avx512::{Avx512, Sixteen};
use super::check::multiplies;
use super::{LINE, NoTiles, Palette, Tile, TileProduct, Tiles};

/// Proof that the machine has AMX tiles for bfloat16 and AVX-512 beside them, that this process may use them, and that
/// they multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Amx {
    vectors: Avx512,
}

impl Amx {
    /// Asks once per process: the permission is the process's, for all its threads.
    pub(crate) fn detect() -> Result<Self, NoTiles> {
        static FOUND: OnceLock<Result<Amx, NoTiles>> = OnceLock::new();
        *FOUND.get_or_init(Self::look)
    }

    fn look() -> Result<Self, NoTiles> {
        if !has_tiles() {
            return Err(NoTiles::Absent);
        }
        let vectors = Avx512::detect().filter(|set| set.has_bf16()).ok_or(NoTiles::Vectors)?;
        if !is_kept() || !is_permitted() {
            return Err(NoTiles::Refused);
        }
        let amx = Self { vectors };
        if multiplies(|product| amx.run(product)) { Ok(amx) } else { Err(NoTiles::Wrong) }
    }

    /// For what is not done on tiles.
    pub(crate) fn vectors(self) -> Avx512 {
        self.vectors
    }

    pub(super) fn run(self, product: TileProduct<'_>) {
        // SAFETY: `self` exists only where detection found AVX-512F with its bfloat16 instructions, and AMX.
        unsafe { run(product, &mut Held::new()) }
    }
}

#[target_feature(enable = "avx512f,avx512bf16")]
fn run(product: TileProduct<'_>, tiles: &mut Held) {
    product.run::<Sixteen<true>>(tiles);
}

/// AMX-TILE and AMX-BF16, with the one layout that there is so far: eight tiles of sixteen rows of 64 bytes.
fn has_tiles() -> bool {
    let (highest, _) = __get_cpuid_max(0);
    if highest < 0x1d {
        return false;
    }
    let (features, palette) = (__cpuid_count(7, 0).edx, __cpuid_count(0x1d, 1));
    let has = |bit: u32| features >> bit & 1 == 1;
    let layout = (palette.eax >> 16, palette.ebx & 0xffff, palette.ebx >> 16, palette.ecx & 0xffff);
    has(22) && has(24) && layout == (1024, 64, 8, 16)
}

/// Whether the system keeps the tiles and their shapes when it takes a thread from its core.
fn is_kept() -> bool {
    const TILES: u64 = 1 << 17 | 1 << 18;
    // SAFETY: the test before it says that the instruction is there.
    is_x86_feature_detected!("xsave") && unsafe { _xgetbv(0) } & TILES == TILES
}

/// Asks Linux for the permission: its threads get room for the 8 KiB of tiles when they first use them.
#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    const ARCH_PRCTL: isize = 158;
    const REQUEST_PERMISSION: usize = 0x1023;
    const TILE_DATA: usize = 18;
    let answer: isize;
    // SAFETY: a call of the system that takes two numbers; it changes the registers that are named, and no memory.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => answer,
            in("rdi") REQUEST_PERMISSION,
            in("rsi") TILE_DATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    answer == 0
}

#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}

/// This thread's unit, until it is dropped: a thread whose tiles are released has nothing more for the system to keep.
///
/// Compiled code never touches tiles, so they stay as they are from one instruction to the next.
pub(super) struct Held(PhantomData<*const ()>);

impl Held {
    /// # Safety
    ///
    /// The machine has AMX, and the process may use it; nothing else in the thread does meanwhile.
    pub(super) unsafe fn new() -> Self {
        Self(PhantomData)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // SAFETY: AMX as `new` demands.
        unsafe { asm!("tilerelease", options(nostack, preserves_flags)) };
    }
}

impl Tiles for Held {
    #[inline(always)]
    fn shape(&mut self, palette: &Palette) {
        // SAFETY: AMX as `new` demands; 64 bytes are read.
        unsafe { asm!("ldtilecfg [{from}]", from = in(reg) palette, options(nostack, readonly, preserves_flags)) };
    }
    #[inline(always)]
    fn zero<const TILE: usize>(&mut self) {
        // SAFETY: AMX as `new` demands.
        unsafe { asm!("tilezero tmm{tile}", tile = const TILE, options(nostack, nomem, preserves_flags)) };
    }
    #[inline(always)]
    fn load<const TILE: usize>(&mut self, from: &Tile) {
        // SAFETY: AMX as `new` demands; no shape has more than sixteen rows of 64 bytes, which are all there.
        unsafe {
            asm!(
                "tileloadd tmm{tile}, [{from} + {line}]",
                tile = const TILE,
                from = in(reg) from,
                line = in(reg) LINE,
                options(nostack, readonly, preserves_flags),
            );
        }
    }
    #[inline(always)]
    fn multiply<const SUMS: usize, const ROWS: usize, const COLUMNS: usize>(&mut self) {
        // SAFETY: AMX as `new` demands.
        unsafe {
            asm!(
                "tdpbf16ps tmm{sums}, tmm{rows}, tmm{columns}",
                sums = const SUMS,
                rows = const ROWS,
                columns = const COLUMNS,
                options(nostack, nomem, preserves_flags),
            );
        }
    }
    #[inline(always)]
    fn store<const TILE: usize>(&mut self, to: &mut Tile) {
        // SAFETY: AMX as `new` demands; no shape has more than sixteen rows of 64 bytes, which are all there.
        unsafe {
            asm!(
                "tilestored [{to} + {line}], tmm{tile}",
                tile = const TILE,
                to = in(reg) to,
                line = in(reg) LINE,
                options(nostack, preserves_flags),
            );
        }
    }
}
