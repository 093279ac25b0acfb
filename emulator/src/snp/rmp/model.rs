// SPDX-License-Identifier: MIT OR Apache-2.0
//! The table against a slow, obvious model: random operations by guest and host, results and every
//! page's state compared after each.

extern crate std;

use std::vec::Vec;

use proptest::prelude::*;
use snp_defs::rmp::{Permissions, RmpAttributes, RmpResult};

use super::*;

const PAGE: u64 = 0x1000;
const BLOCKS: usize = 2;
const BASE: u64 = 0x4000_0000;

/// A page of the model.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
struct Page {
    assigned: bool,
    shared: bool,
    validated: bool,
    vmsa: bool,
    in_use: bool,
    permissions: [u8; 3],
}

/// All pages, and for each block whether it is one unit.
#[derive(Clone)]
struct Model {
    pages: Vec<Page>,
    unit: [bool; BLOCKS],
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Assign(usize, bool),
    Unassign(usize, bool),
    MakePrivate(usize, bool),
    MakeShared(usize, bool),
    Psmash(usize),
    Unsmash(usize),
    Pvalidate(usize, bool, bool),
    Rmpadjust(u8, usize, bool, u8, u8, bool),
    Claim(usize),
    Release(usize),
}

const NEW: Page = Page {
    assigned: true,
    shared: false,
    validated: false,
    vmsa: false,
    in_use: false,
    permissions: [0; 3],
};
const SHARED: Page = Page {
    shared: true,
    assigned: false,
    ..NEW
};

impl Model {
    fn range(at: usize, huge: bool) -> core::ops::Range<usize> {
        at..at + if huge { 512 } else { 1 }
    }

    /// 4K work on a block that is one unit: from here on each page counts.
    fn split(&mut self, at: usize) {
        self.unit[at / 512] = false;
    }

    fn update(&mut self, at: usize, huge: bool, to: Page) -> bool {
        let block = at / 512;
        let pages = &self.pages[block * 512..][..512];
        let overlap = if huge {
            !self.unit[block] && pages.iter().any(|page| page.assigned)
        } else {
            self.unit[block] && self.pages[at].assigned
        };
        if overlap || self.pages[at].in_use {
            return false;
        }
        self.unit[block] = huge;
        self.pages[Self::range(at, huge)].fill(to);
        true
    }

    fn convert(&mut self, at: usize, huge: bool, to: Page) -> bool {
        let done = |page: &Page| page.assigned == to.assigned && page.shared == to.shared;
        let range = Self::range(at, huge);
        if self.pages[range.clone()]
            .iter()
            .any(|page| !done(page) && page.in_use)
        {
            return false;
        }
        if self.pages[range.clone()].iter().all(done) {
            return true;
        }
        self.unit[at / 512] = huge && !self.pages[range.clone()].iter().any(done);
        for page in &mut self.pages[range] {
            if !done(page) {
                *page = to;
            }
        }
        true
    }

