// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an access meets.

use super::*;

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
        assert!(changes[0].undefined() && changes[0].revokes());
        assert!(!changes[0].scramble(), "memory that was never used");
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
