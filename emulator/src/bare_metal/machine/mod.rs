// SPDX-License-Identifier: MIT OR Apache-2.0
//! What all vCPUs share: memory, its reverse map and nested tables, devices, firmware, and the part
//! of each vCPU that others may touch.

pub(crate) mod hostile_host;

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};

use emulator::config::Config;
use emulator::devices::{Bus, Posted, Ram};
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
use crate::host::instructions::{interrupt_window, rdtsc};
use crate::host::{apic, rtc, time};
use crate::machine::hostile_host::HostileHost;
use crate::memory::access_cache::{AccessCache, Generation};
use crate::memory::backings::{GuestMemory, View};
use crate::memory::npt::NestedTables;
use crate::records::diary::Diary;
use crate::records::tracing::{Event, Tracer};
use crate::svm::maps::Maps;

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

/// Where a processor is.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// In the emulator: it looks at its requests before it leaves.
    Emulator = 0,
    /// In a guest, or about to be.
    Guest = 1,
    /// Asleep, or about to be.
    Idle = 2,
}

/// What others want from a vCPU.
pub(crate) struct Request;

impl Request {
    /// Something was posted, or translations are stale: leave the guest once.
    pub(crate) const LOOK: u32 = 1 << 0;
    /// An order to create or destroy waits at one of the VMPLs.
    pub(crate) const ORDER: u32 = 1 << 1;
    /// The run ends: write down what is left to say, and stop.
    pub(crate) const STOP: u32 = 1 << 2;
}

/// An order to a vCPU about one of its VMPLs, from AP_CREATION.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Run the VMSA at this address.
    Create(u64),
    /// Run the VMSA at this address from the next INIT on.
    CreateOnInit(u64),
    /// Stop and forget.
    Destroy,
}

/// The part of a vCPU that others may touch.
pub(crate) struct Shared {
    pub(crate) index: u32,
    pub(crate) state: AtomicU32,
    requests: AtomicU32,
    /// Exits so far.
    pub(crate) exits: AtomicU64,
    pub(crate) levels: [SharedLevel; VMPL_COUNT],
    /// Whether an interrupt of a device or a message of another vCPU could wake it, as far as it is
    /// idle.
    pub(crate) wakeable: AtomicBool,
    /// Set once it has stopped because the run ends.
    pub(crate) stopped: AtomicBool,
    /// Pages that its software walks may touch; its own.
    pub(crate) cache: AccessCache,
    /// What it did; its own, until it has stopped.
    pub(crate) diary: Mutex<Diary>,
}

/// The part of a VMPL that others may touch.
pub(crate) struct SharedLevel {
    pub(crate) posted: Posted,
    pub(crate) order: Mutex<Option<Order>>,
}

impl Shared {
    fn new(index: u32) -> Self {
        Self {
            index,
            state: AtomicU32::new(State::Emulator as u32),
            requests: AtomicU32::new(0),
            exits: AtomicU64::new(0),
            levels: core::array::from_fn(|_| SharedLevel {
                posted: Posted::new(index),
                order: Mutex::new(None),
            }),
            wakeable: AtomicBool::new(true),
            stopped: AtomicBool::new(false),
            cache: AccessCache::new(),
            diary: Mutex::new(Diary::new()),
        }
    }

    /// Asks for something. The order of the two steps, and of their counterparts in
    /// [`Self::move_to`], sees to it that a request is never slept over: either the vCPU sees it
    /// before it leaves the emulator, or it is seen outside and kicked.
    pub(crate) fn request(&self, what: u32) {
        self.requests.fetch_or(what, Ordering::SeqCst);
        if self.state.load(Ordering::SeqCst) != State::Emulator as u32 {
            // The real APIC id of a vCPU is its number.
            apic::send_kick(self.index);
        }
    }

    /// Leaves the emulator for `state`, unless there is a request. Interrupts are held back between
    /// this and VMRUN or HLT.
    pub(crate) fn move_to(&self, state: State) -> bool {
        self.state.store(state as u32, Ordering::SeqCst);
        if self.requests.load(Ordering::SeqCst) != 0 {
            self.come_back();
            return false;
        }
        true
    }

    /// Back in the emulator.
    pub(crate) fn come_back(&self) {
        self.state.store(State::Emulator as u32, Ordering::SeqCst);
    }

    /// Takes all requests.
    pub(crate) fn take_requests(&self) -> u32 {
        if self.requests.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        self.requests.swap(0, Ordering::SeqCst)
    }

    /// Whether there is a request.
    pub(crate) fn has_requests(&self) -> bool {
        self.requests.load(Ordering::SeqCst) != 0
    }
}

/// Takes the interrupts that are pending at this processor. Those of devices are posted to the
/// guest's local APIC.
pub(crate) fn take_interrupts(machine: &Machine, shared: &Shared) {
    let processor = crate::host::cpu::Processor::current();
    let posted = &shared.levels[usize::from(machine.config.guest_vmpl)].posted;
    interrupt_window();
    while let Some(vector) = processor.take_arrival() {
        machine.bus.arrived(vector, &apic::Real, posted);
        machine.tracer.instant(
            Kind::InterruptPosted,
            Event {
                vmpl: machine.config.guest_vmpl,
                small: vector.into(),
                a: shared.index.into(),
                ..Event::default()
            },
        );
        interrupt_window();
    }
}
