// SPDX-License-Identifier: MIT OR Apache-2.0
//! What all vCPUs share: memory, its reverse map and nested tables, devices, firmware, and the part
//! of each vCPU that others may touch.

pub(crate) mod hostile_host;
mod shared;

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

use emulator::config::Config;
use emulator::devices::{Bus, Ram};
use emulator::kvm_clock::{self, SystemTime, WallClock};
use emulator::snp::cpuid::Policy;
use emulator::snp::firmware::Guest;
use emulator::snp::rmp::{Change, Rmp};
use emulator_defs::layout::EMULATOR_END;
use emulator_defs::trace::Kind;
use snp_defs::VMPL_COUNT;
use spin::{Mutex, Once};

use crate::host::devices::{Mmio, Ports};
use crate::host::heap::HIGH;
use crate::host::instructions::rdtsc;
use crate::host::{rtc, time};
use crate::memory::access_cache::Generation;
use crate::memory::backings::{GuestMemory, View};
use crate::memory::npt::NestedTables;
use crate::records::tracing::{Event, Tracer};
use crate::svm::maps::Maps;

use self::hostile_host::HostileHost;
pub(crate) use self::shared::{Order, Request, Shared, State};

/// The machine.
pub(crate) struct Machine {
    pub(crate) config: Config,
    pub(crate) memory: GuestMemory,
    pub(crate) rmp: Rmp<'static>,
    /// Nested tables, one set for each VMPL.
    pub(crate) tables: [NestedTables; VMPL_COUNT],
    pub(crate) maps: Maps,
    pub(crate) bus: Bus<Ports, Mmio>,
    pub(crate) cpuid: Policy,
    /// The guest as the security firmware knows it, from the end of the launch on.
    pub(crate) firmware: Mutex<Option<Guest>>,
    /// Guest-physical address of the AP jump table.
    pub(crate) ap_jump_table: AtomicU64,
    pub(crate) tracer: Tracer,
    /// The script of a hostile host; an honest one has none.
    pub(crate) hostile: Option<HostileHost>,
    /// What KVM's clock says.
    pub(crate) clock: Clock,
    pub(crate) vcpus: Vec<Shared>,
    /// How often some right to a page was taken away.
    pub(crate) generation: Generation,
    /// Time-stamp when the first vCPU started; 0 before.
    pub(crate) started: AtomicU64,
    /// Set once some vCPU ends the run.
    pub(crate) ending: AtomicBool,
}

/// KVM's clock: the same for all vCPUs.
pub(crate) struct Clock {
    pub(crate) system: SystemTime,
    pub(crate) wall: WallClock,
}

impl Clock {
    fn new() -> Self {
        let seconds = rtc::seconds_since_1970();
        Self {
            system: kvm_clock::system_time(time::tsc_hz(), rdtsc()),
            wall: kvm_clock::wall_clock(seconds as u32),
        }
    }
}

static MACHINE: Once<Machine> = Once::new();

impl Machine {
    /// Builds the machine in its initial state. `Err`: what QEMU's `-m` should be, in bytes.
    pub(crate) fn create(
        config: Config,
        hostile: Option<HostileHost>,
    ) -> Result<&'static Self, u64> {
        let memory = GuestMemory::new(config.memory)?;
        let rmp = memory.reverse_map(config.page_size);
        // Devices are never where QEMU's memory is, the emulator's own part included.
        let ram = Ram {
            low_end: EMULATOR_END,
            high_end: HIGH.end(),
        };
        let machine = Self {
            config,
            memory,
            rmp,
            tables: core::array::from_fn(|_| NestedTables::new()),
            maps: Maps::new(),
            bus: Bus::new(Ports, Mmio, ram),
            cpuid: Policy::new(config.cpus),
            firmware: Mutex::new(None),
            ap_jump_table: AtomicU64::new(0),
            tracer: Tracer::new(config.cpus),
            hostile,
            clock: Clock::new(),
            vcpus: (0..config.cpus).map(Shared::new).collect(),
            generation: Generation::new(),
            started: AtomicU64::new(0),
            ending: AtomicBool::new(false),
        };
        Ok(MACHINE.call_once(|| machine))
    }

    /// The machine, once it is built.
    pub(crate) fn get() -> Option<&'static Self> {
        MACHINE.get()
    }

    /// What follows from a change of the RMP, with its block locked: leaves over the range are
    /// cleared in all tables, and contents that are not to be preserved are overwritten.
    pub(crate) fn apply(&self, change: Change) {
        self.tracer.change(&change);
        if change.revokes() {
            self.generation.advance();
            for tables in &self.tables {
                tables.clear(View::Shared, change.gpa, change.size);
                tables.clear(View::Private, change.gpa, change.size);
            }
        }
        if change.scramble() {
            let view = match change.kind {
                emulator::snp::rmp::ChangeKind::Unassigned => View::Shared,
                _ => View::Private,
            };
            self.memory.scramble(change.gpa, change.size, view);
        }
    }

    /// Makes every vCPU but `caller` leave its guest, if it is in one, and waits until each has:
    /// none of them has a translation from before.
    pub(crate) fn flush_others(&self, caller: u32) {
        let started = self.tracer.now();
        fence(Ordering::SeqCst);
        let mut waiting = 0_u64;
        let mut seen = [0; 64];
        for vcpu in &self.vcpus {
            if vcpu.index != caller && vcpu.state.load(Ordering::SeqCst) == State::Guest as u32 {
                seen[vcpu.index as usize] = vcpu.exits.load(Ordering::SeqCst);
                waiting |= 1 << vcpu.index;
                vcpu.request(Request::LOOK);
            }
        }
        while waiting != 0 {
            let index = waiting.trailing_zeros();
            let vcpu = &self.vcpus[index as usize];
            if vcpu.exits.load(Ordering::SeqCst) != seen[index as usize]
                || vcpu.state.load(Ordering::SeqCst) != State::Guest as u32
            {
                waiting &= waiting - 1;
            }
            core::hint::spin_loop();
        }
        self.tracer.since(Kind::Flush, started, Event::default());
    }
}
