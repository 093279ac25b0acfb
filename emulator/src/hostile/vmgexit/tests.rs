// SPDX-License-Identifier: MIT OR Apache-2.0
//! The hostile host against a guest that looks at its answers.

extern crate std;

use super::super::Script;
use super::super::trick::Breach;
use super::*;
use crate::snp::ghcb::PageOp;
use crate::snp::ghcb::fake::{BUFFER, GHCB, PRIVATE, SHARED, Vcpu, field};
use proptest::prelude::*;
use snp_defs::guest_message::{HEADER_SIZE, Header};
use snp_defs::psc::{OP_PRIVATE, OP_SHARED};
use snp_defs::rmp::RmpSize;
use zerocopy::{FromZeros, IntoBytes};

/// A vCPU whose host follows a script.
struct Victim<'a> {
    vcpu: Vcpu,
    engine: Engine<'a>,
    /// What is to be done besides answers, and how many rules acted.
    tricks: Vec<(u32, Trick)>,
    acted: usize,
}

impl<'a> Victim<'a> {
    fn new(script: &'a str) -> Self {
        Self {
            vcpu: Vcpu::default(),
            engine: Engine::new(Script::parse(script.as_bytes()).unwrap(), 1),
            tricks: Vec::new(),
            acted: 0,
        }
    }

    fn exit(&mut self) -> Outcome {
        let outcome = handle_vmgexit(
            &self.engine,
            &mut self.vcpu.level,
            &mut self.vcpu.host,
            &mut self.tricks,
        );
        self.acted += self
            .tricks
            .iter()
            .filter(|(_, trick)| *trick == Trick::Acted)
            .count();
        self.tricks.retain(|(_, trick)| *trick != Trick::Acted);
        outcome
    }

    fn msr(&mut self, value: u64) -> u64 {
        self.vcpu.level.msr = value;
        assert_eq!(self.exit(), Outcome::Resume);
        self.vcpu.level.msr
    }

    fn page(&mut self, code: u64, info1: u64, info2: u64, fields: &[(usize, u64)]) -> (u64, u64) {
        self.vcpu.level.msr = GHCB;
        self.vcpu.prepare(code, info1, info2, fields);
        assert_eq!(self.exit(), Outcome::Resume);
        self.vcpu.answer()
    }

    /// A page state change of these entries: the answer, and where the list stands.
    fn change(&mut self, entries: &[Entry]) -> (u64, u64, u16, u16) {
        let header = (entries.len() as u64 - 1) << 16;
        self.vcpu.put(BUFFER, &header.to_le_bytes());
        for (at, entry) in (BUFFER + 8..).step_by(8).zip(entries) {
            self.vcpu.put(at, &entry.0.to_le_bytes());
        }
        let (info1, info2) = self.page(exit::PAGE_STATE_CHANGE, 0, 0, &[(field::SCRATCH, BUFFER)]);
        (info1, info2, self.half(BUFFER), self.half(BUFFER + 2))
    }

    fn half(&self, at: u64) -> u16 {
        u16::from_le_bytes(self.vcpu.get(at, 2).try_into().unwrap())
    }

    /// A message with this counter; the answer's SW_EXITINFO2.
    fn send(&mut self, counter: u64, text: u8) -> u64 {
        let mut header = Header::new_zeroed();
        header.msg_seqno = counter;
        header.msg_size = 16;
        self.vcpu.put(SHARED, header.as_bytes());
        self.vcpu.put(SHARED + HEADER_SIZE as u64, &[text; 16]);
        let (info1, info2) = self.page(exit::GUEST_REQUEST, SHARED, SHARED + 0x1000, &[]);
        assert_eq!(info1, 0);
        info2
    }

    fn response(&self) -> Vec<u8> {
        self.vcpu.get(SHARED + 0x1000, 4096).to_vec()
    }
}

fn private(gpa: u64) -> Entry {
    Entry::new(gpa, OP_PRIVATE, false)
}

#[test]
fn without_a_rule_the_honest_host_serves() {
    let mut victim = Victim::new("psc vmpl=2: drop\n");
    assert_eq!(victim.msr(0x14 | private(0x4000).0), 0x15);
    assert_eq!(victim.vcpu.host.pages.len(), 1);
    assert_eq!(victim.change(&[private(0x4000)]), (0, 0, 1, 0));
    assert!(victim.tricks.is_empty());
}

