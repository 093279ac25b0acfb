// SPDX-License-Identifier: MIT OR Apache-2.0
//! Calls to the SVSM: registers, lists and memory of the guest's choice, by two vCPUs, in any order, while the host
//! takes pages, puts others in their place and holds memory in small pages. The machine that they are made on panics
//! where a rule is broken (`svsm::testing`), so whatever the fuzzer finds is a broken rule or a panic of the core.
//!
//! `cargo +nightly fuzz run svsm_calls -- -max_len=2048`
#![no_main]

use libfuzzer_sys::fuzz_target;
use svsm::guest::Exit;
use svsm::testing::{Rig, sample_launch_page, with_rig_of};
use svsm_launch::{LaunchInfo, Range};

const MIB: u64 = 1 << 20;

/// A small machine, so that a run is short: 2 MiB where lists and pages meet, and one run more.
fn launch_page() -> LaunchInfo {
    let mut launch = sample_launch_page();
    launch.guest_memory[0] = Range {
        base: 0,
        size: 0x4_0000,
    };
    launch.guest_memory[1] = Range {
        base: 2 * MIB,
        size: 4 * MIB,
    };
    launch.guest_memory[2] = Range {
        base: 4096 * MIB,
        size: 0x2000,
    };
    launch.preloaded = [Range::default(); 32];
    launch.preloaded[0] = Range {
        base: 0x1_0000,
        size: 0x1000,
    };
    launch
}

/// What is left of the input.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn word(&mut self) -> Option<u64> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*first))
    }

    /// An address: most often one of a few pages, so that calls meet; else anything.
    fn address(&mut self) -> Option<u64> {
        Some(match self.byte()? {
            page @ 0..32 => 2 * MIB + u64::from(page) * 4096,
            page @ 32..40 => 2 * MIB + u64::from(page - 32) * 4096 + u64::from(self.byte()?) * 16,
            40 => 2 * MIB,
            41 => 4 * MIB,
            42 => 0x4_0000,
            43 => 4096 * MIB,
            44 => 0x80_0000_0000,
            45 => 0x3_2000,
            46 => 0x3_3000,
            _ => self.word()?,
        })
    }
}

/// One thing that the guest or the host does; `None` at the end of the input.
fn step(rig: &Rig<'_>, input: &mut Input<'_>) -> Option<()> {
    let memory = rig.memory();
    let reachable = |gpa: u64, length: u64| {
        gpa.checked_add(length).is_some_and(|end| {
            rig.launch
                .guest_memory
                .iter()
                .any(|r| gpa >= r.base && end <= r.base + r.size)
        }) && (gpa..gpa + length)
            .step_by(16)
            .chain([gpa + length - 1])
            .all(|at| {
                let page = at & !0xFFF;
                rig.platform.has_access(page) && !memory.is_stolen(page)
            })
    };
    match input.byte()? {
        // The guest writes a list.
        0..48 => {
            let gpa = input.address()?;
            let (next, count) = (input.byte()? & 3, input.byte()? & 15);
            let entries: Vec<u64> = (0..count)
                .map_while(|_| Some(input.address()? | u64::from(input.byte()? & 15)))
                .collect();
            if reachable(gpa, 8 + entries.len() as u64 * 8) {
                rig.write_list(gpa, next.into(), &entries);
            }
        }
        // It writes what it likes, where it can.
        48..80 => {
            let (gpa, word) = (input.address()?, input.word()?);
            if reachable(gpa, 8) {
                memory.poke(gpa, &word.to_le_bytes());
            }
        }
        80..88 => {
            let gpa = input.address()? & !0xFFF;
            if reachable(gpa, 4096) {
                rig.platform.write_state(gpa);
            }
        }
        // It makes a call.
        88..224 => {
            let cpu = usize::from(input.byte()? & 1);
            let protocol = match input.byte()? {
                0..160 => 0,
                160..248 => 1,
                other => u32::from(other),
            };
            let call = u32::from(input.byte()? & 15);
            let arguments = [
                input.address()?,
                input.address()?,
                u64::from(input.byte()?),
                input.address()?,
            ];
            let ready = rig.vcpu(cpu).is_some() && reachable(rig.calling_area(cpu), 8);
            if ready {
                rig.call(cpu, protocol, call, arguments);
            }
        }
        // The host brings the SVSM, or says that a vCPU runs.
        224..232 => {
            let cpu = usize::from(input.byte()? & 1);
            svsm::run::step(rig.platform, rig.machine, cpu, &mut [0; 512]);
        }
        232..236 => {
            let running = input.byte()? & 1 == 1;
            if let Some(vcpu) = rig.vcpu(1) {
                rig.platform
                    .set_exit(vcpu, if running { Exit::Running } else { Exit::Other });
            }
        }
        // The host takes a page, or puts another there, or smashes a large one.
        236..240 => memory.steal(input.address()? & !0xFFF),
        240..244 => rig.platform.remap(input.address()? & !0xFFF),
        244..248 => rig.platform.smash(input.address()? & !(2 * MIB - 1)),
        // Another vCPU changes what is read, as soon as it was.
        _ => {
            let (at, word) = (input.address()?, input.word()?);
            let has = reachable(at, 8);
            memory.after_read(move |memory, gpa, _| {
                if has && gpa & !0xFFF == at & !0xFFF && !memory.is_stolen(at & !0xFFF) {
                    memory.poke(at, &word.to_le_bytes());
                }
            });
        }
    }
    Some(())
}

fuzz_target!(|bytes: &[u8]| {
    with_rig_of(launch_page(), |rig| {
        let mut input = Input(bytes);
        while step(rig, &mut input).is_some() {}
        rig.memory().clear_hook();
    });
});
