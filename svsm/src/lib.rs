// SPDX-License-Identifier: MIT OR Apache-2.0
//! The core of Parapet, an SVSM: a small kernel beside a confidential guest, more privileged than it, that serves
//! it what the host can't be trusted with.
//!
//! Four principles:
//! 1. **Nobody is believed.** Host and guest are both hostile. What they hand over is parsed into a
//!    checked type before it is used, from a copy that nobody else can change.
//! 2. **Every page has a state**, and only the tracker changes it. What a call may do to a page is decided
//!    there, not by what the hardware happens to refuse.
//! 3. **One loop, no shared road.** Each CPU enters its vCPU and serves its exits; two vCPUs that do
//!    different things meet at no lock and pay for no flush.
//! 4. **Unsafe code lives in the cellar**: the processor, pages and how they change hands, the one way to the guest's
//!    memory. What serves the guest forbids it (`docs/src/architecture.md` has the list, file by file).
//!
//! The rooms:
//! * [`platform`]: the verbs that a platform supplies
//! * [`run`]: the one loop, and how each CPU gets there
//! * [`calls`]: what the guest can ask for, one file a protocol
//! * [`guest`]: what enters and leaves: registers, exits, vCPUs, copies of memory that the guest names
//! * [`machine`]: what all CPUs share
//! * [`memory`]: pages, who has them, where they are mapped
//! * [`cpu`]: the processor: traps, per-CPU data, locks
//! * `start`, `direct_boot`: what happens once, before the guest runs
//! * `log`, [`fatal`]: what is said, and the end
#![no_std]
#![cfg_attr(
    not(target_os = "none"),
    allow(
        dead_code,
        reason = "on a host, where the tests run, nothing starts the machine"
    )
)]

pub mod calls;
pub mod cpu;
mod direct_boot;
pub mod fatal;
pub mod guest;
mod log;
pub mod machine;
pub mod memory;
pub mod platform;
pub mod run;
mod start;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
