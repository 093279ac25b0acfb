// SPDX-License-Identifier: MIT OR Apache-2.0
//! RMPUPDATE, PSMASH, page state changes, and a leaf against a change.

use super::*;

#[test]
fn rmpupdate_takes_validation_and_permissions_away() {
    with(|rmp| {
        valid(rmp, BLOCK, RmpSize::Size4K);
        let grant = RmpAttributes::new(2, Permissions::FULL, true);
        assert_eq!(rmpadjust(rmp, VMPL0, BLOCK, grant), RmpResult::Success);
        let change = rmp.assign(BLOCK, RmpSize::Size4K).unwrap();
        assert!(change.revokes() && change.scramble());
        assert_eq!(rmp.entry(BLOCK).unwrap().0, Entry::ASSIGNED);
    });
}

#[test]
fn rmpupdate_refuses_overlap() {
    with(|rmp| {
        let _ = rmp.assign(BLOCK, RmpSize::Size2M).unwrap();
        assert_eq!(
            rmp.unassign(BLOCK + PAGE, RmpSize::Size4K),
            Err(HostError::Overlap)
        );
        let _ = rmp.assign(2 * BLOCK + PAGE, RmpSize::Size4K).unwrap();
        assert_eq!(
            rmp.assign(2 * BLOCK, RmpSize::Size2M),
            Err(HostError::Overlap)
        );
        assert_eq!(
            rmp.assign(BLOCK + PAGE, RmpSize::Size2M),
            Err(HostError::Unaligned)
        );
        assert_eq!(rmp.assign(0, RmpSize::Size2M), Err(HostError::NotMemory));
        assert_eq!(
            rmp.assign(0xFEE0_0000, RmpSize::Size4K),
            Err(HostError::NotMemory)
        );
    });
}

#[test]
fn host_refuses_immutable_pages_and_running_vmsas() {
    with(|rmp| {
        let _ = rmp.assign(BLOCK, RmpSize::Size4K).unwrap();
        rmp.set_immutable(BLOCK, RmpSize::Size4K, true).unwrap();
        assert_eq!(
            rmp.unassign(BLOCK, RmpSize::Size4K),
            Err(HostError::Immutable)
        );
        let vmsa = BLOCK + PAGE;
        let none = [Permissions::empty(); 3];
        rmp.launch(vmsa, RmpSize::Size4K, none, true).unwrap();
        rmp.claim_vmsa(vmsa).unwrap();
        assert_eq!(rmp.unassign(vmsa, RmpSize::Size4K), Err(HostError::InUse));
        assert!(
            rmp.make_shared(BLOCK, RmpSize::Size2M, &mut |_| panic!("no change"))
                .is_err()
        );
        let drop = RmpAttributes::new(1, Permissions::empty(), false);
        assert_eq!(rmpadjust(rmp, VMPL0, vmsa, drop), RmpResult::FailInUse);
        assert_eq!(
            pvalidate(rmp, vmsa, RmpSize::Size4K, false).0,
            ended(RmpResult::FailInUse, false)
        );
        rmp.release_vmsa(vmsa);
        assert_eq!(rmpadjust(rmp, VMPL0, vmsa, drop), RmpResult::Success);
        assert_eq!(rmp.claim_vmsa(vmsa), Err(Refusal::NotAVmsa));
    });
}

#[test]
fn psmash_and_unsmash_keep_the_state() {
    with(|rmp| {
        valid(rmp, BLOCK, RmpSize::Size2M);
        let grant = RmpAttributes::new(2, Permissions::FULL, false);
        assert_eq!(rmpadjust(rmp, VMPL0, BLOCK, grant), RmpResult::Success);
        let before = rmp.entry(BLOCK).unwrap().0;
        let change = rmp.psmash(BLOCK + PAGE).unwrap();
        assert!(!change.revokes() && !change.scramble());
        for n in 0..512 {
            assert_eq!(rmp.entry(BLOCK + n * PAGE), Some((before, RmpSize::Size4K)));
        }
        assert_eq!(rmp.psmash(BLOCK), Err(HostError::NotUniform));
        let _ = rmp.unsmash(BLOCK).unwrap();
        assert_eq!(rmp.entry(BLOCK + 7 * PAGE), Some((before, RmpSize::Size2M)));
        let _ = rmp.psmash(BLOCK).unwrap();
        let _ = pvalidate(rmp, BLOCK + PAGE, RmpSize::Size4K, false);
        assert_eq!(rmp.unsmash(BLOCK), Err(HostError::NotUniform));
    });
}

#[test]
fn page_state_change_leaves_alone_what_is_as_asked() {
    with(|rmp| {
        valid(rmp, BLOCK + PAGE, RmpSize::Size4K);
        let mut pieces = Vec::new();
        rmp.make_private(BLOCK, RmpSize::Size2M, &mut |change| {
            pieces.push(change.gpa)
        })
        .unwrap();
        assert_eq!(pieces.len(), 511);
        assert!(!pieces.contains(&(BLOCK + PAGE)));
        assert!(rmp.entry(BLOCK + PAGE).unwrap().0.validated());
    });
}

#[test]
fn contents_do_not_survive_a_change_of_owner() {
    with(|rmp| {
        let mut scrambled = Vec::new();
        let mut note = |change: Change| scrambled.push((change.size, change.scramble()));
        let huge = RmpSize::Size2M;
        rmp.make_private(BLOCK, huge, &mut note).unwrap();
        rmp.make_shared(BLOCK, huge, &mut note).unwrap();
        rmp.make_private(BLOCK, huge, &mut note).unwrap();
        assert_eq!(scrambled, [(huge, false), (huge, true), (huge, true)]);
    });
}

#[test]
fn page_state_change_splits_a_2m_page() {
    with(|rmp| {
        valid(rmp, BLOCK, RmpSize::Size2M);
        let mut kinds = Vec::new();
        rmp.make_shared(BLOCK + PAGE, RmpSize::Size4K, &mut |change| {
            kinds.push(change.kind)
        })
        .unwrap();
        assert_eq!(kinds, [ChangeKind::Split, ChangeKind::Unassigned]);
        assert!(rmp.entry(BLOCK).unwrap().0.validated());
        assert_eq!(rmp.entry(BLOCK + PAGE).unwrap().0, Entry::SHARED);
    });
}

#[test]
fn a_leaf_entered_under_the_lock_is_seen_by_the_next_change() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let machine = Machine::new();
    machine.run(|rmp| {
        valid(rmp, BLOCK, RmpSize::Size4K);
        let leaf = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..2000 {
                    rmp.check_then(&read(BLOCK, 0), |decision| {
                        if matches!(decision, Decision::Map(_)) {
                            leaf.store(true, Ordering::Relaxed);
                        }
                    });
                }
            });
            for _ in 0..2000 {
                let page = operand(BLOCK, RmpSize::Size4K);
                let _ = rmp.pvalidate(VMPL0, &page, 0, 0, &mut |_| {
                    leaf.store(false, Ordering::Relaxed);
                });
                assert!(!leaf.load(Ordering::Relaxed), "a stale leaf");
                let _ = rmp.pvalidate(VMPL0, &page, 0, 1, &mut |_| {});
            }
        });
    });
}
