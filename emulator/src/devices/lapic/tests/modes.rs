// SPDX-License-Identifier: MIT OR Apache-2.0
//! Modes, and the registers by both of their faces (SDM vol. 3, 11.4, 11.5 and 11.12).

use super::super::{Gp, LAPIC_BASE, LogicalId};
use super::*;

const DISABLED: u64 = 0xFEE0_0000;
const XAPIC: u64 = 0xFEE0_0800;
const INVALID: u64 = 0xFEE0_0400;
const BSP: u64 = 1 << 8;

#[test]
fn registers_after_reset() {
    let posted = Posted::new(3);
    let mut lapic = Lapic::new(&posted, true);
    assert_eq!(lapic.msr_read(APIC_BASE, 0), Ok(XAPIC | BSP));
    let expected = [
        (0x20, 3 << 24),
        (TPR, 0),
        (PPR, 0),
        (LDR, 0),
        (DFR, 0xFFFF_FFFF),
        (SVR, 0xFF),
        (ESR, 0),
        (ICR_LOW, 0),
        (ICR_HIGH, 0),
        (LVT_TIMER, 0x1_0000),
        (0x330, 0x1_0000),
        (0x340, 0x1_0000),
        (LVT_LINT0, 0x1_0000),
        (0x360, 0x1_0000),
        (LVT_ERROR, 0x1_0000),
        (INITIAL_COUNT, 0),
        (CURRENT_COUNT, 0),
        (DIVIDE, 0),
    ];
    for (offset, value) in expected {
        assert_eq!(lapic.mmio_read(offset, 0), value, "{offset:#x}");
    }
    for word in 0..8 {
        for set in [ISR, TMR, IRR] {
            assert_eq!(lapic.mmio_read(set + 0x10 * word, 0), 0);
        }
    }
    let version = lapic.mmio_read(0x30, 0);
    assert_eq!(version & 0xFF, 0x14, "integrated");
    assert_eq!(version >> 16 & 0xFF, 5, "six entries");
    assert_eq!(version >> 24 & 1, 0, "no suppression of EOI broadcasts");
}

/// 11.4.7.2.
#[test]
fn software_disabled_entries_are_masked_and_vectors_dropped() {
    let posted = Posted::new(0);
    let mut lapic = enabled(&posted);
    lapic.mmio_write(LVT_TIMER, 0x40, 0);
    lapic.request(0x50, false);
    lapic.mmio_write(SVR, 0x0FF, 0);
    assert_eq!(lapic.mmio_read(LVT_TIMER, 0), 0x1_0040);
    lapic.mmio_write(LVT_TIMER, 0x40, 0);
    assert_eq!(lapic.mmio_read(LVT_TIMER, 0), 0x1_0040, "stays masked");
    posted.post(0x60, false);
    lapic.merge();
    assert!(!has(&mut lapic, IRR, 0x60));
    assert_eq!(lapic.deliverable(), Some(0x50), "what was pending is held");
    lapic.mmio_write(SVR, 0x1FF, 0);
    lapic.mmio_write(LVT_TIMER, 0x40, 0);
    assert_eq!(lapic.mmio_read(LVT_TIMER, 0), 0x40);
}

/// Figure 11-27: states and the ways between them.
#[test]
fn mode_transitions() {
    let states = [DISABLED, XAPIC, X2APIC];
    let allowed = |from, to| {
        !matches!(
            (from, to),
            (_, INVALID) | (DISABLED, X2APIC) | (X2APIC, XAPIC)
        )
    };
    for from in states {
        for to in [DISABLED, INVALID, XAPIC, X2APIC] {
            let posted = Posted::new(0);
            let mut lapic = Lapic::new(&posted, false);
            lapic.msr_write(APIC_BASE, from, 0).unwrap();
            let result = lapic.msr_write(APIC_BASE, to, 0);
            assert_eq!(result.is_ok(), allowed(from, to), "{from:#x} to {to:#x}");
            let now = if allowed(from, to) { to } else { from };
            assert_eq!(lapic.msr_read(APIC_BASE, 0), Ok(now));
        }
    }
}

#[test]
fn reserved_bits_of_the_base_fault() {
    let posted = Posted::new(0);
    let mut lapic = Lapic::new(&posted, false);
    for bit in (0..8).chain([9]).chain(52..64) {
        assert_eq!(lapic.msr_write(APIC_BASE, XAPIC | 1 << bit, 0), Err(Gp));
    }
    // The registers stay where they are; hardware could move them.
    assert_eq!(lapic.msr_write(APIC_BASE, 0xFEF0_0800, 0), Err(Gp));
}

