// SPDX-License-Identifier: MIT OR Apache-2.0
//! AP creation, APIC ids, run VMPL, reset hold, jump table, doorbell.

use super::*;

const VMSA: u64 = 0x1_2345_6000;
const SNP: (usize, u64) = (field::RAX, 1);

fn ap(kind: u64, vmpl: u64, apic_id: u64) -> u64 {
    apic_id << 32 | vmpl << 16 | kind
}

#[test]
fn ap_creation_names_vcpu_vmpl_and_vmsa() {
    let mut vcpu = Vcpu::default();
    let _ = vcpu.call(exit::AP_CREATION, ap(1, 2, 3), VMSA, &[SNP]);
    assert_eq!(vcpu.answer(), SERVED);
    let restricted = [(field::RAX, 9)];
    let _ = vcpu.call(exit::AP_CREATION, ap(0, 0, 1), VMSA, &restricted);
    let _ = vcpu.call(exit::AP_CREATION, ap(2, 2, 3), 0, &[]);
    assert_eq!(vcpu.answer(), SERVED);
    let request = |kind, apic_id, vmpl| ApRequest {
        kind,
        apic_id,
        vmpl,
    };
    let now = ApRequestKind::Create {
        vmsa: VMSA,
        sev_features: 1,
    };
    let on_init = ApRequestKind::CreateOnInit {
        vmsa: VMSA,
        sev_features: 9,
    };
    assert_eq!(
        vcpu.host.aps,
        [
            request(now, 3, 2),
            request(on_init, 1, 0),
            request(ApRequestKind::Destroy, 3, 2)
        ]
    );
}

#[test]
fn ap_creation_is_checked() {
    let mut vcpu = Vcpu::default();
    vcpu.host.vmpl = 2;
    let invalid = refused(malformed::INVALID_INPUT);
    for (info1, vmsa, rax, answer) in [
        (ap(3, 2, 1), VMSA, Some(1), invalid), // Unknown kind.
        (ap(1, 4, 1), VMSA, Some(1), invalid), // No such VMPL.
        (ap(1, 0, 1), VMSA, Some(1), invalid), // More privileged than the caller.
        (ap(2, 1, 1), 0, None, invalid),       // The same for DESTROY.
        (ap(1, 2, 1) | 1 << 20, VMSA, Some(1), invalid), // Reserved bits.
        (ap(1, 2, 1), VMSA + 8, Some(1), invalid), // Unaligned.
        (ap(1, 2, 1), 0x20_0000, Some(1), invalid), // At a multiple of 2M (SNP erratum).
        (ap(1, 2, 1), VMSA, Some(0), invalid), // SNPActive is missing.
        (ap(1, 2, 1), VMSA, Some(0x11), invalid), // A feature that is not offered.
        (ap(1, 2, 1), VMSA, None, refused(malformed::MISSING_INPUT)),
    ] {
        let fields: std::vec::Vec<_> = rax.map(|rax| (field::RAX, rax)).into_iter().collect();
        let _ = vcpu.call(exit::AP_CREATION, info1, vmsa, &fields);
        assert_eq!(vcpu.answer(), answer, "{info1:#x} {vmsa:#x} {rax:?}");
    }
    vcpu.host.refuse_ap = true;
    let _ = vcpu.call(exit::AP_CREATION, ap(1, 2, 99), VMSA, &[SNP]);
    assert_eq!(vcpu.answer(), invalid);
    assert!(vcpu.host.aps.is_empty());
    assert!(vcpu.host.notes.contains(&Note::ApCreationRefused {
        apic_id: 99,
        vmpl: 2
    }));
}

#[test]
fn apic_id_list_has_a_count_and_the_ids() {
    let mut vcpu = Vcpu::default();
    let _ = vcpu.call(exit::APIC_ID_LIST, SHARED, 0, &[(field::RAX, 1)]);
    assert_eq!(vcpu.answer(), SERVED);
    let words: std::vec::Vec<u32> = vcpu
        .get(SHARED, 20)
        .chunks(4)
        .map(|word| u32::from_le_bytes(word.try_into().unwrap()))
        .collect();
    assert_eq!(words, [4, 10, 11, 12, 13]);
}

