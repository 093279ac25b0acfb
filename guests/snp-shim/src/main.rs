// SPDX-License-Identifier: MIT OR Apache-2.0
//! Validates a guest's memory at VMPL0 and enters it. `lib.rs` tells why.
//!
//! Entered in 64-bit mode with guest-physical memory mapped at its own addresses, private; RDI is the
//! list, RSI the guest's own. The one thing that can go wrong is a host that took a page
//! back, or that gave one twice: then the guest ends instead of starting.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod bare_metal {
    use core::arch::{asm, global_asm};

    use snp_defs::msr;
    use snp_defs::rmp::{RmpResult, RmpSize};
    use snp_shim::BootList;

    // 64-bit entry: keeps RSI for the guest over the call, clears what the guest does not get.
    global_asm!(
        ".section .boot, \"ax\"",
        ".global shim_start",
        "shim_start:",
        "cld",
        "push rsi",
        "sub rsp, 8",
        "call {validate_all}",
        "add rsp, 8",
        "pop rsi",
        "xor edi, edi",
        "xor ebx, ebx",
        "xor ecx, ecx",
        "xor edx, edx",
        "xor ebp, ebp",
        "jmp rax",
        ".text",
        validate_all = sym validate_all,
    );

    /// Validates everything on the list and returns the guest's entry point.
    extern "sysv64" fn validate_all(list: &BootList) -> u64 {
        let count = (list.count as usize).min(list.ranges.len());
        for range in &list.ranges[..count] {
            validate_range(range.base, range.base + range.size);
        }
        list.entry
    }

    fn validate_range(mut address: u64, end: u64) {
        const HUGE: u64 = RmpSize::Size2M.bytes();
        const SMALL: u64 = RmpSize::Size4K.bytes();
        while address < end {
            if address.is_multiple_of(HUGE) && end - address >= HUGE {
                match pvalidate(address, RmpSize::Size2M) {
                    Ok(()) => {
                        address += HUGE;
                        continue;
                    }
                    // The host holds this memory in 4K pages: the next 2M go page by page.
                    Err(Refusal::SizeMismatch) => {
                        let stop = address + HUGE;
                        while address < stop {
                            validate_small(address);
                            address += SMALL;
                        }
                        continue;
                    }
                    Err(Refusal::Other) => terminate(),
                }
            }
            validate_small(address);
            address += SMALL;
        }
    }

    fn validate_small(address: u64) {
        if pvalidate(address, RmpSize::Size4K).is_err() {
            terminate();
        }
    }

    enum Refusal {
        SizeMismatch,
        Other,
    }

    /// PVALIDATE (24593 volume 3): sets the validated bit of the page at `address`.
    fn pvalidate(address: u64, size: RmpSize) -> Result<(), Refusal> {
        let result: u64;
        let unchanged: u8;
        // SAFETY: sets the validated bit of a page that holds no live data of the shim (the list has
        // no page that the image loaded); it touches no memory otherwise.
        unsafe {
            asm!(
                ".byte 0xF2, 0x0F, 0x01, 0xFF",
                "setc {unchanged}",
                unchanged = out(reg_byte) unchanged,
                inout("rax") address => result,
                in("ecx") size as u32,
                in("edx") 1,
                options(nostack),
            );
        }
        match (result as u32, unchanged) {
            (0, 0) => Ok(()),
            (code, _) if code == RmpResult::FailSizeMismatch as u32 => Err(Refusal::SizeMismatch),
            // "Unchanged" is a refusal too: nobody validated this page before, so the host has
            // put a page here that was validated for another address.
            _ => Err(Refusal::Other),
        }
    }

    /// Asks the host to end the guest (56421, 2.3.1), again and again: it may not listen.
    fn terminate() -> ! {
        const REASON_VALIDATION: u64 = 2; // msr::terminate::LINUX: "a page could not be validated"
        let request = msr::protocol::TERMINATE_REQUEST
            | u64::from(msr::terminate::SET_LINUX) << 12
            | REASON_VALIDATION << 16;
        loop {
            // SAFETY: writes the GHCB MSR with a request that needs no memory, and exits.
            unsafe {
                asm!(
                    "wrmsr",
                    "rep vmmcall",
                    in("ecx") msr::GHCB,
                    in("eax") request as u32,
                    in("edx") (request >> 32) as u32,
                    options(nomem, nostack),
                );
            }
        }
    }

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        terminate()
    }
}

/// The shim exists for `x86_64-unknown-none`; built for the host it says so.
#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("this is a bare-metal program: `cargo xtask build` puts it in an image");
    std::process::exit(2);
}
