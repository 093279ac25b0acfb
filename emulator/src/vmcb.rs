// SPDX-License-Identifier: MIT OR Apache-2.0
//! The virtual machine control block (24593, appendix B, tables B-1 and B-2).

use snp_defs::vmsa::Segment;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The page that VMRUN takes.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4096))]
pub struct Vmcb {
    /// What to intercept and why the guest stopped.
    pub control: Control,
    /// Registers that VMRUN, VMLOAD and their counterparts move.
    pub save: Save,
    /// Rest of the page.
    pub reserved: [u8; 4096 - 0x400 - size_of::<Save>()],
}

/// The control area.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Control {
    /// Reads (15:0) and writes (31:16) of control registers.
    pub intercept_cr: u32,
    /// Reads (15:0) and writes (31:16) of debug registers.
    pub intercept_dr: u32,
    /// Exceptions.
    pub intercept_exceptions: u32,
    /// [`intercept1`].
    pub intercept1: u32,
    /// [`intercept2`].
    pub intercept2: u32,
    /// More instructions, none of which TCG has.
    pub intercept3: u32,
    /// Zero.
    pub reserved: [u8; 0x3C - 0x18],
    /// PAUSE filter threshold.
    pub pause_filter_threshold: u16,
    /// PAUSE filter count.
    pub pause_filter_count: u16,
    /// Host-physical address of the I/O permission map.
    pub iopm_base: u64,
    /// Host-physical address of the MSR permission map.
    pub msrpm_base: u64,
    /// Added to the time-stamp counter.
    pub tsc_offset: u64,
    /// Address space identifier; not 0.
    pub asid: u32,
    /// [`tlb_control`].
    pub tlb_control: u32,
    /// [`vintr`].
    pub vintr: u64,
    /// Bit 0: the guest is in an interrupt shadow.
    pub interrupt_shadow: u64,
    /// Why the guest stopped.
    pub exit_code: u64,
    /// First detail.
    pub exit_info1: u64,
    /// Second detail.
    pub exit_info2: u64,
    /// Event whose delivery was interrupted, in the format of `event_inj`.
    pub exit_int_info: u64,
    /// Bit 0: nested paging.
    pub nested_control: u64,
    /// AVIC APIC BAR.
    pub avic_bar: u64,
    /// GHCB (SEV-ES only).
    pub ghcb: u64,
    /// [`event`] to deliver at the entry.
    pub event_inj: u64,
    /// Root of the nested page table.
    pub nested_cr3: u64,
    /// Virtualisation of last-branch records.
    pub lbr: u64,
    /// What has not changed since the last VMRUN.
    pub clean: u64,
    /// RIP after the intercepted instruction, where the processor has it.
    pub next_rip: u64,
    /// Bytes at RIP, where the processor has decode assists.
    pub instruction: [u8; 16],
    /// Zero.
    pub reserved1: [u8; 0x400 - 0xE0],
}

/// The state save area. Its fields are where a VMSA has them.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[expect(missing_docs, reason = "registers; their names are the manual's")]
pub struct Save {
    pub es: Segment,
    pub cs: Segment,
    pub ss: Segment,
    pub ds: Segment,
    pub fs: Segment,
    pub gs: Segment,
    pub gdtr: Segment,
    pub ldtr: Segment,
    pub idtr: Segment,
    pub tr: Segment,
    pub reserved_0a0: [u8; 0x2B],
    pub cpl: u8,
    pub reserved_0cc: [u8; 4],
    pub efer: u64,
    pub reserved_0d8: [u8; 0x70],
    pub cr4: u64,
    pub cr3: u64,
    pub cr0: u64,
    pub dr7: u64,
    pub dr6: u64,
    pub rflags: u64,
    pub rip: u64,
    pub reserved_180: [u8; 0x58],
    pub rsp: u64,
    pub s_cet: u64,
    pub ssp: u64,
    pub isst_addr: u64,
    pub rax: u64,
    pub star: u64,
    pub lstar: u64,
    pub cstar: u64,
    pub sfmask: u64,
    pub kernel_gs_base: u64,
    pub sysenter_cs: u64,
    pub sysenter_esp: u64,
    pub sysenter_eip: u64,
    pub cr2: u64,
    pub reserved_248: [u8; 0x20],
    pub g_pat: u64,
    pub dbgctl: u64,
    pub br_from: u64,
    pub br_to: u64,
    pub last_excp_from: u64,
    pub last_excp_to: u64,
}

/// The general registers that VMRUN does not move. RAX and RSP are in [`Save`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
#[expect(missing_docs, reason = "registers; their names are the manual's")]
pub struct Gprs {
    pub rcx: u64,
    pub rdx: u64,
    pub rbx: u64,
    pub rbp: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub r8: u64,
    pub r9: u64,
    pub r10: u64,
    pub r11: u64,
    pub r12: u64,
    pub r13: u64,
    pub r14: u64,
    pub r15: u64,
}

/// An FXSAVE image in the 64-bit format (24594, FXSAVE).
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(16))]
pub struct Fxsave {
    /// x87 control word.
    pub fcw: u16,
    /// x87 status word.
    pub fsw: u16,
    /// Abridged tag word: bit *n* set where register *n* is in use.
    pub ftw: u8,
    /// Zero.
    pub reserved: u8,
    /// Last opcode.
    pub fop: u16,
    /// Last instruction.
    pub rip: u64,
    /// Last operand.
    pub rdp: u64,
    /// SSE control and status.
    pub mxcsr: u32,
    /// Which bits of MXCSR exist.
    pub mxcsr_mask: u32,
    /// x87 registers, 10 bytes of each 16.
    pub st: [[u8; 16]; 8],
    /// SSE registers.
    pub xmm: [[u8; 16]; 16],
    /// Rest of the image.
    pub reserved1: [u8; 96],
}

