// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a run ends: the value that the emulator writes to QEMU's isa-debug-exit device, and the
//! status of the QEMU process that follows from it.

/// I/O port of the isa-debug-exit device. QEMU ends with status `(value << 1) | 1`.
pub const DEBUG_EXIT_PORT: u16 = 0xF4;
/// I/O port of the debugcon device that takes the emulator's log, a byte at a time.
pub const LOG_PORT: u16 = 0x402;

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum RunEnd {
    /// The guest powered itself off (ACPI S5).
    PowerOff = 0x10,
    /// The guest asked for a reset.
    Reset = 0x11,
    /// The guest or the SVSM asked the host to end it (GHCB termination request).
    Terminated = 0x12,
    /// An access or a request broke a rule that hardware enforces; the report names the rule.
    RuleViolation = 0x13,
    /// Something that the emulator does not emulate and refuses to guess.
    Unsupported = 0x14,
    /// The emulator itself failed.
    EmulatorFault = 0x15,
    /// The emulator's inputs (options, image, script) are missing or wrong.
    BadInput = 0x16,
    /// A vCPU shut down (triple fault).
    Shutdown = 0x17,
    /// Every vCPU is halted and nothing can wake it.
    Deadlock = 0x18,
    /// The hostile host keeps back for good what a vCPU needs, or pulls the plug, as its script says.
    HostStopped = 0x19,
    /// The hostile host got what a guest or its SVSM must never let it have; the report says what.
    Breach = 0x1A,
}

impl RunEnd {
    /// All of them, in the order of their values.
    pub const ALL: [Self; 11] = [
        Self::PowerOff,
        Self::Reset,
        Self::Terminated,
        Self::RuleViolation,
        Self::Unsupported,
        Self::EmulatorFault,
        Self::BadInput,
        Self::Shutdown,
        Self::Deadlock,
        Self::HostStopped,
        Self::Breach,
    ];

    /// The status of the QEMU process when the run ended so.
    pub const fn qemu_status(self) -> i32 {
        ((self as i32) << 1) | 1
    }

    /// What the status of a QEMU process says, if the emulator chose it.
    pub fn from_qemu_status(status: i32) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|end| end.qemu_status() == status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_round_trips() {
        for end in RunEnd::ALL {
            assert_eq!(RunEnd::from_qemu_status(end.qemu_status()), Some(end));
        }
        assert_eq!(RunEnd::from_qemu_status(0), None);
        assert_eq!(RunEnd::from_qemu_status(1), None);
    }
}
