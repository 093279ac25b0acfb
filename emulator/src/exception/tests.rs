// SPDX-License-Identifier: MIT OR Apache-2.0
//! Delivery over each kind of gate and stack, and its refusals.

use super::*;
use std::cell::RefCell;
use std::vec;
use std::vec::Vec;
use zerocopy::FromZeros;

const IDT: u64 = 0x1000;
const GDT: u64 = 0x3000;
const TSS: u64 = 0x4000;
const HANDLER: u64 = 0xFFFF_FFFF_8123_4560;

struct Memory(RefCell<Vec<u8>>);

impl Memory {
    fn put(&self, at: u64, value: u64) {
        self.write(at, &value.to_le_bytes());
    }

    fn get(&self, at: u64) -> u64 {
        read_u64(self, at).unwrap()
    }
}

impl LinearMemory for Memory {
    fn read(&self, linear: u64, into: &mut [u8]) -> bool {
        let start = linear as usize;
        match self.0.borrow().get(start..start + into.len()) {
            Some(bytes) => {
                into.copy_from_slice(bytes);
                true
            }
            None => false,
        }
    }

    fn write(&self, linear: u64, from: &[u8]) -> bool {
        let start = linear as usize;
        match self.0.borrow_mut().get_mut(start..start + from.len()) {
            Some(bytes) => {
                bytes.copy_from_slice(from);
                true
            }
            None => false,
        }
    }
}

fn gate(selector: u64, kind: u64, ist: u64) -> (u64, u64) {
    let low = HANDLER & 0xFFFF
        | selector << 16
        | ist << 32
        | (0x80 | kind) << 40
        | (HANDLER >> 16 & 0xFFFF) << 48;
    (low, HANDLER >> 32)
}

fn machine(kind: u64, ist: u64) -> (Save, Memory) {
    let memory = Memory(RefCell::new(vec![0; 0x10000]));
    let (low, high) = gate(8, kind, ist);
    memory.put(IDT + 29 * 16, low);
    memory.put(IDT + 29 * 16 + 8, high);
    memory.put(GDT + 8, 0x00AF_9B00_0000_FFFF);
    memory.put(TSS + 4, 0x8000);
    memory.put(TSS + 0x24 + 8, 0x9008);
    let mut save = Save::new_zeroed();
    save.cr0 = 0x8000_0001;
    save.efer = EFER_LMA;
    save.idtr.base = IDT;
    save.idtr.limit = 0xFFF;
    save.gdtr.base = GDT;
    save.gdtr.limit = 0x3F;
    save.tr.base = TSS;
    save.tr.limit = 0x67;
    save.cs.selector = 0x33;
    save.ss.selector = 0x2B;
    save.rip = 0x40_1234;
    save.rsp = 0x7777;
    save.rflags = 0x202 | RFLAGS_TF | RFLAGS_RF;
    save.cpl = 3;
    (save, memory)
}

#[test]
fn from_user_mode_over_rsp0() {
    let (mut save, memory) = machine(0xE, 0);
    deliver(&mut save, &memory, VC, 0x72).unwrap();
    assert_eq!(save.rsp, 0x8000 - 48);
    assert_eq!(memory.get(save.rsp), 0x72);
    assert_eq!(memory.get(save.rsp + 8), 0x40_1234);
    assert_eq!(memory.get(save.rsp + 16), 0x33);
    assert_eq!(memory.get(save.rsp + 24), 0x202 | RFLAGS_TF | RFLAGS_RF);
    assert_eq!(memory.get(save.rsp + 32), 0x7777);
    assert_eq!(memory.get(save.rsp + 40), 0x2B);
    assert_eq!(save.rip, HANDLER);
    assert_eq!((save.cpl, save.cs.selector, save.ss.selector), (0, 8, 0));
    assert_eq!(save.rflags, 2);
}

#[test]
fn over_ist_and_aligned() {
    let (mut save, memory) = machine(0xE, 2);
    save.cpl = 0;
    deliver(&mut save, &memory, VC, 0x7B).unwrap();
    assert_eq!(save.rsp, 0x9000 - 48);
    // Same privilege: SS stays.
    assert_eq!(save.ss.selector, 0x2B);
}