    /// What an RMP instruction finds: a page range, or the result without one.
    fn find(&self, at: usize, huge: bool) -> Result<(), &'static str> {
        if huge && !at.is_multiple_of(512) {
            Err("input")
        } else if !self.pages[at].assigned {
            Err("assign")
        } else if !huge && self.unit[at / 512] {
            Err("psmash")
        } else if huge && !self.unit[at / 512] {
            Err("size")
        } else {
            Ok(())
        }
    }

    fn apply(&mut self, op: Op) -> &'static str {
        let ok = |done| if done { "ok" } else { "refused" };
        match op {
            Op::Assign(at, huge) => ok(self.update(at, huge, NEW)),
            Op::Unassign(at, huge) => ok(self.update(at, huge, SHARED)),
            Op::MakePrivate(at, huge) => ok(self.convert(at, huge, NEW)),
            Op::MakeShared(at, huge) => ok(self.convert(at, huge, SHARED)),
            Op::Psmash(at) => {
                let page = self.pages[at];
                let may = self.unit[at / 512] && page.assigned && !page.in_use;
                if may {
                    self.split(at);
                }
                ok(may)
            }
            Op::Unsmash(at) => {
                let first = at / 512 * 512;
                let page = self.pages[first];
                let same = self.pages[first..][..512]
                    .iter()
                    .all(|other| *other == page);
                let may = !self.unit[at / 512] && same && page.assigned && !page.in_use;
                if may {
                    self.unit[at / 512] = true;
                }
                ok(may)
            }
            Op::Pvalidate(at, huge, on) => {
                if let Err(why) = self.find(at, huge) {
                    return why;
                }
                if self.pages[at].in_use {
                    return "in use";
                }
                if self.pages[at].validated == on {
                    return "unchanged";
                }
                for page in &mut self.pages[Self::range(at, huge)] {
                    page.validated = on;
                }
                "ok"
            }
            Op::Rmpadjust(caller, at, huge, target, permissions, vmsa) => {
                if target > 3 {
                    return "input";
                }
                if target <= caller {
                    return "permission";
                }
                let found = self.find(at, huge);
                let page = self.pages[at];
                let own = if caller == 0 {
                    0x1F
                } else {
                    page.permissions[usize::from(caller) - 1]
                };
                let readable = own & 1 != 0;
                match found {
                    Err("size") if page.validated && !readable => return "violation",
                    Err(why) => return why,
                    Ok(()) if !page.validated => return "not validated",
                    Ok(()) if !readable => return "violation",
                    Ok(()) if page.in_use => return "in use",
                    Ok(()) if permissions & !own != 0 => return "permission",
                    Ok(()) => {}
                }
                for page in &mut self.pages[Self::range(at, huge)] {
                    page.permissions[usize::from(target) - 1] = permissions;
                    if caller == 0 {
                        page.vmsa = vmsa;
                    }
                }
                "ok"
            }
            Op::Claim(at) => {
                let page = &mut self.pages[at];
                let may = page.assigned
                    && page.validated
                    && page.vmsa
                    && !page.in_use
                    && !self.unit[at / 512];
                if may {
                    page.in_use = true;
                }
                ok(may)
            }
            Op::Release(at) => {
                if !self.unit[at / 512] {
                    self.pages[at].in_use = false;
                }
                "ok"
            }
        }
    }
}

fn size(huge: bool) -> RmpSize {
    if huge {
        RmpSize::Size2M
    } else {
        RmpSize::Size4K
    }
}

fn gpa(at: usize) -> u64 {
    BASE + at as u64 * PAGE
}

fn operand(at: usize, huge: bool) -> Operand {
    Operand {
        virtual_address: gpa(at),
        gpa: gpa(at),
        mapping: size(huge),
        c_bit: true,
    }
}

fn name<T>(result: Instruction<T>, done: impl FnOnce(T) -> (RmpResult, bool)) -> &'static str {
    match result {
        Instruction::Done(value) => match done(value) {
            (RmpResult::Success, true) => "unchanged",
            (RmpResult::Success, false) => "ok",
            (RmpResult::FailInput, _) => "input",
            (RmpResult::FailPermission, _) => "permission",
            (RmpResult::FailInUse, _) => "in use",
            (RmpResult::FailSizeMismatch, _) => "size",
        },
        Instruction::NotValidated => "not validated",
        Instruction::Host(HostDuty::Assign { .. }) => "assign",
        Instruction::Host(HostDuty::Psmash { .. }) => "psmash",
        Instruction::Violation(_) => "violation",
        Instruction::GeneralProtection => "general protection",
        Instruction::Mmio => "mmio",
    }
}

