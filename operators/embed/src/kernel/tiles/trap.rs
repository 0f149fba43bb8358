//! AMX instructions on a CPU without AMX: each of them ends in SIGILL, whose handler reads it as Intel's manual writes
//! it and does on the model what it asks for. So tests run the very instructions of `amx.rs` on any x86-64 Linux.
#![expect(unsafe_code, reason = "a signal handler that reads instructions, registers and memory of the code below it")]

use std::cell::RefCell;
use std::ffi::c_void;
use std::ptr::{self, with_exposed_provenance, with_exposed_provenance_mut};
use std::sync::Once;

use super::super::vector::LANES;
use super::Palette;
use super::soft::Soft;

thread_local! {
    /// The unit of this thread.
    static UNIT: RefCell<Soft> = const { RefCell::new(Soft::NEW) };
}

const SIGILL: i32 = 4;
const SA_SIGINFO: i32 = 4;

/// What `sigaction` takes.
#[repr(C)]
struct Action {
    handler: *const c_void,
    mask: [u64; 16],
    flags: i32,
    restorer: *const c_void,
}

/// The beginning of `ucontext_t`.
#[repr(C)]
struct Context {
    /// Flags, link and stack.
    before: [u64; 5],
    registers: [u64; 17],
}

/// Where `Context` has the sixteen registers, in the order of their numbers, and the address of the instruction.
const PLACES: [usize; 16] = [13, 14, 12, 11, 15, 10, 9, 8, 0, 1, 2, 3, 4, 5, 6, 7];
const ADDRESS: usize = 16;

unsafe extern "C" {
    fn sigaction(signal: i32, action: *const Action, before: *mut Action) -> i32;
}

/// From now on AMX instructions work in this process.
pub(super) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let handler: extern "C" fn(i32, *const c_void, *mut Context) = handle;
        let action =
            Action { handler: handler as *const c_void, mask: [0; 16], flags: SA_SIGINFO, restorer: ptr::null() };
        // SAFETY: the structure is that of the C library on x86-64 Linux, and the handler takes three arguments.
        assert_eq!(unsafe { sigaction(SIGILL, &action, ptr::null_mut()) }, 0);
    });
}

/// Whether this thread's unit has nothing that a system would have to keep.
pub(super) fn is_released() -> bool {
    UNIT.with_borrow(Soft::is_released)
}

extern "C" fn handle(_: i32, _: *const c_void, context: *mut Context) {
    // SAFETY: the system hands over the thread's registers, and the address of an instruction that was read.
    let (registers, code) = unsafe {
        let registers = &mut (*context).registers;
        let code = with_exposed_provenance::<[u8; 7]>(registers[ADDRESS] as usize);
        (registers, *code)
    };
    let length = UNIT.with_borrow_mut(|unit| Instruction::read(code).run(unit, registers));
    registers[ADDRESS] += length;
}

/// An instruction with the prefix of three bytes (VEX.128.0F38.W0).
struct Instruction {
    /// Prefix and code tell which one it is.
    prefix: u8,
    code: u8,
    /// Whether it has registers alone.
    direct: bool,
    reg: usize,
    rm: usize,
    /// The register of the prefix.
    third: usize,
    /// The address: a register, a number, and another register times a power of two.
    base: usize,
    offset: i8,
    index: usize,
    scale: u32,
    length: u64,
}

impl Instruction {
    fn read([first, second, third, code, modrm, sib, last]: [u8; 7]) -> Self {
        let (map, wide, long) = (second & 31, third >> 7, third >> 2 & 1);
        assert_eq!((first, map, wide, long), (0xc4, 2, 0, 0), "no AMX instruction");
        let (mode, reg, rm) = (modrm >> 6, modrm >> 3 & 7, modrm & 7);
        let number = |low: u8, inverted: u8| usize::from(low | (inverted & 1 ^ 1) << 3);
        let two = mode != 3 && rm == 4;
        let base = if two { sib & 7 } else { rm };
        assert!(mode == 3 || mode == 1 || mode == 0 && base != 5, "an address of another form");
        let offset = if mode == 1 { if two { last } else { sib } } else { 0 };
        Self {
            prefix: third & 3,
            code,
            direct: mode == 3,
            reg: usize::from(reg),
            rm: usize::from(rm),
            third: usize::from(!third >> 3 & 15),
            base: number(base, second >> 5),
            offset: offset as i8,
            index: number(sib >> 3 & 7, second >> 6),
            scale: u32::from(sib >> 6),
            length: 5 + u64::from(two) + u64::from(mode == 1),
        }
    }

    /// Does it, and returns its length.
    fn run(&self, unit: &mut Soft, registers: &[u64]) -> u64 {
        let register = |number: usize| registers[PLACES[number]] as usize;
        let base = register(self.base).wrapping_add_signed(isize::from(self.offset));
        match (self.prefix, self.code, self.direct) {
            (0, 0x49, true) => unit.release(),
            // SAFETY: the instruction reads its 64 bytes there.
            (0, 0x49, false) => unit.configure(unsafe { &*with_exposed_provenance::<Palette>(base) }),
            (3, 0x49, true) => unit.clear(self.reg),
            (2, 0x5c, true) => unit.add_products(self.reg, self.rm, self.third),
            (prefix @ (2 | 3), 0x4b, false) => {
                assert_eq!(self.rm, 4, "an address without a stride");
                self.move_tile(unit, prefix == 3, base, register(self.index) << self.scale);
            }
            other => panic!("no AMX instruction: {other:x?}"),
        }
        self.length
    }

    fn move_tile(&self, unit: &mut Soft, load: bool, base: usize, line: usize) {
        assert!(line >= 4 * LANES, "rows that overlap");
        let word = |row, at| with_exposed_provenance_mut::<u32>(base + row * line + 4 * at);
        // SAFETY: the instruction reads or writes these words.
        unsafe {
            match load {
                true => unit.read(self.reg, |row, at| word(row, at).read()),
                false => unit.write(self.reg, |row, at, number| word(row, at).write(number)),
            }
        }
    }
}
