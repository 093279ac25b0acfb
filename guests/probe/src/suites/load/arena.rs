// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the vCPUs of the load share: pages that they fight over, pages that they lend to the SVSM, and what they counted.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use svsm_abi::result::ResultCode;

use super::calls::KINDS;
use crate::scratch;

/// vCPUs that take part, the first one included; the probe has as many stacks.
pub(super) const MOST_VCPUS: usize = 4;
/// Pages that all fight over.
pub(super) const CONTESTED: usize = 8;
/// Pages that are lent to the SVSM and come back.
pub(super) const LOANS: usize = 64;

/// A page that is the guest's or lent to the SVSM. Whoever changes `lent` from false to true may give the page
/// away; whoever gets it back changes it from true to false, once.
pub(super) struct Loan {
    pub(super) page: AtomicU64,
    pub(super) lent: AtomicBool,
}

/// Plain counters: every one of them is read after all vCPUs are done.
pub(super) struct Arena {
    pub(super) rounds: AtomicU64,
    /// APIC id of the CPU that runs nothing.
    pub(super) spare: AtomicU64,
    pub(super) areas: [AtomicU64; MOST_VCPUS],
    pub(super) contested: [AtomicU64; CONTESTED],
    pub(super) shared_list: AtomicU64,
    pub(super) loans: [Loan; LOANS],
    pub(super) deposited: AtomicU64,
    pub(super) withdrawn: AtomicU64,
    pub(super) done: AtomicU64,
    pub(super) calls: AtomicU64,
    pub(super) kinds: [AtomicU64; KINDS],
    pub(super) wrong: AtomicU64,
    pub(super) first_wrong: AtomicU64,
}

pub(super) static ARENA: Arena = Arena {
    rounds: AtomicU64::new(0),
    spare: AtomicU64::new(0),
    areas: [const { AtomicU64::new(0) }; MOST_VCPUS],
    contested: [const { AtomicU64::new(0) }; CONTESTED],
    shared_list: AtomicU64::new(0),
    loans: [const {
        Loan {
            page: AtomicU64::new(0),
            lent: AtomicBool::new(false),
        }
    }; LOANS],
    deposited: AtomicU64::new(0),
    withdrawn: AtomicU64::new(0),
    done: AtomicU64::new(0),
    calls: AtomicU64::new(0),
    kinds: [const { AtomicU64::new(0) }; KINDS],
    wrong: AtomicU64::new(0),
    first_wrong: AtomicU64::new(0),
};

impl Arena {
    /// Sets the pages aside, for `vcpus` vCPUs that make `rounds` calls each.
    pub(super) fn prepare(&self, rounds: u64, vcpus: usize) {
        self.rounds.store(rounds, Ordering::Relaxed);
        self.spare.store(vcpus as u64, Ordering::Relaxed);
        self.shared_list.store(scratch::page(), Ordering::Relaxed);
        let pages = self.contested.iter();
        for page in pages.chain(self.loans.iter().map(|loan| &loan.page)) {
            page.store(scratch::page(), Ordering::Relaxed);
        }
    }

    /// Notes an answer that is not right, in a call of `kind`.
    pub(super) fn note_wrong(&self, code: ResultCode, kind: u64) {
        if self.wrong.fetch_add(1, Ordering::Relaxed) == 0 {
            self.first_wrong
                .store(kind << 48 | code.0 & 0xFFFF_FFFF_FFFF, Ordering::Relaxed);
        }
    }

    /// The same, unless it is the `expected` one.
    pub(super) fn expect(&self, seen: ResultCode, expected: ResultCode, kind: u64) {
        if seen != expected {
            self.note_wrong(seen, kind);
        }
    }

    /// Pages that are lent.
    pub(super) fn lent(&self) -> usize {
        let lent = |loan: &&Loan| loan.lent.load(Ordering::Relaxed);
        self.loans.iter().filter(lent).count()
    }
}