#[test]
fn dropped_page_state_changes_withhold_the_page() {
    let mut victim = Victim::new("psc: drop\n");
    assert_eq!(victim.msr(0x14 | private(0x4000).0), 0x15);
    let huge = Entry::new(0x20_0000, OP_PRIVATE, true);
    let shared = Entry::new(0x6000, OP_SHARED, false);
    assert_eq!(victim.change(&[huge, shared]), (0, 0, 2, 1));
    assert!(victim.vcpu.host.pages.is_empty());
    assert_eq!(victim.acted, 2);
    assert_eq!(
        victim.tricks,
        [
            (1, Trick::Withhold(0x4000, RmpSize::Size4K)),
            (1, Trick::Withhold(0x20_0000, RmpSize::Size2M)),
        ]
    );
}

#[test]
fn lists_stand_where_they_should_not() {
    let list = [private(0x4000), private(0x5000), private(0x6000)];
    let stands = |script| Victim::new(script).change(&list);
    assert_eq!(stands("psc: unmoved"), (0, 0, 0, 2));
    assert_eq!(stands("psc: shorten"), (0, 0, 1, 0));
    assert_eq!(stands("psc: backwards"), (0, 0, 1, 2));
    assert_eq!(stands("psc: fail code=0x100"), (0, 0x100 << 32, 0, 2));
    assert_eq!(stands("psc op=shared: drop"), (0, 0, 3, 2));
}

/// Pages of 4K that a list changes, in order.
fn small_pages(changes: &[(u64, PageOp, RmpSize)]) -> Vec<(u64, PageOp)> {
    let each = |&(gpa, op, size): &(u64, PageOp, RmpSize)| {
        (0..size.bytes() / 0x1000).map(move |n| (gpa + n * 0x1000, op))
    };
    changes.iter().flat_map(each).collect()
}

