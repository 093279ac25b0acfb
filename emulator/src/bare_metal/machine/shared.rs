// SPDX-License-Identifier: MIT OR Apache-2.0
//! The part of a vCPU that others may touch: requests, orders, interrupts that are posted to it.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use emulator::devices::Posted;
use snp_defs::VMPL_COUNT;
use spin::Mutex;

use crate::host::apic;
use crate::memory::access_cache::AccessCache;
use crate::records::diary::Diary;

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
    pub(super) fn new(index: u32) -> Self {
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