fn apply(rmp: &Rmp<'_>, op: Op) -> &'static str {
    let ok = |done| if done { "ok" } else { "refused" };
    match op {
        Op::Assign(at, huge) => ok(rmp.assign(gpa(at), size(huge)).is_ok()),
        Op::Unassign(at, huge) => ok(rmp.unassign(gpa(at), size(huge)).is_ok()),
        Op::MakePrivate(at, huge) => ok(rmp.make_private(gpa(at), size(huge), &mut |_| {}).is_ok()),
        Op::MakeShared(at, huge) => ok(rmp.make_shared(gpa(at), size(huge), &mut |_| {}).is_ok()),
        Op::Psmash(at) => ok(rmp.psmash(gpa(at)).is_ok()),
        Op::Unsmash(at) => ok(rmp.unsmash(gpa(at)).is_ok()),
        Op::Pvalidate(at, huge, on) => {
            let caller = Caller { vmpl: 0, cpl: 0 };
            let result = rmp.pvalidate(
                caller,
                &operand(at, huge),
                huge.into(),
                on.into(),
                &mut |_| {},
            );
            name(result, |done| (done.result, done.unchanged))
        }
        Op::Rmpadjust(vmpl, at, huge, target, permissions, vmsa) => {
            let attributes =
                RmpAttributes::new(target, Permissions::from_bits_retain(permissions), vmsa);
            let caller = Caller { vmpl, cpl: 0 };
            let result = rmp.rmpadjust(
                caller,
                &operand(at, huge),
                huge.into(),
                attributes,
                &mut |_| {},
            );
            name(result, |done| (done.result, false))
        }
        Op::Claim(at) => ok(rmp.claim_vmsa(gpa(at)).is_ok()),
        Op::Release(at) => {
            rmp.release_vmsa(gpa(at));
            "ok"
        }
    }
}

fn page(rmp: &Rmp<'_>, at: usize) -> (Page, bool) {
    let (entry, size) = rmp.entry(gpa(at)).unwrap();
    let permissions = [1, 2, 3].map(|vmpl| entry.permissions(vmpl).bits());
    let page = Page {
        assigned: entry.assigned(),
        shared: entry.shared(),
        validated: entry.validated(),
        vmsa: entry.vmsa(),
        in_use: entry.in_use(),
        permissions,
    };
    (page, size == RmpSize::Size2M)
}

/// Few pages, so that operations meet.
fn page_index() -> impl Strategy<Value = usize> {
    prop_oneof![Just(0usize), Just(1), Just(511), Just(512), Just(513)]
}

/// A page, and whether 2M are meant; aligned then.
fn host_page() -> impl Strategy<Value = (usize, bool)> {
    (page_index(), any::<bool>())
        .prop_map(|(at, huge)| (if huge { at / 512 * 512 } else { at }, huge))
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        1 => host_page().prop_map(|(at, huge)| Op::Assign(at, huge)),
        1 => host_page().prop_map(|(at, huge)| Op::Unassign(at, huge)),
        1 => host_page().prop_map(|(at, huge)| Op::MakePrivate(at, huge)),
        1 => host_page().prop_map(|(at, huge)| Op::MakeShared(at, huge)),
        1 => page_index().prop_map(Op::Psmash),
        1 => page_index().prop_map(Op::Unsmash),
        4 => (page_index(), any::<bool>(), prop::bool::weighted(0.8))
            .prop_map(|(at, huge, on)| Op::Pvalidate(at, huge, on)),
        4 => (0..4u8, page_index(), any::<bool>(), 0..5u8, 0..0x20u8, any::<bool>())
            .prop_map(|(caller, at, huge, target, permissions, vmsa)| {
                Op::Rmpadjust(caller, at, huge, target, permissions, vmsa)
            }),
        1 => page_index().prop_map(Op::Claim),
        1 => page_index().prop_map(Op::Release),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn behaves_as_the_model(ops in prop::collection::vec(op(), 1..60)) {
        let words: Vec<AtomicU64> = (0..BLOCKS * 512).map(|_| AtomicU64::new(0)).collect();
        let regions = [Region { base: BASE, words: &words }];
        let rmp = Rmp::new(&regions, RmpSize::Size2M);
        let mut model = Model {
            pages: std::vec![Page::default(); BLOCKS * 512],
            unit: [true; BLOCKS],
        };
        for op in ops {
            prop_assert_eq!(apply(&rmp, op), model.apply(op), "{:?}", op);
            for at in 0..BLOCKS * 512 {
                let expected = (model.pages[at], model.unit[at / 512]);
                prop_assert_eq!(page(&rmp, at), expected, "page {} after {:?}", at, op);
            }
        }
    }
}
