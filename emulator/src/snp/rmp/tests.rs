// SPDX-License-Identifier: MIT OR Apache-2.0
//! The RMP's rules, one test each. Names are the rules of `docs/src/emulator/snp-rules.md`.

extern crate std;

use std::vec::Vec;

use snp_defs::rmp::{Permissions, RmpAttributes, RmpResult};

use super::*;
use crate::snp::refusal::Refusal;
use crate::snp::rule::Rule;

mod access;
mod host;
mod instruction;

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
