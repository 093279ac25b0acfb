// SPDX-License-Identifier: MIT OR Apache-2.0
//! The GHCB MSR protocol: what can be asked without a shared page (56421, 2.3.1).

use snp_defs::msr::protocol;
use svsm::platform::HostError;

use crate::door::Door;

/// What the host says about itself in answer to the first question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SevInfo {
    /// Greatest version of the GHCB protocol.
    pub max_version: u16,
    /// Least version of the GHCB protocol.
    pub min_version: u16,
    /// Position of the C-bit.
    pub c_bit: u8,
}

/// An answer's value, where it has the code that belongs to the request.
fn answered(answer: u64, code: u64) -> Result<u64, HostError> {
    if answer & protocol::CODE_MASK == code {
        Ok(answer & !protocol::CODE_MASK)
    } else {
        Err(HostError::Malformed)
    }
}

/// An answer that holds nothing but an error in its upper half.
fn done(answer: u64, code: u64) -> Result<(), HostError> {
    match answered(answer, code)? {
        0 => Ok(()),
        value if value >> 32 != 0 => Err(HostError::Refused(value >> 32)),
        _ => Err(HostError::Malformed),
    }
}

/// Asks for protocol versions and the C-bit (56421, 2.3.1: SEV information).
pub fn sev_info(door: &impl Door) -> Result<SevInfo, HostError> {
    let value = answered(
        door.by_msr(protocol::SEV_INFO_REQUEST),
        protocol::SEV_INFO_RESPONSE,
    )?;
    Ok(SevInfo {
        max_version: (value >> 48) as u16,
        min_version: (value >> 32) as u16,
        c_bit: (value >> 24) as u8,
    })
}

/// Asks for the hypervisor's features (56421, 2.3.1: hypervisor feature support).
pub fn hypervisor_features(door: &impl Door) -> Result<u64, HostError> {
    answered(
        door.by_msr(protocol::HV_FEATURES_REQUEST),
        protocol::HV_FEATURES_RESPONSE,
    )
    .map(|value| value >> 12)
}

/// Registers the GHCB of this CPU: the host takes no other from then on (56421, 2.3.1: register
/// GHCB GPA).
pub fn register_ghcb(door: &impl Door, gpa: u64) -> Result<(), HostError> {
    let answer = answered(
        door.by_msr(protocol::REGISTER_GHCB_REQUEST | gpa),
        protocol::REGISTER_GHCB_RESPONSE,
    )?;
    if answer == gpa {
        Ok(())
    } else {
        Err(HostError::Refused(answer >> 12))
    }
}

/// Changes the state of one 4K page (56421, 2.3.1: SNP page state change).
pub fn page_state(door: &impl Door, gpa: u64, operation: u8) -> Result<(), HostError> {
    let request = protocol::PSC_REQUEST | gpa | (u64::from(operation) << 52);
    done(door.by_msr(request), protocol::PSC_RESPONSE)
}

/// Runs a VMPL of this vCPU; returns when the host comes back, for whatever reason (56421, 2.3.1:
/// SNP run VMPL).
#[inline]
pub fn run_vmpl(door: &impl Door, vmpl: u8) -> Result<(), HostError> {
    let request = protocol::RUN_VMPL_REQUEST | (u64::from(vmpl) << 32);
    done(door.by_msr(request), protocol::RUN_VMPL_RESPONSE)
}

/// The request that ends the machine (56421, 2.3.1: termination request).
pub const fn termination(set: u8, code: u8) -> u64 {
    protocol::TERMINATE_REQUEST | ((set as u64 & 0xF) << 12) | ((code as u64) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host with one answer.
    struct Says(u64);

    impl Door for Says {
        fn by_msr(&self, _: u64) -> u64 {
            self.0
        }

        fn by_page(&self, _: u64) {
            unreachable!("the MSR protocol has no page");
        }
    }

    #[test]
    fn information_is_taken_apart() {
        assert_eq!(
            sev_info(&Says(0x0002_0001_3300_0001)),
            Ok(SevInfo {
                max_version: 2,
                min_version: 1,
                c_bit: 51
            }),
        );
        assert_eq!(hypervisor_features(&Says(0x0002_3081)), Ok(0x23));
    }

    #[test]
    fn an_answer_to_another_question_is_none() {
        assert_eq!(
            sev_info(&Says(0x0002_0001_3300_0081)),
            Err(HostError::Malformed)
        );
        assert_eq!(
            hypervisor_features(&Says(0x0002_3080)),
            Err(HostError::Malformed)
        );
        // The request, left in the register by a host that did nothing.
        assert_eq!(
            register_ghcb(&Says(0x5012), 0x5000),
            Err(HostError::Malformed)
        );
        assert_eq!(
            page_state(&Says(0x0010_0000_0000_5014), 0x5000, 1),
            Err(HostError::Malformed)
        );
        assert_eq!(
            run_vmpl(&Says(0x0000_0002_0000_0016), 2),
            Err(HostError::Malformed)
        );
    }

    #[test]
    fn a_page_is_registered_only_if_the_host_says_that_very_page() {
        assert_eq!(register_ghcb(&Says(0x5013), 0x5000), Ok(()));
        assert_eq!(
            register_ghcb(&Says(0x6013), 0x5000),
            Err(HostError::Refused(6))
        );
        assert_eq!(
            register_ghcb(&Says(!0xFFF | 0x13), 0x5000),
            Err(HostError::Refused(0x000F_FFFF_FFFF_FFFF)),
        );
    }

    #[test]
    fn errors_are_told_from_success() {
        assert_eq!(page_state(&Says(0x15), 0x5000, 2), Ok(()));
        assert_eq!(
            page_state(&Says(0x0000_0001_0000_0015), 0x5000, 2),
            Err(HostError::Refused(1))
        );
        assert_eq!(
            page_state(&Says(0x1015), 0x5000, 2),
            Err(HostError::Malformed)
        );
        assert_eq!(run_vmpl(&Says(0x17), 2), Ok(()));
        assert_eq!(
            run_vmpl(&Says(0x0000_0007_0000_0017), 2),
            Err(HostError::Refused(7))
        );
    }

    #[test]
    fn termination_carries_set_and_code() {
        assert_eq!(termination(2, 4), 0x0004_2100);
    }
}
