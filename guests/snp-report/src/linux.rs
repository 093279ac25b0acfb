// SPDX-License-Identifier: MIT OR Apache-2.0
//! The few system calls that the program makes, and where it starts.

use core::arch::{asm, naked_asm};
use core::ffi::CStr;

const READ: usize = 0;
const WRITE: usize = 1;
const OPEN: usize = 2;
const IOCTL: usize = 16;
const EXIT: usize = 60;

const O_RDONLY: usize = 0;
const O_RDWR: usize = 2;

/// An error number of Linux.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) u32);

/// An open file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct File(usize);

/// Standard input.
pub(crate) const STDIN: File = File(0);
/// Standard output.
pub(crate) const STDOUT: File = File(1);

/// # Safety
/// The arguments must be what the call `number` takes; pointers must lead to memory that lives and,
/// where the call writes, is this caller's alone.
unsafe fn call(number: usize, arguments: [usize; 3]) -> Result<usize, Errno> {
    let result: isize;
    // SAFETY: the caller vouches for the arguments; the instruction changes RAX, RCX and R11 only.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") arguments[0],
            in("rsi") arguments[1],
            in("rdx") arguments[2],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    match usize::try_from(result) {
        Ok(value) => Ok(value),
        Err(_) => Err(Errno(result.unsigned_abs() as u32)),
    }
}

impl File {
    /// Opens a file for reading and writing.
    pub(crate) fn open(path: &CStr) -> Result<Self, Errno> {
        // SAFETY: the path ends with a zero byte and is only read.
        unsafe { call(OPEN, [path.as_ptr() as usize, O_RDWR, 0]) }.map(Self)
    }

    /// Opens a file for reading.
    pub(crate) fn open_to_read(path: &CStr) -> Result<Self, Errno> {
        // SAFETY: the path ends with a zero byte and is only read.
        unsafe { call(OPEN, [path.as_ptr() as usize, O_RDONLY, 0]) }.map(Self)
    }

    /// Reads until `bytes` are full; says whether they are.
    pub(crate) fn read_all(self, bytes: &mut [u8]) -> Result<bool, Errno> {
        let mut filled = 0;
        while filled < bytes.len() {
            let rest = &mut bytes[filled..];
            // SAFETY: `rest` is ours, and its length goes with it.
            let count = unsafe { call(READ, [self.0, rest.as_mut_ptr() as usize, rest.len()]) }?;
            if count == 0 {
                return Ok(false);
            }
            filled += count;
        }
        Ok(true)
    }

    /// Writes all of `bytes`.
    pub(crate) fn write_all(self, mut bytes: &[u8]) -> Result<(), Errno> {
        while !bytes.is_empty() {
            // SAFETY: `bytes` is only read, and its length goes with it.
            let count = unsafe { call(WRITE, [self.0, bytes.as_ptr() as usize, bytes.len()]) }?;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// Makes the request `number` with `argument`.
    ///
    /// # Safety
    /// All memory that the driver reaches through `argument` must live, and be this caller's alone.
    pub(crate) unsafe fn ioctl<T>(self, number: u32, argument: &mut T) -> Result<(), Errno> {
        let address = core::ptr::from_mut(argument) as usize;
        // SAFETY: the caller vouches for what the argument leads to.
        unsafe { call(IOCTL, [self.0, number as usize, address]) }.map(|_| ())
    }
}

/// Ends the program.
pub(crate) fn exit(status: u8) -> ! {
    loop {
        // SAFETY: the call takes a number.
        let _ = unsafe { call(EXIT, [usize::from(status), 0, 0]) };
    }
}

/// Where Linux enters the program: the stack is aligned, and there is no return address on it.
#[unsafe(no_mangle)]
#[unsafe(naked)]
extern "C" fn _start() -> ! {
    naked_asm!("xor ebp, ebp", "call {main}", "ud2", main = sym main)
}

extern "sysv64" fn main() -> ! {
    match crate::report::run(STDIN, STDOUT) {
        Ok(()) => exit(0),
        Err(_) => exit(1),
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(101)
}
