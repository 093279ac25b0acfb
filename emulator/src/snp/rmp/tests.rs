// SPDX-License-Identifier: MIT OR Apache-2.0
//! The RMP's rules, one test each. Names are the rules of `docs/src/emulator/snp-rules.md`.

extern crate std;

use std::vec::Vec;

use snp_defs::rmp::{RmpAttributes, RmpResult};

use super::*;
use crate::snp::vmsa::Refusal;

const PAGE: u64 = 0x1000;
const BLOCK: u64 = 0x20_0000;
const VMPL0: Caller = Caller { vmpl: 0, cpl: 0 };
const VMPL1: Caller = Caller { vmpl: 1, cpl: 0 };

/// Three blocks: `[0, 0xA0000)` and `[1 MiB, 6 MiB)`, the first of them broken by the ISA hole.
struct Machine {
    low: Vec<AtomicU64>,
    high: Vec<AtomicU64>,
}

impl Machine {
    fn new() -> Self {
        let words = |count| (0..count).map(|_| AtomicU64::new(0)).collect();
        Self {
            low: words(0xA0),
            high: words(0x500),
        }
    }

    fn run(&self, test: impl FnOnce(&Rmp<'_>)) {
        self.run_with(RmpSize::Size2M, test);
    }

    fn run_with(&self, largest: RmpSize, test: impl FnOnce(&Rmp<'_>)) {
        let regions = [
            Region {
                base: 0,
                words: &self.low,
            },
            Region {
                base: 0x10_0000,
                words: &self.high,
            },
        ];
        test(&Rmp::new(&regions, largest));
    }
}

fn with(test: impl FnOnce(&Rmp<'_>)) {
    Machine::new().run(test);
}

fn operand(gpa: u64, mapping: RmpSize) -> Operand {
    Operand {
        virtual_address: gpa,
        gpa,
        mapping,
        c_bit: true,
    }
}

fn read(gpa: u64, vmpl: u8) -> Access {
    Access {
        gpa,
        c_bit: true,
        vmpl,
        write: false,
        fetch: false,
        user: false,
        table: false,
    }
}

fn shared_read(gpa: u64) -> Access {
    Access {
        c_bit: false,
        ..read(gpa, 0)
    }
}

/// PVALIDATE of one page as VMPL0, with its result and what changed.
fn pvalidate(
    rmp: &Rmp<'_>,
    gpa: u64,
    size: RmpSize,
    on: bool,
) -> (Instruction<Validated>, Vec<Change>) {
    let mut changes = Vec::new();
    let result = rmp.pvalidate(
        VMPL0,
        &operand(gpa, size),
        size as u64,
        on.into(),
        &mut |change| changes.push(change),
    );
    (result, changes)
}

fn rmpadjust(rmp: &Rmp<'_>, caller: Caller, gpa: u64, attributes: RmpAttributes) -> RmpResult {
    let size = rmp.entry(gpa).unwrap().1;
    let result = rmp.rmpadjust(
        caller,
        &operand(gpa, size),
        size as u64,
        attributes,
        &mut |_| {},
    );
    match result {
        Instruction::Done(done) => done.result,
        other => panic!("{other:?}"),
    }
}

/// A validated page.
fn valid(rmp: &Rmp<'_>, gpa: u64, size: RmpSize) {
    let _ = rmp.assign(gpa, size).unwrap();
    let (result, _) = pvalidate(rmp, gpa, size, true);
    assert_eq!(result, success(false));
}

fn success(unchanged: bool) -> Instruction<Validated> {
    ended(RmpResult::Success, unchanged)
}

fn ended(result: RmpResult, unchanged: bool) -> Instruction<Validated> {
    Instruction::Done(Validated { result, unchanged })
}

// Accesses.

#[test]
fn first_private_access_assigns_2m_where_nothing_was_touched() {
    with(|rmp| {
        let duty = HostDuty::Assign {
            gpa: BLOCK,
            size: RmpSize::Size2M,
        };
        assert_eq!(rmp.check(&read(BLOCK + 5 * PAGE, 0)), Decision::Host(duty));
        let mut changes = Vec::new();
        rmp.serve(duty, &mut |change| changes.push(change));
        assert_eq!(changes.len(), 1);
        assert!(changes[0].scramble() && changes[0].revokes());
        assert_eq!(
            rmp.check(&read(BLOCK + 5 * PAGE, 0)),
            Decision::NotValidated
        );
    });
}

#[test]
fn a_block_with_a_hole_is_assigned_by_4k() {
    with(|rmp| {
        for gpa in [0, 0x9_F000, 0x10_0000] {
            assert_eq!(
                rmp.check(&read(gpa, 0)),
                Decision::Host(HostDuty::Assign {
                    gpa,
                    size: RmpSize::Size4K
                })
            );
        }
        assert_eq!(rmp.check(&read(0xA_0000, 0)), Decision::Mmio);
        assert_eq!(rmp.check(&read(0x60_0000, 0)), Decision::Mmio);
        assert_eq!(rmp.check(&shared_read(0xFEE0_0000)), Decision::Mmio);
    });
}

#[test]
fn page_size_4k_never_assigns_2m() {
    Machine::new().run_with(RmpSize::Size4K, |rmp| {
        let duty = HostDuty::Assign {
            gpa: BLOCK + PAGE,
            size: RmpSize::Size4K,
        };
        assert_eq!(rmp.check(&read(BLOCK + PAGE, 0)), Decision::Host(duty));
        let mut pieces = 0;
        rmp.make_private(BLOCK, RmpSize::Size2M, &mut |change| {
            assert_eq!(change.size, RmpSize::Size4K);
            pieces += 1;
        })
        .unwrap();
        assert_eq!(pieces, 512);
    });
}

#[test]
fn private_access_to_an_unvalidated_page_is_vc_404() {
    with(|rmp| {
        let _ = rmp.assign(BLOCK, RmpSize::Size4K).unwrap();
        assert_eq!(rmp.check(&read(BLOCK, 0)), Decision::NotValidated);
        assert_eq!(rmp.check(&read(BLOCK, 3)), Decision::NotValidated);
    });
}

#[test]
fn vmpl0_has_all_permissions_and_others_none_until_granted() {
    with(|rmp| {
        valid(rmp, BLOCK, RmpSize::Size2M);
        let Decision::Map(leaf) = rmp.check(&read(BLOCK + PAGE, 0)) else {
            panic!("VMPL0 must reach its page");
        };
        assert_eq!((leaf.gpa, leaf.size), (BLOCK, RmpSize::Size2M));
        assert!(leaf.private && leaf.rights.contains(Permissions::FULL));
        for vmpl in 1..4 {
            assert_eq!(
                rmp.check(&read(BLOCK, vmpl)),
                Decision::Violation(Rule::VmplPermission { gpa: BLOCK, vmpl })
            );
        }
    });
}

#[test]
fn each_kind_of_access_needs_its_permission() {
    with(|rmp| {
        valid(rmp, BLOCK, RmpSize::Size4K);
        let allowed = |permissions, access: Access| {
            let attributes = RmpAttributes::new(2, permissions, false);
            assert_eq!(rmpadjust(rmp, VMPL0, BLOCK, attributes), RmpResult::Success);
            matches!(rmp.check(&access), Decision::Map(_))
        };
        let read = read(BLOCK, 2);
        let write = Access {
            write: true,
            ..read
        };
        let fetch = Access {
            fetch: true,
            ..read
        };
        let user_fetch = Access {
            user: true,
            ..fetch
        };
        let r = Permissions::READ;
        assert!(allowed(r, read) && !allowed(r, write) && !allowed(r, fetch));
        assert!(allowed(r | Permissions::WRITE, write));
        assert!(!allowed(r | Permissions::EXECUTE_USER, fetch));
        assert!(allowed(r | Permissions::EXECUTE_USER, user_fetch));
        assert!(allowed(r | Permissions::EXECUTE_SUPERVISOR, fetch));
        assert!(!allowed(Permissions::empty(), read));
    });
}

#[test]
fn shared_access_needs_a_shared_page() {
    with(|rmp| {
        assert_eq!(
            rmp.check(&shared_read(BLOCK)),
            Decision::Violation(Rule::SharedAccessToUnshared { gpa: BLOCK })
        );
        let _ = rmp.assign(BLOCK, RmpSize::Size4K).unwrap();
        assert_eq!(
            rmp.check(&shared_read(BLOCK)),
            Decision::Violation(Rule::SharedAccessToPrivate { gpa: BLOCK })
        );
        let _ = rmp.unassign(BLOCK, RmpSize::Size4K).unwrap();
        let Decision::Map(leaf) = rmp.check(&shared_read(BLOCK)) else {
            panic!("a shared page must be reachable");
        };
        assert!(!leaf.private);
        assert_eq!(leaf.rights, Permissions::READ | Permissions::WRITE);
        let fetch = Access {
            fetch: true,
            ..shared_read(BLOCK)
        };
        assert_eq!(
            rmp.check(&fetch),
            Decision::Violation(Rule::FetchOrWalkFromShared { gpa: BLOCK })
        );
    });
}

#[test]
fn private_access_to_a_shared_page_takes_it_back_unvalidated() {
    with(|rmp| {
        valid(rmp, BLOCK, RmpSize::Size4K);
        let _ = rmp.unassign(BLOCK, RmpSize::Size4K).unwrap();
        let Decision::Host(duty) = rmp.check(&read(BLOCK, 0)) else {
            panic!("the host must be asked");
        };
        rmp.serve(duty, &mut |_| {});
        assert_eq!(rmp.check(&read(BLOCK, 0)), Decision::NotValidated);
    });
}

#[test]
fn host_reaches_shared_pages_only() {
    with(|rmp| {
        let _ = rmp.unassign(BLOCK, RmpSize::Size4K).unwrap();
        let _ = rmp.unassign(BLOCK + PAGE, RmpSize::Size4K).unwrap();
        assert!(rmp.is_shared(BLOCK + 8, 2 * PAGE - 8));
        assert!(!rmp.is_shared(BLOCK + 8, 2 * PAGE));
        assert!(!rmp.is_shared(u64::MAX - 1, 4));
        assert!(!rmp.is_shared(0xFEE0_0000, 4));
    });
}

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

// The host.

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
    extern crate std;
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