#[test]
fn disabling_resets_all_but_the_id() {
    let posted = Posted::new(5);
    let mut lapic = enabled(&posted);
    lapic.request(0x41, false);
    lapic.mmio_write(TPR, 0x20, 0);
    lapic.msr_write(APIC_BASE, DISABLED, 0).unwrap();
    assert_eq!(lapic.deliverable(), None);
    assert!(!lapic.claims(LAPIC_BASE));
    lapic.msr_write(APIC_BASE, XAPIC, 0).unwrap();
    assert!(lapic.claims(LAPIC_BASE));
    assert_eq!(lapic.mmio_read(0x20, 0), 5 << 24);
    assert_eq!(lapic.mmio_read(SVR, 0), 0xFF);
    assert_eq!(lapic.mmio_read(TPR, 0), 0);
    assert!(!has(&mut lapic, IRR, 0x41));
}

/// 11.4.7.3: INIT keeps the id and IA32_APIC_BASE.
#[test]
fn init_keeps_id_and_mode() {
    let posted = Posted::new(2);
    let mut lapic = enabled_x2apic(&posted);
    lapic.request(0x41, true);
    posted.post(0x42, false);
    lapic.init();
    assert_eq!(lapic.msr_read(APIC_BASE, 0), Ok(X2APIC));
    assert_eq!(lapic.msr_read(0x802, 0), Ok(2));
    assert_eq!(lapic.msr_read(0x80D, 0), Ok(1 << 2));
    assert_eq!(lapic.msr_read(0x80F, 0), Ok(0xFF));
    lapic.merge();
    assert_eq!(lapic.deliverable(), None);
    assert!(!posted.is_pending());
}

/// 11.12.2: the MSRs exist in x2APIC mode, the page in xAPIC mode.
#[test]
fn one_face_at_a_time() {
    let posted = Posted::new(0);
    let mut lapic = enabled(&posted);
    assert!(lapic.claims(LAPIC_BASE + 0xFFF) && !lapic.claims(LAPIC_BASE + 0x1000));
    assert_eq!(lapic.msr_read(0x802, 0), Err(Gp));
    assert_eq!(lapic.msr_write(0x80B, 0, 0), Err(Gp));
    lapic.msr_write(APIC_BASE, X2APIC, 0).unwrap();
    assert!(!lapic.claims(LAPIC_BASE));
    assert_eq!(lapic.msr_read(0x802, 0), Ok(0));
}

/// Table 11-6: which MSRs can be read, which written, and what else faults.
#[test]
fn x2apic_registers_fault_as_the_table_says() {
    let read_only = |r: u32| matches!(r, 0x02 | 0x03 | 0x0A | 0x0D | 0x10..=0x27 | 0x39);
    let write_only = |r: u32| matches!(r, 0x0B | 0x3F);
    let both = |r: u32| matches!(r, 0x08 | 0x0F | 0x28 | 0x30 | 0x32..=0x38 | 0x3E);
    for register in 0..=0xFF {
        let posted = Posted::new(0);
        let mut lapic = enabled_x2apic(&posted);
        let readable = read_only(register) || both(register);
        let writable = write_only(register) || both(register);
        let msr = 0x800 + register;
        assert_eq!(lapic.msr_read(msr, 0).is_ok(), readable, "RDMSR {msr:#x}");
        assert_eq!(
            lapic.msr_write(msr, 0, 0).is_ok(),
            writable,
            "WRMSR {msr:#x}"
        );
    }
}

#[test]
fn x2apic_reserved_bits_fault() {
    // Register, and the bits that can be written.
    let writable: [(u32, u64); 13] = [
        (0x808, 0xFF),
        (0x80B, 0),
        (0x80F, 0x1FF),
        (0x828, 0),
        (0x830, 0xFFFF_FFFF_000C_DFFF),
        (0x832, 0x7_10FF),
        (0x833, 0x1_17FF),
        (0x834, 0x1_17FF),
        (0x835, 0x1_F7FF),
        (0x836, 0x1_F7FF),
        (0x837, 0x1_10FF),
        (0x838, 0xFFFF_FFFF),
        (0x83E, 0b1011),
    ];
    for (msr, mask) in writable {
        for bit in 0..64 {
            let posted = Posted::new(0);
            let mut lapic = enabled_x2apic(&posted);
            let result = lapic.msr_write(msr, 1 << bit, 0);
            assert_eq!(result.is_ok(), mask & 1 << bit != 0, "{msr:#x} bit {bit}");
        }
    }
}

