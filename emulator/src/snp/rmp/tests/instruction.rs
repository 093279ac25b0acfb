// SPDX-License-Identifier: MIT OR Apache-2.0
//! PVALIDATE, RMPADJUST, RMPQUERY.

use super::*;

// PVALIDATE.

#[test]
fn pvalidate_is_vmpl0s_and_cpl0s_alone() {
    with(|rmp| {
        let _ = rmp.assign(BLOCK, RmpSize::Size4K).unwrap();
        let page = operand(BLOCK, RmpSize::Size4K);
        for caller in [VMPL1, Caller { vmpl: 0, cpl: 3 }] {
            let result = rmp.pvalidate(caller, &page, 0, 1, &mut |_| panic!("no change"));
            assert_eq!(result, Instruction::GeneralProtection);
        }
    });
}

#[test]
fn pvalidate_says_when_nothing_changed() {
    with(|rmp| {
        let _ = rmp.assign(BLOCK, RmpSize::Size4K).unwrap();
        assert_eq!(
            pvalidate(rmp, BLOCK, RmpSize::Size4K, false).0,
            success(true)
        );
        let (result, changes) = pvalidate(rmp, BLOCK, RmpSize::Size4K, true);
        assert_eq!((result, changes.len()), (success(false), 1));
        assert!(!changes[0].revokes());
        let (result, changes) = pvalidate(rmp, BLOCK, RmpSize::Size4K, true);
        assert_eq!((result, changes.len()), (success(true), 0));
        let (result, changes) = pvalidate(rmp, BLOCK, RmpSize::Size4K, false);
        assert_eq!(result, success(false));
        assert!(changes[0].revokes() && !changes[0].scramble());
    });
}

#[test]
fn pvalidate_refuses_an_unaligned_2m_page() {
    with(|rmp| {
        let _ = rmp.assign(BLOCK, RmpSize::Size2M).unwrap();
        assert_eq!(
            pvalidate(rmp, BLOCK + PAGE, RmpSize::Size2M, true).0,
            ended(RmpResult::FailInput, false)
        );
    });
}

#[test]
fn pvalidate_2m_over_4k_pages_is_a_size_mismatch() {
    with(|rmp| {
        let _ = rmp.assign(BLOCK, RmpSize::Size4K).unwrap();
        let mismatch = ended(RmpResult::FailSizeMismatch, false);
        assert_eq!(pvalidate(rmp, BLOCK, RmpSize::Size2M, true).0, mismatch);
        // So is one through a 4K mapping of the guest.
        let _ = rmp.assign(2 * BLOCK, RmpSize::Size2M).unwrap();
        let page = operand(2 * BLOCK, RmpSize::Size4K);
        assert_eq!(rmp.pvalidate(VMPL0, &page, 1, 1, &mut |_| {}), mismatch);
    });
}

#[test]
fn pvalidate_4k_in_a_2m_page_has_the_host_split_it() {
    with(|rmp| {
        valid(rmp, BLOCK, RmpSize::Size2M);
        let (result, _) = pvalidate(rmp, BLOCK + 3 * PAGE, RmpSize::Size4K, false);
        let Instruction::Host(duty) = result else {
            panic!("{result:?}");
        };
        assert_eq!(duty, HostDuty::Psmash { gpa: BLOCK });
        rmp.serve(duty, &mut |_| {});
        let (result, changes) = pvalidate(rmp, BLOCK + 3 * PAGE, RmpSize::Size4K, false);
        assert_eq!(result, success(false));
        assert_eq!(changes[0].gpa, BLOCK + 3 * PAGE);
        assert!(rmp.entry(BLOCK + 2 * PAGE).unwrap().0.validated());
        assert!(!rmp.entry(BLOCK + 3 * PAGE).unwrap().0.validated());
    });
}

#[test]
fn pvalidate_of_an_unassigned_page_has_the_host_assign_it() {
    with(|rmp| {
        let (result, _) = pvalidate(rmp, BLOCK, RmpSize::Size2M, true);
        let Instruction::Host(duty) = result else {
            panic!("{result:?}");
        };
        rmp.serve(duty, &mut |_| {});
        assert_eq!(
            pvalidate(rmp, BLOCK, RmpSize::Size2M, true).0,
            success(false)
        );
    });
}

