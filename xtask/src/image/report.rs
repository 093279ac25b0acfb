// SPDX-License-Identifier: MIT OR Apache-2.0
//! The map file: what lies where in an image, for people.

use std::fmt::Write as _;

use super::SvsmSize;
use super::contents::Contents;
use super::guest_memory::Machine;
use super::igvm::Launch;

/// Makes the text.
pub(crate) fn map(
    contents: &Contents,
    launch: &Launch,
    machine: &Machine,
    svsm: Option<SvsmSize>,
) -> String {
    let mut text = String::new();
    let (memory, vcpus) = (machine.memory >> 20, machine.vcpus);
    let _ = writeln!(text, "guest memory {memory} MiB, vCPUs {vcpus}");
    if let Some(SvsmSize { loaded, memory }) = svsm {
        let _ = writeln!(
            text,
            "loadable bytes of the SVSM's ELF file: {} KiB",
            loaded.div_ceil(1024)
        );
        let _ = writeln!(text, "memory that the SVSM keeps: {} KiB", memory >> 10);
    }
    let _ = writeln!(text, "\n{:>16} {:>16} {:>10}  what", "from", "to", "KiB");
    for part in contents.parts() {
        let (start, end) = (part.range.start, part.range.end);
        let kib = (end - start) >> 10;
        let _ = writeln!(
            text,
            "{start:>16x} {:>16x} {kib:>10}  {}",
            end - 1,
            part.name
        );
    }
    let vmsa = &launch.vmsa;
    let _ = writeln!(text, "\nfirst vCPU: VMSA at {:#x}", launch.vmsa_gpa);
    let registers = [
        ("RIP", vmsa.rip),
        ("RSP", vmsa.rsp),
        ("RDI", vmsa.rdi),
        ("RSI", vmsa.rsi),
        ("CR3", vmsa.cr3),
        ("GDT", vmsa.gdtr.base),
        ("SEV features", vmsa.sev_features),
        ("guest policy", launch.policy),
    ];
    for (name, value) in registers {
        let _ = writeln!(text, "{name:>16} {value:#x}");
    }
    text
}