#[test]
fn same_stack_and_trap_gate() {
    let (mut save, memory) = machine(0xF, 0);
    save.cpl = 0;
    deliver(&mut save, &memory, VC, 1).unwrap();
    assert_eq!(save.rsp, 0x7770 - 48);
    assert_eq!(save.rflags, 0x202);
}

#[test]
fn refusals_change_nothing() {
    let (save, memory) = machine(0xE, 0);
    let try_with = |change: &dyn Fn(&mut Save)| {
        let mut changed = save.clone();
        change(&mut changed);
        let before = changed.rip;
        let result = deliver(&mut changed, &memory, VC, 0);
        assert_eq!(changed.rip, before);
        result
    };
    assert_eq!(try_with(&|s| s.cr0 = 0), Err(Undeliverable::Mode));
    assert_eq!(
        try_with(&|s| s.idtr.limit = 29 * 16),
        Err(Undeliverable::Gate)
    );
    assert_eq!(
        try_with(&|s| s.gdtr.limit = 7),
        Err(Undeliverable::CodeSegment)
    );
    assert_eq!(try_with(&|s| s.tr.limit = 4), Err(Undeliverable::TaskState));
    memory.put(TSS + 4, 0x10_0000);
    assert_eq!(try_with(&|_| ()), Err(Undeliverable::Stack(0x10_0000 - 48)));
}

fn protected_machine() -> (Save, Memory) {
    let memory = Memory(RefCell::new(vec![0; 0x10000]));
    let low = 0x5678 | 0x10 << 16 | 0x8E << 40 | 0x1234 << 48;
    memory.put(IDT + 29 * 8, low);
    memory.put(GDT + 0x10, 0x00CF_9B00_0000_FFFF);
    let mut save = Save::new_zeroed();
    save.cr0 = 1;
    save.idtr = Segment {
        base: IDT,
        limit: 0x7FF,
        ..Segment::default()
    };
    save.gdtr = Segment {
        base: GDT,
        limit: 0x3F,
        ..Segment::default()
    };
    save.ss.attributes = 0xC93;
    save.cs.selector = 0x10;
    save.rip = 0xABCD;
    save.rsp = 0x7000;
    save.rflags = 0x202;
    (save, memory)
}

#[test]
fn protected_mode() {
    let (mut save, memory) = protected_machine();
    deliver(&mut save, &memory, VC, 0x72).unwrap();
    assert_eq!((save.rip, save.rsp), (0x1234_5678, 0x6FF0));
    assert_eq!(memory.get(0x6FF0), 0x72 | 0xABCD << 32);
    assert_eq!(memory.get(0x6FF8), 0x10 | 0x202 << 32);
    assert_eq!(save.cs.limit, u32::MAX);
}

#[test]
fn protected_mode_from_user_mode() {
    let (mut save, memory) = protected_machine();
    memory.put(GDT + 0x18, 0x00CF_9300_0000_FFFF);
    save.tr.base = TSS;
    save.tr.limit = 0x67;
    memory.put(TSS + 4, 0x8000 | 0x18 << 32);
    save.cpl = 3;
    save.cs.selector = 0x23;
    save.ss.selector = 0x2B;
    let user = save.clone();
    deliver(&mut save, &memory, VC, 0x72).unwrap();
    assert_eq!((save.rip, save.rsp), (0x1234_5678, 0x8000 - 24));
    assert_eq!(
        (save.cpl, save.cs.selector, save.ss.selector),
        (0, 0x10, 0x18)
    );
    assert_eq!(memory.get(save.rsp), 0x72 | 0xABCD << 32);
    assert_eq!(memory.get(save.rsp + 8), 0x23 | 0x202 << 32);
    assert_eq!(memory.get(save.rsp + 16), 0x7000 | 0x2B << 32);
    // A stack segment of another level, one that can't be written, and none.
    for descriptor in [0x00CF_F300_0000_FFFF, 0x00CF_9100_0000_FFFF, 0] {
        memory.put(GDT + 0x18, descriptor);
        let mut refused = user.clone();
        assert_eq!(
            deliver(&mut refused, &memory, VC, 0x72),
            Err(Undeliverable::TaskState)
        );
        assert_eq!((refused.rip, refused.rsp, refused.cpl), (0xABCD, 0x7000, 3));
    }
}
