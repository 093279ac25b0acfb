// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the image insists on before it does anything else: the SEV features it runs with, the
//! processor's, and the host's.

use snp_defs::ghcb::VERSION_SNP;
use snp_defs::msr::{hv_features, status};
use snp_defs::vmsa::sev_features;

use crate::cpuid::Table;
use crate::msr_protocol::SevInfo;

/// Position of the C-bit in the page tables that the image builder made.
pub const C_BIT: u32 = 51;

/// SEV features that the SVSM knows and that may be on: they take nothing from it.
const HARMLESS: u64 = sev_features::SNP_ACTIVE
    | sev_features::RESTRICTED_INJECTION
    | sev_features::DEBUG_SWAP
    | PREVENT_HOST_IBS
    | BTB_ISOLATION
    | SMT_PROTECTION
    | IBPB_ON_ENTRY;

/// The host can't sample the guest (24593, table B-4: SEV_FEATURES).
const PREVENT_HOST_IBS: u64 = 1 << 6;
/// Branch predictions of others are not used.
const BTB_ISOLATION: u64 = 1 << 7;
/// The sibling thread idles.
const SMT_PROTECTION: u64 = 1 << 15;
/// A barrier for branch predictions at every entry.
const IBPB_ON_ENTRY: u64 = 1 << 21;

/// SEV features that a guest's vCPU may have. Restricted and alternate injection would need
/// services that there are not yet.
pub const GUEST_ALLOWED: u64 = HARMLESS & !sev_features::RESTRICTED_INJECTION;

/// The SVSM's own SEV features, from SEV_STATUS; `None` where they are not such that it may run
/// (24593, 15.34.10: bits of SEV_STATUS from 2 on are SEV_FEATURES).
///
/// Restricted injection must be on: without it the host may inject any exception anywhere. Virtual
/// top of memory and everything unknown must be off.
pub fn own_sev_features(sev_status: u64) -> Option<u64> {
    const BASE: u64 = status::SEV | status::ES | status::SNP;
    let features = sev_status >> 2;
    let fine = sev_status & BASE == BASE
        && features & sev_features::RESTRICTED_INJECTION != 0
        && features & !HARMLESS == 0;
    fine.then_some(features)
}

/// Whether the processor has what the image needs.
pub fn processor_suffices(cpuid: &Table<'_>) -> bool {
    cpuid.c_bit() == C_BIT && cpuid.has_invlpgb()
}

/// Whether the host speaks a version of the protocol that has SNP, and agrees about the C-bit.
pub fn protocol_suffices(info: SevInfo) -> bool {
    (info.min_version..=info.max_version).contains(&VERSION_SNP) && u32::from(info.c_bit) == C_BIT
}

/// Whether the host has what can't be done without. Several VMPLs are not asked for here: a host
/// without them fails at the first entry of the guest, and hosts are known that have them and don't
/// say so.
pub fn host_suffices(features: u64) -> bool {
    const NEEDED: u64 = hv_features::SNP | hv_features::AP_CREATION;
    features & NEEDED == NEEDED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_features_only() {
        const ON: u64 = status::SEV | status::ES | status::SNP | status::RESTRICTED_INJECTION;
        assert_eq!(
            own_sev_features(ON),
            Some(sev_features::SNP_ACTIVE | sev_features::RESTRICTED_INJECTION),
        );
        assert!(own_sev_features(ON | (sev_features::DEBUG_SWAP << 2)).is_some());
        for missing in [
            status::SEV,
            status::ES,
            status::SNP,
            status::RESTRICTED_INJECTION,
        ] {
            assert_eq!(own_sev_features(ON & !missing), None);
        }
        for alien in [
            sev_features::VTOM,
            sev_features::REFLECT_VC,
            sev_features::ALTERNATE_INJECTION,
            sev_features::SECURE_TSC,
            1 << 14,
            1 << 61,
        ] {
            assert_eq!(own_sev_features(ON | (alien << 2)), None);
        }
        assert_eq!(own_sev_features(0), None);
    }

    #[test]
    fn the_host_must_speak_version_2_and_agree_about_the_c_bit() {
        let info = SevInfo {
            max_version: 2,
            min_version: 1,
            c_bit: 51,
        };
        assert!(protocol_suffices(info));
        assert!(protocol_suffices(SevInfo {
            max_version: 3,
            ..info
        }));
        assert!(!protocol_suffices(SevInfo {
            max_version: 1,
            ..info
        }));
        assert!(!protocol_suffices(SevInfo {
            max_version: 4,
            min_version: 3,
            ..info
        }));
        assert!(!protocol_suffices(SevInfo { c_bit: 47, ..info }));
        assert!(host_suffices(hv_features::SNP | hv_features::AP_CREATION));
        assert!(!host_suffices(hv_features::SNP | hv_features::MULTI_VMPL));
    }
}