impl Fxsave {
    /// The state after INIT: x87 as after FNINIT, SSE exceptions masked, all registers zero.
    pub const INITIAL: Self = Self {
        fcw: 0x037F,
        fsw: 0,
        ftw: 0,
        reserved: 0,
        fop: 0,
        rip: 0,
        rdp: 0,
        mxcsr: 0x1F80,
        mxcsr_mask: 0,
        st: [[0; 16]; 8],
        xmm: [[0; 16]; 16],
        reserved1: [0; 96],
    };
}

/// Bits of [`Control::intercept1`].
#[expect(missing_docs, reason = "each is what its name says")]
pub mod intercept1 {
    pub const INTR: u32 = 1 << 0;
    pub const NMI: u32 = 1 << 1;
    pub const SMI: u32 = 1 << 2;
    pub const INIT: u32 = 1 << 3;
    pub const VINTR: u32 = 1 << 4;
    pub const RDPMC: u32 = 1 << 15;
    pub const CPUID: u32 = 1 << 18;
    pub const IRET: u32 = 1 << 20;
    pub const SOFTWARE_INTERRUPT: u32 = 1 << 21;
    pub const INVD: u32 = 1 << 22;
    pub const HLT: u32 = 1 << 24;
    pub const INVLPGA: u32 = 1 << 26;
    pub const IOIO: u32 = 1 << 27;
    pub const MSR: u32 = 1 << 28;
    pub const TASK_SWITCH: u32 = 1 << 29;
    pub const SHUTDOWN: u32 = 1 << 31;
}

/// Bits of [`Control::intercept2`].
#[expect(missing_docs, reason = "each is what its name says")]
pub mod intercept2 {
    pub const VMRUN: u32 = 1 << 0;
    pub const VMMCALL: u32 = 1 << 1;
    pub const VMLOAD: u32 = 1 << 2;
    pub const VMSAVE: u32 = 1 << 3;
    pub const STGI: u32 = 1 << 4;
    pub const CLGI: u32 = 1 << 5;
    pub const SKINIT: u32 = 1 << 6;
    pub const WBINVD: u32 = 1 << 9;
    pub const MONITOR: u32 = 1 << 10;
    pub const MWAIT: u32 = 1 << 11;
    pub const XSETBV: u32 = 1 << 13;
}

/// Values of [`Control::tlb_control`] (24593, 15.16.2).
pub mod tlb_control {
    /// Nothing.
    pub const NONE: u32 = 0;
    /// Every translation, the host's included.
    pub const ALL: u32 = 1;
    /// Those of the guest's address space; where CPUID has FlushByAsid.
    pub const THIS_ASID: u32 = 3;
}

/// Bits of [`Control::vintr`] and of a VMSA's `vintr_ctrl`.
pub mod vintr {
    /// CR8.
    pub const TPR_MASK: u64 = 0xF;
    /// An interrupt is pending.
    pub const IRQ: u64 = 1 << 8;
    /// Its priority.
    pub const PRIORITY_SHIFT: u32 = 16;
    /// The priority is not compared with CR8.
    pub const IGNORE_TPR: u64 = 1 << 20;
    /// RFLAGS.IF and CR8 of the guest hold virtual interrupts back only.
    pub const MASKING: u64 = 1 << 24;
    /// Its vector.
    pub const VECTOR_SHIFT: u32 = 32;
}

/// The format of [`Control::event_inj`] and [`Control::exit_int_info`].
pub mod event {
    /// The field says something.
    pub const VALID: u64 = 1 << 31;
    /// Bits 63:32 have an error code.
    pub const ERROR_CODE_VALID: u64 = 1 << 11;
    /// An external interrupt.
    pub const TYPE_INTERRUPT: u64 = 0 << 8;
    /// An NMI.
    pub const TYPE_NMI: u64 = 2 << 8;
    /// An exception.
    pub const TYPE_EXCEPTION: u64 = 3 << 8;
    /// INTn.
    pub const TYPE_SOFTWARE: u64 = 4 << 8;
    /// The bits of the type.
    pub const TYPE_MASK: u64 = 7 << 8;
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<Vmcb>() == 4096);
    assert!(size_of::<Fxsave>() == 512);
    assert!(offset_of!(Control, iopm_base) == 0x40);
    assert!(offset_of!(Control, vintr) == 0x60);
    assert!(offset_of!(Control, exit_code) == 0x70);
    assert!(offset_of!(Control, event_inj) == 0xA8);
    assert!(offset_of!(Control, next_rip) == 0xC8);
    assert!(offset_of!(Vmcb, save) == 0x400);
    assert!(offset_of!(Save, cpl) == 0xCB);
    assert!(offset_of!(Save, efer) == 0xD0);
    assert!(offset_of!(Save, cr4) == 0x148);
    assert!(offset_of!(Save, rip) == 0x178);
    assert!(offset_of!(Save, rsp) == 0x1D8);
    assert!(offset_of!(Save, rax) == 0x1F8);
    assert!(offset_of!(Save, cr2) == 0x240);
    assert!(offset_of!(Save, g_pat) == 0x268);
    assert!(offset_of!(Save, last_excp_to) == 0x290);
};
