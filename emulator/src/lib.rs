// SPDX-License-Identifier: MIT OR Apache-2.0
//! The emulated SEV-SNP machine, as far as it is logic: what the processor, its security firmware,
//! the interrupt controllers and an honest or hostile host do. It runs in tests on any host; the
//! binary of this package, in `bare_metal/`, adds the hardware that it runs on.
//!
//! * **Specification first.** A number or a rule cites where it is written; what no specification
//!   says is what KVM does. What can't be had under QEMU's TCG is listed in `docs/` as a deviation.
//! * **No guessing.** An access or a request is answered as specified, or it ends the run with a
//!   report that names the rule.
//! * **The guest can't crash it.** What a guest says is parsed into checked types; loops and memory
//!   have bounds that it does not choose.
//! * **No lock on the way of an exit.** What vCPUs share is atomic, or locked by the 2M block.
//!
//! | room | what |
//! |---|---|
//! | [`snp`] | RMP, VMSA, GHCB, #HV doorbell, CPUID, firmware |
//! | [`devices`] | local APIC, I/O APIC, ports, MMIO, PCI configuration |
//! | [`igvm`] | the image's format |
//! | [`vmcb`], [`tlb`], [`paging`], [`exception`], [`decode`] | what SVM and x86 ask of a hypervisor |
//! | [`kvm_clock`] | how a guest learns the rate of its clock |
//! | [`hostile`] | a host that misbehaves, from a script |
//! | [`config`], [`trace`] | options in, trace out |
#![no_std]

extern crate alloc;

#[cfg(test)]
extern crate std;

pub mod config;
pub mod decode;
pub mod devices;
pub mod exception;
pub mod hostile;
pub mod igvm;
pub mod kvm_clock;
pub mod paging;
pub mod snp;
pub mod tlb;
pub mod trace;
pub mod vmcb;