#[test]
fn pvalidate_keeps_permissions() {
    with(|rmp| {
        valid(rmp, BLOCK, RmpSize::Size4K);
        let attributes = RmpAttributes::new(1, Permissions::FULL, false);
        assert_eq!(rmpadjust(rmp, VMPL0, BLOCK, attributes), RmpResult::Success);
        let _ = pvalidate(rmp, BLOCK, RmpSize::Size4K, false);
        let _ = pvalidate(rmp, BLOCK, RmpSize::Size4K, true);
        assert!(matches!(rmp.check(&read(BLOCK, 1)), Decision::Map(_)));
    });
}

#[test]
fn instructions_need_private_memory() {
    with(|rmp| {
        let _ = rmp.unassign(BLOCK, RmpSize::Size4K).unwrap();
        let page = Operand {
            c_bit: false,
            ..operand(BLOCK, RmpSize::Size4K)
        };
        assert_eq!(
            rmp.pvalidate(VMPL0, &page, 0, 1, &mut |_| {}),
            Instruction::Violation(Rule::InstructionThroughShared { gpa: BLOCK })
        );
        let page = operand(0xFEE0_0000, RmpSize::Size4K);
        assert_eq!(
            rmp.pvalidate(VMPL0, &page, 0, 1, &mut |_| {}),
            Instruction::Mmio
        );
    });
}

// RMPADJUST.

#[test]
fn rmpadjust_reaches_less_privileged_vmpls_only() {
    with(|rmp| {
        valid(rmp, BLOCK, RmpSize::Size4K);
        let to = |vmpl| RmpAttributes::new(vmpl, Permissions::FULL, false);
        assert_eq!(rmpadjust(rmp, VMPL0, BLOCK, to(1)), RmpResult::Success);
        for vmpl in [0, 1] {
            assert_eq!(
                rmpadjust(rmp, VMPL1, BLOCK, to(vmpl)),
                RmpResult::FailPermission
            );
        }
        assert_eq!(rmpadjust(rmp, VMPL1, BLOCK, to(2)), RmpResult::Success);
        assert_eq!(
            rmpadjust(rmp, VMPL0, BLOCK, to(0)),
            RmpResult::FailPermission
        );
        assert_eq!(rmpadjust(rmp, VMPL0, BLOCK, to(4)), RmpResult::FailInput);
        let reserved = RmpAttributes(to(1).0 | 1 << 17);
        assert_eq!(rmpadjust(rmp, VMPL0, BLOCK, reserved), RmpResult::FailInput);
    });
}

#[test]
fn rmpadjust_grants_no_more_than_the_caller_has() {
    with(|rmp| {
        valid(rmp, BLOCK, RmpSize::Size4K);
        let read_only = RmpAttributes::new(1, Permissions::READ, false);
        assert_eq!(rmpadjust(rmp, VMPL0, BLOCK, read_only), RmpResult::Success);
        let full = RmpAttributes::new(2, Permissions::FULL, false);
        assert_eq!(
            rmpadjust(rmp, VMPL1, BLOCK, full),
            RmpResult::FailPermission
        );
        let read_only = RmpAttributes::new(2, Permissions::READ, false);
        assert_eq!(rmpadjust(rmp, VMPL1, BLOCK, read_only), RmpResult::Success);
    });
}

#[test]
fn rmpadjust_tells_whether_a_right_is_lost() {
    with(|rmp| {
        valid(rmp, BLOCK, RmpSize::Size4K);
        let adjust = |permissions| {
            let mut changes = Vec::new();
            let _ = rmp.rmpadjust(
                VMPL0,
                &operand(BLOCK, RmpSize::Size4K),
                0,
                RmpAttributes::new(2, permissions, false),
                &mut |change| changes.push(change.revokes()),
            );
            changes
        };
        assert_eq!(adjust(Permissions::FULL), [false]);
        assert_eq!(adjust(Permissions::FULL), []);
        assert_eq!(adjust(Permissions::READ), [true]);
    });
}