#[test]
fn apic_id_list_tells_how_many_pages_it_takes() {
    let mut vcpu = Vcpu::default();
    vcpu.host.apic_ids = 1024;
    let _ = vcpu.call(exit::APIC_ID_LIST, SHARED, 0, &[(field::RAX, 1)]);
    assert_eq!((vcpu.answer(), vcpu.field(field::RAX)), (SERVED, Some(2)));
    assert_eq!(vcpu.get(SHARED, 4), [0xEE; 4], "nothing is written");
    let _ = vcpu.call(exit::APIC_ID_LIST, SHARED, 0, &[(field::RAX, 2)]);
    assert_eq!(vcpu.get(SHARED, 4), 1024u32.to_le_bytes());
    for list in [SHARED + 8, PRIVATE, SHARED + 0x1000] {
        let _ = vcpu.call(exit::APIC_ID_LIST, list, 0, &[(field::RAX, 2)]);
        assert_eq!(vcpu.answer(), refused(malformed::INVALID_INPUT));
    }
}

#[test]
fn run_vmpl_needs_a_vmsa_there() {
    let mut vcpu = Vcpu::default();
    assert_eq!(vcpu.call(exit::RUN_VMPL, 2, 0, &[]), Outcome::RunVmpl(2));
    assert_eq!(vcpu.answer(), SERVED);
    for vmpl in [0, 1, 3, 4, 0x102, u64::MAX] {
        assert_eq!(vcpu.call(exit::RUN_VMPL, vmpl, 0, &[]), Outcome::Resume);
        assert_eq!(vcpu.answer(), refused(malformed::INVALID_INPUT));
    }
}

#[test]
fn reset_hold_is_answered_when_the_sipi_comes() {
    let mut vcpu = Vcpu::default();
    assert_eq!(
        vcpu.call(exit::AP_RESET_HOLD, 0, 0, &[]),
        Outcome::ResetHold
    );
    vcpu.level.release_reset_hold(&mut vcpu.host);
    assert_eq!(vcpu.answer(), (0, 1));
}

#[test]
fn the_jump_table_is_kept() {
    let mut vcpu = Vcpu::default();
    let _ = vcpu.call(exit::AP_JUMP_TABLE, 0, 0x9000, &[]);
    let _ = vcpu.call(exit::AP_JUMP_TABLE, 1, 0, &[]);
    assert_eq!(vcpu.answer(), (0, 0x9000));
    let _ = vcpu.call(exit::AP_JUMP_TABLE, 2, 0, &[]);
    assert_eq!(vcpu.answer(), refused(malformed::INVALID_INPUT));
}

#[test]
fn nmi_completion_reaches_the_host() {
    let mut vcpu = Vcpu::default();
    let _ = vcpu.call(exit::NMI_COMPLETE, 0, 0, &[]);
    assert_eq!(vcpu.host.nmis, 1);
}

#[test]
fn the_doorbell_is_for_restricted_injection() {
    let mut vcpu = Vcpu::default();
    for code in [exit::HV_DOORBELL, exit::HV_IPI] {
        let _ = vcpu.call(code, 0, 0, &[]);
        assert_eq!(vcpu.answer(), refused(malformed::INVALID_INPUT));
    }
}

#[test]
fn the_doorbell_page_is_set_queried_and_cleared() {
    let mut vcpu = Vcpu::default();
    vcpu.host.restricted = true;
    let none = (0, u64::MAX);
    let _ = vcpu.call(exit::HV_DOORBELL, 0, 0, &[]);
    assert_eq!(vcpu.answer(), none);
    let _ = vcpu.call(exit::HV_DOORBELL, 2, 0, &[]);
    assert_eq!(vcpu.answer(), none);
    for page in [SHARED + 64, PRIVATE, 0xFFFF_0000] {
        let _ = vcpu.call(exit::HV_DOORBELL, 1, page, &[]);
        assert_eq!(vcpu.answer(), refused(malformed::INVALID_INPUT));
    }
    let _ = vcpu.call(exit::HV_DOORBELL, 1, SHARED, &[]);
    assert_eq!(vcpu.answer(), (0, SHARED));
    let _ = vcpu.call(exit::HV_DOORBELL, 2, 0, &[]);
    assert_eq!(vcpu.answer(), (0, SHARED));
    assert_eq!(vcpu.host.doorbell, Some(SHARED));
    let _ = vcpu.call(exit::HV_DOORBELL, 3, 0, &[]);
    assert_eq!((vcpu.host.doorbell, vcpu.level.doorbell()), (None, None));
    let _ = vcpu.call(exit::HV_DOORBELL, 4, 0, &[]);
    assert_eq!(vcpu.answer(), refused(malformed::INVALID_INPUT));
}

#[test]
fn an_hv_ipi_is_an_icr() {
    let mut vcpu = Vcpu::default();
    vcpu.host.restricted = true;
    let _ = vcpu.call(exit::HV_IPI, 1 << 32 | 0xFD, 0, &[]);
    assert_eq!(vcpu.host.ipis, [1 << 32 | 0xFD]);
}