#[test]
fn both_faces_show_the_same_registers() {
    let posted = Posted::new(1);
    let mut lapic = enabled(&posted);
    lapic.request(0x41, true);
    lapic.request(0x82, false);
    lapic.accept(0x82);
    lapic.mmio_write(TPR, 0x35, 0);
    lapic.mmio_write(LVT_LINT0, 0x700, 0);
    lapic.mmio_write(DIVIDE, 0b1011, 0);
    let offsets = [
        TPR,
        PPR,
        SVR,
        LVT_LINT0,
        DIVIDE,
        0x30,
        IRR + 0x20,
        ISR + 0x40,
        TMR + 0x20,
    ];
    let before = offsets.map(|offset| u64::from(lapic.mmio_read(offset, 0)));
    lapic.msr_write(APIC_BASE, X2APIC, 0).unwrap();
    let after = offsets.map(|offset| lapic.msr_read(x2(offset), 0).unwrap());
    assert_eq!(before, after);
    assert_eq!(before[7], 1 << 2, "0x82 in service");
}

#[test]
fn read_only_bits_of_entries_are_not_written() {
    let posted = Posted::new(0);
    let mut lapic = enabled(&posted);
    lapic.mmio_write(LVT_LINT0, 0xFFFF_FFFF, 0);
    assert_eq!(lapic.mmio_read(LVT_LINT0, 0), 0x1_A7FF);
    lapic.mmio_write(LVT_TIMER, 0xFFFF_FFFF, 0);
    assert_eq!(lapic.mmio_read(LVT_TIMER, 0), 0x7_00FF);
}

/// 11.5.3: the register shows what had gathered when it was last written.
#[test]
fn errors_show_after_a_write() {
    let posted = Posted::new(0);
    let mut lapic = enabled(&posted);
    lapic.mmio_write(LVT_ERROR, 0xFE, 0);
    posted.post(0x0F, false);
    lapic.merge();
    assert_eq!(lapic.deliverable(), Some(0xFE));
    assert_eq!(lapic.mmio_read(ESR, 0), 0);
    lapic.mmio_write(ESR, 0, 0);
    assert_eq!(lapic.mmio_read(ESR, 0), 1 << 6, "received illegal vector");
    lapic.mmio_write(ESR, 0, 0);
    assert_eq!(lapic.mmio_read(ESR, 0), 0);

    assert_eq!(lapic.mmio_write(ICR_LOW, 0x0F, 0), Effect::None);
    lapic.mmio_read(0x2F0, 0);
    lapic.mmio_write(ESR, 0, 0);
    assert_eq!(
        lapic.mmio_read(ESR, 0),
        1 << 5 | 1 << 7,
        "send illegal vector, illegal register"
    );
}

#[test]
fn an_error_entry_with_an_illegal_vector_does_not_interrupt() {
    let posted = Posted::new(0);
    let mut lapic = enabled(&posted);
    lapic.mmio_write(LVT_ERROR, 0x03, 0);
    lapic.mmio_read(0x2F0, 0);
    assert_eq!(lapic.deliverable(), None);
    lapic.mmio_write(ESR, 0, 0);
    assert_eq!(lapic.mmio_read(ESR, 0), 1 << 6 | 1 << 7);
}

/// What the real local APIC has to repeat, for messages of devices.
#[test]
fn the_real_local_apic_follows() {
    let posted = Posted::new(3);
    let mut lapic = enabled(&posted);
    let logical = |ldr, flat| Effect::LogicalChanged(LogicalId { ldr, flat });
    assert_eq!(lapic.mmio_write(LDR, 0x0800_0000, 0), logical(0x08, true));
    assert_eq!(lapic.mmio_write(DFR, 0x0FFF_FFFF, 0), logical(0x08, false));
    assert_eq!(
        lapic.msr_write(APIC_BASE, X2APIC, 0),
        Ok(logical(1 << 3, true))
    );
    assert_eq!(
        lapic.msr_write(APIC_BASE, DISABLED, 0),
        Ok(logical(0, true))
    );
    let far = Posted::new(17);
    let lapic = enabled_x2apic(&far);
    assert_eq!(lapic.logical_id(), LogicalId { ldr: 0, flat: true });
}

#[test]
fn undefined_offsets_are_quiet() {
    let posted = Posted::new(0);
    let mut lapic = enabled(&posted);
    for offset in (0..0x1000).filter(|offset| offset % 16 != 0) {
        assert_eq!(lapic.mmio_read(offset, 0), 0);
        assert_eq!(lapic.mmio_write(offset, 0xFFFF_FFFF, 0), Effect::None);
    }
    lapic.mmio_write(ESR, 0, 0);
    assert_eq!(lapic.mmio_read(ESR, 0), 0);
}
