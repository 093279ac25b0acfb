// SPDX-License-Identifier: MIT OR Apache-2.0
//! The first vCPU's registers at launch: 64-bit mode, paging on (24593, 15.34 and table B-4).

use snp_defs::vmsa::{EFER_SVME, Segment, Vmsa, sev_features};
use zerocopy::FromZeros;

/// What differs from one image to another.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Entry {
    /// Instruction pointer.
    pub(crate) rip: u64,
    /// Stack pointer.
    pub(crate) rsp: u64,
    /// First argument.
    pub(crate) rdi: u64,
    /// Second argument.
    pub(crate) rsi: u64,
    /// Root of the page tables, without the C-bit.
    pub(crate) cr3: u64,
    /// Descriptor table with code at 0x10 and data at 0x18; for one that makes its own, none.
    pub(crate) gdt: Option<u64>,
    /// SEV features beyond SNP itself.
    pub(crate) features: u64,
}

/// Bytes of the descriptor table, less 1.
pub(crate) const GDT_LIMIT: u16 = 31;

/// A descriptor table with flat 64-bit code at 0x10 and data at 0x18, as Linux's 64-bit boot
/// protocol wants them.
pub(crate) fn gdt() -> [u8; 32] {
    const CODE: u64 = 0x00AF_9B00_0000_FFFF;
    const DATA: u64 = 0x00CF_9300_0000_FFFF;
    let mut table = [0; 32];
    table[16..24].copy_from_slice(&CODE.to_le_bytes());
    table[24..32].copy_from_slice(&DATA.to_le_bytes());
    table
}

/// The VMSA of a vCPU that starts at `entry` in VMPL0.
pub(crate) fn boot(entry: &Entry) -> Box<Vmsa> {
    const CR0_PE_ET_NE_WP_PG: u64 = 1 | 1 << 4 | 1 << 5 | 1 << 16 | 1 << 31;
    const CR4_PAE: u64 = 1 << 5;
    const EFER_LME_LMA_NXE: u64 = 1 << 8 | 1 << 10 | 1 << 11;

    let segment = |selector, attributes, limit| Segment {
        selector,
        attributes,
        limit,
        base: 0,
    };
    let data = segment(0x18, 0xC93, u32::MAX);
    let mut vmsa = Vmsa::new_zeroed();
    vmsa.cs = segment(0x10, 0xA9B, u32::MAX);
    vmsa.ds = data;
    vmsa.es = data;
    vmsa.ss = data;
    vmsa.fs = data;
    vmsa.gs = data;
    vmsa.ldtr = segment(0, 0x82, 0xFFFF);
    vmsa.tr = segment(0, 0x8B, 0xFFFF);
    if let Some(base) = entry.gdt {
        vmsa.gdtr.base = base;
        vmsa.gdtr.limit = GDT_LIMIT.into();
    }
    vmsa.cr0 = CR0_PE_ET_NE_WP_PG;
    vmsa.cr3 = entry.cr3 | super::page_tables::C_BIT;
    vmsa.cr4 = CR4_PAE;
    vmsa.efer = EFER_LME_LMA_NXE | EFER_SVME;
    vmsa.rflags = 1 << 1;
    vmsa.dr6 = 0xFFFF_0FF0;
    vmsa.dr7 = 0x400;
    vmsa.g_pat = 0x0007_0406_0007_0406;
    vmsa.xcr0 = 1;
    vmsa.mxcsr = 0x1F80;
    vmsa.x87_fcw = 0x37F;
    vmsa.rip = entry.rip;
    vmsa.rsp = entry.rsp;
    vmsa.rdi = entry.rdi;
    vmsa.rsi = entry.rsi;
    vmsa.sev_features = sev_features::SNP_ACTIVE | entry.features;
    Box::new(vmsa)
}

/// The VMSA that KVM measures for a vCPU that the image says nothing about: the processor's reset
/// state (24593, 14.1.3), as QEMU and KVM leave it. `signature` is the processor's family, model and
/// stepping, `features` are the SEV features, which KVM gives all vCPUs alike.
pub(crate) fn reset(signature: u32, features: u64) -> Box<Vmsa> {
    let segment = |selector, attributes, base| Segment {
        selector,
        attributes,
        limit: 0xFFFF,
        base,
    };
    let data = segment(0, 0x93, 0);
    let mut vmsa = Vmsa::new_zeroed();
    vmsa.cs = segment(0xF000, 0x9B, 0xFFFF_0000);
    vmsa.ds = data;
    vmsa.es = data;
    vmsa.ss = data;
    vmsa.fs = data;
    vmsa.gs = data;
    vmsa.gdtr = segment(0, 0, 0);
    vmsa.idtr = segment(0, 0, 0);
    vmsa.ldtr = segment(0, 0x82, 0);
    vmsa.tr = segment(0, 0x8B, 0);
    vmsa.efer = EFER_SVME;
    vmsa.cr0 = 0x10;
    vmsa.cr4 = 0x40;
    vmsa.dr6 = 0xFFFF_0FF0;
    vmsa.dr7 = 0x400;
    vmsa.rflags = 2;
    vmsa.rip = 0xFFF0;
    vmsa.rdx = signature.into();
    vmsa.g_pat = 0x0007_0406_0007_0406;
    vmsa.xcr0 = 1;
    vmsa.mxcsr = 0x1F80;
    vmsa.x87_fcw = 0x37F;
    vmsa.sev_features = features;
    Box::new(vmsa)
}