fn any_entry() -> impl Strategy<Value = Entry> {
    (0..64_u64, OP_PRIVATE..=OP_SHARED, any::<bool>()).prop_map(|(frame, op, huge)| {
        let unit = if huge { 0x20_0000 } else { 0x1000 };
        Entry::new(frame * unit, op, huge)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    /// However often the host pauses, a guest that calls again until `cur_entry` is past `end_entry` gets the
    /// same pages changed, each once, in the same order.
    #[test]
    fn a_paused_list_resumes_where_it_stopped(
        entries in prop::collection::vec(any_entry(), 1..20),
        begun in 0..512_u64,
        seed in any::<u32>(),
    ) {
        let mut entries = entries;
        let begun = if entries[0].huge() { begun } else { 0 };
        entries[0] = Entry(entries[0].0 | begun);
        let last = entries.len() as u16 - 1;
        let mut whole = Victim::new("");
        prop_assert_eq!(whole.change(&entries), (0, 0, last + 1, last));

        let script = std::format!("seed {seed}\npsc: pause\n");
        let mut paused = Victim::new(&script);
        let mut stands = paused.change(&entries);
        let mut calls = 1;
        while stands.2 <= last {
            prop_assert_eq!((stands.0, stands.1, stands.3), (0, 0, last));
            let answer = paused.page(exit::PAGE_STATE_CHANGE, 0, 0, &[(field::SCRATCH, BUFFER)]);
            stands = (answer.0, answer.1, paused.half(BUFFER), paused.half(BUFFER + 2));
            calls += 1;
            prop_assert!(calls <= 2 * entries.len(), "each call gets on by an entry, or begins one");
        }
        prop_assert_eq!(small_pages(&paused.vcpu.host.pages), small_pages(&whole.vcpu.host.pages));
    }
}

#[test]
fn the_contrary_is_done() {
    let mut victim = Victim::new("psc: contrary\n");
    victim.msr(0x14 | private(0x4000).0);
    victim.change(&[Entry::new(0x5000, OP_SHARED, false)]);
    let small = RmpSize::Size4K;
    assert_eq!(
        victim.vcpu.host.pages,
        [
            (0x4000, PageOp::Shared, small),
            (0x5000, PageOp::Private, small)
        ]
    );
}

#[test]
fn large_pages_come_in_pieces() {
    let mut victim = Victim::new("psc: small\n");
    let huge = Entry::new(0x20_0000, OP_PRIVATE, true);
    assert_eq!(victim.change(&[huge]), (0, 0, 1, 0));
    assert_eq!(victim.vcpu.host.pages.len(), 512);
}

#[test]
fn a_change_is_repeated_at_the_next_other_request() {
    let mut victim = Victim::new("psc nth=1: repeat\n");
    victim.change(&[private(0x4000)]);
    victim.change(&[private(0x5000)]);
    assert!(victim.tricks.is_empty());
    victim.msr(0x80);
    assert_eq!(
        victim.tricks,
        [(0, Trick::Reassign(0x4000, RmpSize::Size4K))]
    );
    victim.msr(0x80);
    assert_eq!(victim.tricks.len(), 1);
}

#[test]
fn a_page_of_the_svsms_is_given_to_the_guest() {
    let mut victim = Victim::new("psc: steal from=svsm+0x3000\n");
    victim.change(&[Entry::new(0x6000, OP_SHARED, false), private(0x4000)]);
    assert_eq!(victim.tricks, [(1, Trick::Remap(0x4000, 0x80_0000_3000))]);
}

#[test]
fn vcpus_are_created_otherwise() {
    let created = |script| {
        let mut victim = Victim::new(script);
        let answer = victim.page(
            exit::AP_CREATION,
            1 << 32 | 2 << 16 | 1,
            0x4000,
            &[(field::RAX, 1)],
        );
        let aps: Vec<_> = victim
            .vcpu
            .host
            .aps
            .iter()
            .map(|ap| {
                let crate::snp::ghcb::ApRequestKind::Create { vmsa, .. } = ap.kind else {
                    panic!("{ap:?}")
                };
                (ap.apic_id, ap.vmpl, vmsa)
            })
            .collect();
        (answer, aps)
    };
    let done = (0, 0);
    assert_eq!(
        created("ap-create vmpl=3: drop"),
        (done, [(1, 2, 0x4000)].to_vec())
    );
    assert_eq!(created("ap-create: drop"), (done, Vec::new()));
    assert_eq!(created("ap-create: fail code=7"), ((2, 7), Vec::new()));
    assert_eq!(
        created("ap-create: other-vmsa gpa=0x5000"),
        (done, [(1, 2, 0x5000)].to_vec())
    );
    assert_eq!(
        created("ap-create: other-vmpl vmpl=3"),
        (done, [(1, 3, 0x4000)].to_vec())
    );
    assert_eq!(
        created("ap-create: other-cpu cpu=2"),
        (done, [(2, 2, 0x4000)].to_vec())
    );
    assert_eq!(
        created("ap-create: twice cpu=3"),
        (done, [(3, 2, 0x4000), (1, 2, 0x4000)].to_vec())
    );
}

#[test]
fn answers_of_the_firmware_are_kept_replayed_and_spoilt() {
    const BUSY: u64 = 2 << 32;
    let mut victim = Victim::new(
        "guest-request nth=2: replay\nguest-request nth=3: busy\nguest-request nth=4: served-busy\n\
         guest-request nth=5: ask-twice\nguest-request nth=6: fail code=0x16\n\
         guest-request nth=7: drop\nguest-request nth=8: noise\nguest-request nth=9: length pages=9\n",
    );
    assert_eq!(victim.send(1, 1), 0);
    let first = victim.response();
    let calls = |victim: &Victim<'_>| victim.vcpu.host.firmware_calls;
    assert_eq!((victim.send(3, 2), calls(&victim)), (0, 1));
    assert_eq!(victim.response(), first, "replayed");
    assert_eq!((victim.send(3, 2), calls(&victim)), (BUSY, 1));
    assert_eq!((victim.send(3, 2), calls(&victim)), (BUSY, 2));
    assert_eq!((victim.send(3, 2), calls(&victim)), (0, 4));
    assert_eq!((victim.send(3, 2), calls(&victim)), (0x16, 4));
    assert_eq!((victim.send(3, 2), calls(&victim)), (0, 4));
    let before = victim.response();
    assert_eq!((victim.send(3, 2), calls(&victim)), (0, 4));
    assert_ne!(victim.response(), before, "noise");
    assert_eq!((victim.send(3, 2), calls(&victim)), (1 << 32, 4));
    assert_eq!(victim.vcpu.field(field::RBX), Some(9));
    assert!(victim.tricks.is_empty(), "the same text each time");

    let mut victim = Victim::new("guest-request nth=2: corrupt\nguest-request nth=3: truncate\n");
    victim.send(1, 1);
    let honest = victim.response();
    victim.send(1, 1);
    let corrupt = victim.response();
    let differ = |one: &[u8], other: &[u8]| {
        one.iter()
            .zip(other)
            .filter(|(one, other)| one != other)
            .count()
    };
    assert_eq!(differ(&corrupt, &honest), 1);
    victim.send(1, 1);
    assert!(differ(&victim.response(), &honest) > 1);
}

#[test]
fn a_counter_that_is_used_twice_is_a_breach() {
    let mut victim = Victim::new("");
    victim.send(1, 1);
    victim.send(1, 2);
    let breach = Breach::CounterUsedTwice {
        vmpck: 0,
        counter: 1,
    };
    assert_eq!(victim.tricks, [(0, Trick::Breach(breach))]);
}

#[test]
fn the_msr_protocol_lies() {
    let says = |script, value| Victim::new(script).msr(value);
    assert_eq!(says("sev-info: answer value=0x1", 0x2), 0x1);
    assert_eq!(says("sev-info: drop", 0x2), 0x2, "no answer");
    assert_eq!(says("hv-features: none", 0x80), 0x81);
    assert_eq!(says("register-ghcb: refuse", 0x5012), !0xFFF | 0x13);
    assert_eq!(says("register-ghcb: drop", 0x5012), 0x5013);
    assert_eq!(
        says("psc: fail code=5", 0x14 | private(0x4000).0),
        5 << 32 | 0x15
    );
    assert_eq!(says("run-vmpl: refuse", 2 << 32 | 0x16), 1 << 32 | 0x17);
    assert_eq!(says("run-vmpl: drop", 2 << 32 | 0x16), 0x17);
    assert_eq!(says("cpuid: lie", 0x4) & 0xFFF, 0x5);
    assert_eq!(says("terminate: ignore", 0x100), 0x100);
}

#[test]
fn a_dropped_registration_registers_nothing() {
    let mut victim = Victim::new("register-ghcb: drop");
    assert_eq!(victim.msr(SHARED | 0x12), SHARED | 0x13);
    assert_eq!(victim.vcpu.level.registered(), Some(GHCB));
}

#[test]
fn ports_lie() {
    let mut victim = Victim::new("port-in: answer value=0x20\n");
    victim.page(exit::IOIO, 0x3FD << 16 | 1 << 4 | 1, 0, &[(field::RAX, 0)]);
    assert_eq!(victim.vcpu.field(field::RAX), Some(0x20));
    assert!(victim.vcpu.host.ports.is_empty());
}

#[test]
fn answers_are_scribbled_over() {
    let mut victim = Victim::new("answer nth=2: scribble steps=9\n");
    victim.page(exit::WBINVD, 0, 0, &[]);
    assert!(victim.tricks.is_empty());
    victim.page(exit::HV_FEATURES, 0, 0, &[]);
    assert_eq!(victim.tricks, [(1, Trick::Scribble(GHCB, 9))]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    /// Whatever chance does about whatever a guest asks: there is an answer, and private memory is not touched.
    #[test]
    fn any_request_is_answered(seed: u64, requests in prop::collection::vec(
        (0..12_usize, any::<u64>(), any::<u64>(), any::<u64>()), 1..20,
    )) {
        let script = std::format!("fuzz seed={seed} rate=1/1");
        let mut victim = Victim::new(&script);
        let untouched = victim.vcpu.get(PRIVATE, 4096).to_vec();
        for (kind, one, two, three) in requests {
            const PAGES: [u64; 8] = [
                exit::PAGE_STATE_CHANGE, exit::AP_CREATION, exit::GUEST_REQUEST,
                exit::EXT_GUEST_REQUEST, exit::RUN_VMPL, exit::HV_FEATURES, exit::CPUID, exit::IOIO,
            ];
            const CODES: [u64; 6] = [0x2, 0x4, 0x12, 0x14, 0x16, 0x80];
            victim.tricks.clear();
            if let Some(code) = PAGES.get(kind) {
                victim.vcpu.level.msr = GHCB;
                let (info1, info2) = if three & 1 == 0 {
                    (SHARED, SHARED + 0x1000)
                } else {
                    (one, two)
                };
                let fields = [(field::RAX, one), (field::RBX, two), (field::RCX, three), (field::SCRATCH, BUFFER)];
                victim.vcpu.prepare(*code, info1, info2, &fields);
                victim.vcpu.put(BUFFER, &(one & 0xF | (two & 0xFF) << 16).to_le_bytes());
                victim.vcpu.put(BUFFER + 8, &three.to_le_bytes());
            } else {
                victim.vcpu.level.msr = one & !0xFFF | CODES[two as usize % CODES.len()];
            }
            let _ = victim.exit();
            for (_, trick) in &victim.tricks {
                if let Trick::Reassign(gpa, size) | Trick::Withhold(gpa, size) = trick {
                    prop_assert_eq!(gpa % size.bytes(), 0);
                }
            }
        }
        prop_assert_eq!(victim.vcpu.get(PRIVATE, 4096), &untouched[..]);
    }
}
