// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine in a host's process: a platform whose hardware remembers what it was told, and a guest that makes calls.
//!
//! The hardware is strict: where the core does what would be a hole on a real machine, it panics and names the rule. So
//! every test and every run of a fuzzer also holds the core against these rules:
//! * A page that came in does not come in again before it left.
//! * A page leaves only when the guest has no access to it.
//! * After the start, a page that came in is zeroed before it is granted.
//! * A vCPU's state is looked at only when no vCPU can write it, and is touched while it is stopped.
//! * When a call is over, no right that was taken away lives on in a TLB.
extern crate std;

mod hardware;
mod memory;
mod rig;

pub use hardware::FakePlatform;
pub use memory::FakeMemory;
pub use rig::{Rig, sample_launch_page, with_rig, with_rig_of};
