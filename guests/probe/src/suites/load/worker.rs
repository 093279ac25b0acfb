// SPDX-License-Identifier: MIT OR Apache-2.0
//! A vCPU of the load: what it has for itself, and the order of its calls.

use core::sync::atomic::Ordering;

use svsm_abi::core_protocol::{self as core_calls, PvalidateEntry};
use svsm_abi::result::ResultCode;

use super::arena::ARENA;
use super::calls;
use super::random::Random;
use crate::scratch;
use crate::svsm::Caller;

/// 4K pages that a vCPU has for itself.
const OWN: usize = 16;
/// States of vCPUs that it makes and deletes.
const STATES: usize = 2;

/// A page of 2M. Once a 4K page of it has changed on its own, it is one no more to the RMP.
pub(super) struct Huge {
    pub(super) page: u64,
    pub(super) valid: bool,
    pub(super) split: bool,
    /// A page in it that is not valid.
    pub(super) hole: Option<u64>,
}

/// A state of a vCPU on the CPU that runs nothing.
pub(super) struct State {
    pub(super) page: u64,
    pub(super) area: u64,
    pub(super) made: bool,
}

/// What a vCPU works with.
pub(super) struct Worker {
    pub(super) caller: Caller,
    pub(super) random: Random,
    /// A page for its lists.
    pub(super) list: u64,
    /// Its calling areas: the one that it started with, and another one.
    pub(super) areas: [u64; 2],
    /// Pages, and whether each is valid.
    pub(super) own: [(u64, bool); OWN],
    pub(super) huge: Huge,
    pub(super) states: [State; STATES],
    pub(super) attestation: calls::Attestation,
}

impl Worker {
    /// Vcpu `index`, with pages of its own.
    pub(super) fn new(index: usize, has_ghcb: bool) -> Self {
        let area = ARENA.areas[index].load(Ordering::Relaxed);
        Self {
            caller: Caller { area, has_ghcb },
            random: Random(0x9E37_79B9_7F4A_7C15 ^ (index as u64 + 1)),
            list: scratch::page(),
            areas: [area, scratch::page()],
            own: core::array::from_fn(|_| (scratch::page(), true)),
            huge: Huge {
                page: scratch::huge_page(),
                valid: true,
                split: false,
                hole: None,
            },
            states: core::array::from_fn(|_| State {
                page: scratch::page(),
                area: scratch::page(),
                made: false,
            }),
            attestation: calls::Attestation::new(),
        }
    }

    /// Makes its calls, and puts back what it has for itself.
    pub(super) fn work(mut self) {
        for _ in 0..ARENA.rounds.load(Ordering::Relaxed) {
            ARENA.calls.fetch_add(1, Ordering::Relaxed);
            calls::one(&mut self);
        }
        self.put_back();
        ARENA.done.fetch_add(1, Ordering::Release);
    }

    fn put_back(&mut self) {
        let hole = self.huge.hole.map(|page| (page, false));
        for (page, valid) in self.own.into_iter().chain(hole) {
            if !valid {
                let entry = PvalidateEntry::new(page, false, true, false);
                let seen = calls::pvalidate(self.caller, self.list, &[entry]);
                ARENA.expect(seen, ResultCode::SUCCESS, 100);
            }
        }
        if !self.huge.valid {
            let entry = PvalidateEntry::new(self.huge.page, true, true, false);
            let seen = calls::pvalidate(self.caller, self.list, &[entry]);
            ARENA.expect(seen, ResultCode::SUCCESS, 101);
        }
        for state in self.states.iter().filter(|state| state.made) {
            let delete = [state.page, 0, 0];
            let seen = self
                .caller
                .settled(core_calls::PROTOCOL, core_calls::DELETE_VCPU, delete);
            ARENA.expect(seen, ResultCode::SUCCESS, 102);
        }
        if self.caller.area != self.areas[0] {
            calls::move_area(self);
        }
    }
}
