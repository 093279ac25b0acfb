// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whatever a guest writes, it gets an answer, and nobody panics.

use proptest::prelude::*;

use super::*;

/// All codes that mean something, and some that do not.
fn any_code() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..0x90u64,
        0x8000_0000..0x8000_0020u64,
        0x8000_FFF0..0x8001_0000u64,
        any::<u64>(),
    ]
}

/// Values that hit borders: small numbers, addresses of the fake guest, anything.
fn any_value() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..8u64,
        (0..0x9000u64),
        Just(BUFFER),
        Just(SHARED),
        Just(u64::MAX),
        any::<u64>(),
    ]
}

proptest! {
    #[test]
    fn any_page_is_answered(
        page in prop::collection::vec(any::<u8>(), 4096),
        registered in prop::bool::weighted(0.9),
    ) {
        let mut vcpu = Vcpu::default();
        vcpu.put(GHCB, &page);
        vcpu.put(GHCB + field::USAGE as u64, &0u32.to_le_bytes());
        if !registered {
            vcpu.level.registered = None;
        }
        let _ = handle_vmgexit(&mut vcpu.level, &mut vcpu.host);
    }

    #[test]
    fn any_event_is_answered(
        code in any_code(),
        info1 in any_value(),
        info2 in any_value(),
        registers in prop::collection::vec(any_value(), 5),
        buffer in prop::collection::vec(any::<u8>(), 64),
        restricted in any::<bool>(),
        vmpl in 0..4u8,
    ) {
        let mut vcpu = Vcpu::default();
        vcpu.host.restricted = restricted;
        vcpu.host.vmpl = vmpl;
        vcpu.put(BUFFER, &buffer);
        let names = [field::RAX, field::RBX, field::RCX, field::RDX, field::SCRATCH];
        let fields: std::vec::Vec<_> = names.into_iter().zip(registers).collect();
        match vcpu.call(code, info1, info2, &fields) {
            Outcome::Resume | Outcome::RunVmpl(_) => {
                prop_assert!(vcpu.answer().0 <= 2);
            }
            Outcome::ResetHold | Outcome::Terminate(_) | Outcome::Violation(_) => {}
        }
    }

    #[test]
    fn any_msr_value_is_answered(value in any::<u64>(), code in 0..0x110u64) {
        let mut vcpu = Vcpu::default();
        let (outcome, answer) = vcpu.msr(value & !0xFFF | code);
        if outcome == Outcome::Resume && code != 0 {
            prop_assert_eq!(answer & 0xFFF, (code | 1) - u64::from(code == 2) * 2);
        }
    }

    /// A guest whose memory is not shared gets nothing written to it.
    #[test]
    fn private_memory_is_never_touched(
        code in any_code(),
        info1 in any_value(),
        info2 in any_value(),
        registers in prop::collection::vec(any_value(), 5),
    ) {
        let mut vcpu = Vcpu::default();
        let names = [field::RAX, field::RBX, field::RCX, field::RDX, field::SCRATCH];
        let fields: std::vec::Vec<_> = names.into_iter().zip(registers).collect();
        let _ = vcpu.call(code, info1, info2, &fields);
        prop_assert!(vcpu.get(PRIVATE, 0x4000).iter().all(|byte| *byte == 0xEE));
        prop_assert!(vcpu.get(0, 0x1000).iter().all(|byte| *byte == 0xEE));
    }
}