#[test]
fn only_vmpl0_makes_a_vmsa() {
    with(|rmp| {
        valid(rmp, BLOCK, RmpSize::Size4K);
        let grant = RmpAttributes::new(1, Permissions::FULL, false);
        assert_eq!(rmpadjust(rmp, VMPL0, BLOCK, grant), RmpResult::Success);
        // Ignored, not refused, below VMPL0.
        let make = RmpAttributes::new(2, Permissions::empty(), true);
        assert_eq!(rmpadjust(rmp, VMPL1, BLOCK, make), RmpResult::Success);
        assert!(!rmp.entry(BLOCK).unwrap().0.vmsa());
        assert_eq!(rmpadjust(rmp, VMPL0, BLOCK, make), RmpResult::Success);
        assert!(rmp.entry(BLOCK).unwrap().0.vmsa());
    });
}

#[test]
fn rmpadjust_of_an_unvalidated_page_is_vc_404() {
    with(|rmp| {
        let _ = rmp.assign(BLOCK, RmpSize::Size4K).unwrap();
        let attributes = RmpAttributes::new(1, Permissions::FULL, false);
        let page = operand(BLOCK, RmpSize::Size4K);
        assert_eq!(
            rmp.rmpadjust(VMPL0, &page, 0, attributes, &mut |_| {}),
            Instruction::NotValidated
        );
    });
}

#[test]
fn rmpadjust_needs_read_permission_itself() {
    with(|rmp| {
        valid(rmp, BLOCK, RmpSize::Size4K);
        let attributes = RmpAttributes::new(2, Permissions::empty(), false);
        let page = operand(BLOCK, RmpSize::Size4K);
        assert_eq!(
            rmp.rmpadjust(VMPL1, &page, 0, attributes, &mut |_| {}),
            Instruction::Violation(Rule::VmplPermission {
                gpa: BLOCK,
                vmpl: 1
            })
        );
    });
}

#[test]
fn rmpadjust_sizes_must_fit() {
    with(|rmp| {
        valid(rmp, BLOCK, RmpSize::Size4K);
        valid(rmp, 2 * BLOCK, RmpSize::Size2M);
        let attributes = RmpAttributes::new(1, Permissions::FULL, false);
        let adjust = |gpa, size: RmpSize| {
            rmp.rmpadjust(
                VMPL0,
                &operand(gpa, size),
                size as u64,
                attributes,
                &mut |_| {},
            )
        };
        assert_eq!(
            adjust(BLOCK, RmpSize::Size2M),
            Instruction::Done(Adjusted {
                result: RmpResult::FailSizeMismatch
            })
        );
        assert_eq!(
            adjust(2 * BLOCK + PAGE, RmpSize::Size4K),
            Instruction::Host(HostDuty::Psmash { gpa: 2 * BLOCK })
        );
        assert_eq!(
            adjust(2 * BLOCK + PAGE, RmpSize::Size2M),
            Instruction::Done(Adjusted {
                result: RmpResult::FailInput
            })
        );
    });
}

// RMPQUERY.

#[test]
fn rmpquery_shows_the_callers_and_lower_permissions() {
    with(|rmp| {
        valid(rmp, BLOCK, RmpSize::Size2M);
        let grant = RmpAttributes::new(2, Permissions::READ, true);
        assert_eq!(rmpadjust(rmp, VMPL0, BLOCK, grant), RmpResult::Success);
        let query = |caller, vmpl| {
            rmp.rmpquery(
                caller,
                &operand(BLOCK + PAGE, RmpSize::Size4K),
                RmpAttributes::new(vmpl, Permissions::empty(), false),
            )
        };
        assert_eq!(
            query(VMPL0, 2),
            Instruction::Done(Queried {
                result: RmpResult::Success,
                size: RmpSize::Size2M,
                attributes: grant
            })
        );
        let result_of = |query| match query {
            Instruction::Done(Queried { result, .. }) => Some(result),
            _ => None,
        };
        let vmpl2 = Caller { vmpl: 2, cpl: 0 };
        assert_eq!(result_of(query(vmpl2, 2)), Some(RmpResult::Success));
        assert_eq!(result_of(query(vmpl2, 1)), Some(RmpResult::FailPermission));
        assert_eq!(result_of(query(VMPL0, 9)), Some(RmpResult::FailInput));
        let user = Caller { vmpl: 0, cpl: 3 };
        assert_eq!(query(user, 2), Instruction::GeneralProtection);
    });
}
