// SPDX-License-Identifier: MIT OR Apache-2.0
//! What VMRUN refuses and what #VMEXIT stores.

extern crate std;

use std::string::ToString;
use std::vec::Vec;

use core::array;

use snp_defs::rmp::{Permissions, RmpSize};
use zerocopy::FromZeros;

use super::*;
use crate::snp::rmp::Region;

const VMSA: u64 = 0x3000;

/// A small memory whose fourth page is a VMSA for VMPL2.
fn with(change: impl FnOnce(&mut Vmsa), test: impl FnOnce(&Rmp<'_>, &Page)) {
    let words: Vec<AtomicU64> = (0..8).map(|_| AtomicU64::new(0)).collect();
    let regions = [Region {
        base: 0,
        words: &words,
    }];
    let rmp = Rmp::new(&regions, RmpSize::Size2M);
    let none = [Permissions::empty(); 3];
    rmp.launch(VMSA, RmpSize::Size4K, none, true).unwrap();
    let mut vmsa = Vmsa::new_zeroed();
    vmsa.vmpl = 2;
    vmsa.efer = EFER_SVME;
    vmsa.sev_features = sev_features::SNP_ACTIVE;
    change(&mut vmsa);
    let contents: [u64; 512] = zerocopy::transmute!(vmsa);
    let page: Page = array::from_fn(|n| AtomicU64::new(contents[n]));
    test(&rmp, &page);
}

fn refused(change: impl FnOnce(&mut Vmsa), refusal: Refusal) {
    with(change, |rmp, page| {
        let before = read(page);
        assert_eq!(enter(rmp, page, VMSA, 2), Err(refusal));
        assert!(read(page) == before, "the page must be as it was");
        assert!(!rmp.entry(VMSA).unwrap().0.in_use());
    });
}

#[test]
fn a_good_vmsa_runs() {
    with(
        |vmsa| vmsa.rip = 0x1234,
        |rmp, page| {
            let state = enter(rmp, page, VMSA, 2).unwrap();
            assert_eq!(state.rip, 0x1234);
            assert!(rmp.entry(VMSA).unwrap().0.in_use());
            assert_ne!(read(page).vintr_ctrl & VINTR_BUSY, 0);
        },
    );
}

#[test]
fn svme_must_be_set() {
    refused(|vmsa| vmsa.efer = 0, Refusal::SvmeClear);
}

#[test]
fn the_vmpl_must_be_the_slots() {
    refused(|vmsa| vmsa.vmpl = 1, Refusal::WrongVmpl { vmsa: 1 });
}

#[test]
fn features_must_be_offered() {
    refused(|vmsa| vmsa.sev_features = 0, Refusal::NotSnpActive);
    let alternate = sev_features::SNP_ACTIVE | sev_features::ALTERNATE_INJECTION;
    refused(
        |vmsa| vmsa.sev_features = alternate,
        Refusal::Feature { bit: 4 },
    );
    assert_eq!(
        check_features(alternate).unwrap_err().to_string(),
        "SEV_FEATURES bit 4 (AlternateInjection) is not offered"
    );
    assert_eq!(
        check_features(1 << 40 | 1).unwrap_err().to_string(),
        "SEV_FEATURES bit 40 (reserved) is not offered"
    );
    let restricted = sev_features::SNP_ACTIVE | sev_features::RESTRICTED_INJECTION;
    assert_eq!(check_features(restricted), Ok(()));
}

#[test]
fn a_busy_vmsa_does_not_run_twice() {
    with(
        |_| {},
        |rmp, page| {
            let _ = enter(rmp, page, VMSA, 2).unwrap();
            assert_eq!(enter(rmp, page, VMSA, 2), Err(Refusal::Busy));
            assert!(rmp.entry(VMSA).unwrap().0.in_use());
        },
    );
    refused(|vmsa| vmsa.vintr_ctrl = VINTR_BUSY, Refusal::Busy);
}

#[test]
fn the_rmp_must_have_it_as_a_vmsa() {
    with(
        |_| {},
        |rmp, page| {
            for gpa in [0, VMSA + 8, 0x8000] {
                assert_eq!(enter(rmp, page, gpa, 2), Err(Refusal::NotAVmsa));
            }
            let none = [Permissions::empty(); 3];
            rmp.launch(0, RmpSize::Size4K, none, false).unwrap();
            assert_eq!(enter(rmp, page, 0, 2), Err(Refusal::NotAVmsa));
        },
    );
}

#[test]
fn exit_stores_registers_and_reason() {
    with(
        |_| {},
        |rmp, page| {
            let mut state = enter(rmp, page, VMSA, 2).unwrap();
            state.rip = 0x5678;
            state.gprs.r15 = 15;
            state.fpu.ymm_high[255] = 0xAA;
            let exit = Exit {
                code: 0x403,
                info1: 1,
                info2: 2,
                int_info: 3,
                next_rip: 4,
            };
            leave(rmp, page, VMSA, &state, &exit);
            let vmsa = read(page);
            assert_eq!(
                (vmsa.rip, vmsa.r15, vmsa.fpreg_ymm[255]),
                (0x5678, 15, 0xAA)
            );
            assert_eq!(
                (
                    vmsa.guest_exit_code,
                    vmsa.guest_exit_info1,
                    vmsa.guest_exit_info2,
                    vmsa.guest_exit_int_info,
                    vmsa.guest_nrip
                ),
                (0x403, 1, 2, 3, 4)
            );
            assert_eq!(vmsa.vintr_ctrl & VINTR_BUSY, 0);
            assert!(!rmp.entry(VMSA).unwrap().0.in_use());
            assert!(enter(rmp, page, VMSA, 2).is_ok());
        },
    );
}

#[test]
fn exit_does_not_write_what_it_does_not_own() {
    with(
        |vmsa| vmsa.reserved_3f0 = [7; 16],
        |rmp, page| {
            let state = enter(rmp, page, VMSA, 2).unwrap();
            // Meanwhile a more privileged VMPL writes what software owns.
            page[0x3B0 / 8].store(5, Ordering::Relaxed);
            leave(rmp, page, VMSA, &state, &Exit::default());
            let vmsa = read(page);
            assert_eq!(vmsa.sev_features, 5);
            assert_eq!(vmsa.reserved_3f0, [7; 16]);
        },
    );
}
