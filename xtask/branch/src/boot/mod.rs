// SPDX-License-Identifier: MIT OR Apache-2.0
//! A kernel of a branch, booted under QEMU's TCG with nested SVM, and KVM's own selftests run in
//! it. No hardware is needed, so what needs some (VMX, SEV, TDX) is skipped, and told.
//!
//! * [`selftests`]: which there are, and building them
//! * [`initramfs`]: what the kernel starts
//! * [`machine`]: QEMU, until the tests are done or the kernel is
//! * [`verdict`]: what the test programs' output and exit status mean
//! * [`compare`]: two kernels side by side

pub(crate) mod compare;
pub(crate) mod initramfs;
pub(crate) mod machine;
pub(crate) mod selftests;
pub(crate) mod verdict;
