// SPDX-License-Identifier: MIT OR Apache-2.0
//! The policy over QEMU's processor, over one that has everything, and over this machine's.

extern crate std;

use std::vec::Vec;

use proptest::prelude::*;

use super::*;

/// `-cpu max,+la57,+svm,+npt,phys-bits=52` of QEMU 7.2 under TCG. Beyond its last leaves it answers
/// with leaf 0xD, as QEMU does.
fn qemu(leaf: u32, sub_leaf: u32) -> Registers {
    let [ebx, ecx, edx] = words(b"AuthcAMDenti");
    match (leaf, sub_leaf) {
        (0x0, _) => [0xD, ebx, edx, ecx],
        (0x1, _) => [0x0006_0FB1, 0x0001_0800, 0xF6D8_320B, 0x0FCB_FBFD],
        (0x6, _) => [4, 0, 0, 0],
        (0x7, 0) => [0, 0x01D8_43A9, 0x8001_020C, 0],
        (0xD, 0) => [0x21F, 0x340, 0xA88, 0],
        (0x4000_0000, _) => {
            let [ebx, ecx, edx] = words(SIGNATURE_TCG);
            [0x4000_0001, ebx, ecx, edx]
        }
        (0x8000_0000, _) => [0x8000_000A, ebx, edx, ecx],
        (0x8000_0001, _) => [0x0006_0FB1, 0, 0x75, 0xEDD3_FBFD],
        (0x8000_0002..=0x8000_0004, _) => [0x554D_4551, 0x2055_5043, leaf, 0],
        (0x8000_0005, _) => [0x01FF_01FF, 0x01FF_01FF, 0x4002_0140, 0x4002_0140],
        (0x8000_0006, _) => [0, 0x4200_4200, 0x0200_8140, 0x0080_8140],
        (0x8000_0008, _) => [0x3934, 0, 0, 0],
        (0x8000_000A, _) => [1, 0x10, 0, 0x1001_0001],
        (0x1..=0xC, _) => [0; 4],
        _ => [0x21F, 0x340, 0xA88, 0],
    }
}

/// A processor that has everything and more.
fn everything(leaf: u32, _: u32) -> Registers {
    match leaf {
        0x0 | 0x4000_0000 | 0x8000_0000 => [leaf | 0xFFFF, 1, 2, 3],
        _ => [u32::MAX; 4],
    }
}

/// The processor on which the test runs.
fn this(leaf: u32, sub_leaf: u32) -> Registers {
    let answer = core::arch::x86_64::__cpuid_count(leaf, sub_leaf);
    [answer.eax, answer.ebx, answer.ecx, answer.edx]
}

fn processors() -> [Raw<'static>; 3] {
    [&qemu, &everything, &this]
}

fn has(word: u32, bit: u32) -> bool {
    word & (1 << bit) != 0
}

#[test]
fn what_the_emulator_keeps_for_itself_is_hidden() {
    for raw in processors() {
        let answer = |leaf, sub_leaf| Policy::new(2).answer(raw, 0, leaf, sub_leaf);
        let [_, _, ecx, _] = answer(1, 0);
        for hidden in [3, 5, 12, 17, 26, 27, 28, 29] {
            assert!(!has(ecx, hidden), "leaf 1 ECX bit {hidden}");
        }
        let [subs, ebx, ecx, _] = answer(7, 0);
        assert_eq!(subs, 0);
        for hidden in [5, 14, 16, 22, 25] {
            assert!(!has(ebx, hidden), "leaf 7 EBX bit {hidden}");
        }
        for hidden in [3, 4, 9, 16, 31] {
            assert!(!has(ecx, hidden), "leaf 7 ECX bit {hidden}");
        }
        assert!(!has(answer(0x8000_0001, 0)[2], 2), "SVM");
        assert_eq!(answer(0x8000_000A, 0), [0; 4]);
        assert_eq!(answer(0xD, 0), [0; 4]);
        assert_eq!(answer(0xD, 1), [0; 4]);
        assert_eq!(answer(0x7, 1), [0; 4]);
    }
}

#[test]
fn what_the_emulator_provides_is_shown() {
    for raw in processors() {
        let answer = |leaf| Policy::new(4).answer(raw, 3, leaf, 0);
        let [_, _, ecx, edx] = answer(1);
        assert!(has(ecx, 21) && has(ecx, 24) && has(ecx, 31) && has(edx, 28));
        assert!(has(answer(6)[0], 2));
        assert_eq!(answer(0)[0], 0xC);
        assert_eq!(answer(0x8000_0000)[0], 0x8000_001F);
        let [eax, ebx, ecx, edx] = answer(0x8000_0008);
        assert_eq!(eax, 0x3030);
        assert!(has(ebx, 3));
        assert_eq!((ecx, edx), (2 << 12 | 3, 7));
        let [eax, ebx, ..] = answer(0x8000_001F);
        assert_eq!(eax, 0b111_1010);
        assert_eq!((ebx & 0x3F, ebx >> 6 & 0x3F, ebx >> 12 & 0xF), (51, 1, 4));
        let [max, rest @ ..] = answer(0x4000_0000);
        assert_eq!((max, rest), (0x4000_0001, words(SIGNATURE)));
    }
    assert!(has(Policy::new(1).answer(&qemu, 0, 0x8000_0007, 0)[3], 8));
}

#[test]
fn every_vcpu_has_a_place_of_its_own() {
    for vcpus in [1, 2, 3, 4, 5, 8, 64] {
        let policy = Policy::new(vcpus);
        for apic_id in 0..vcpus {
            let answer = |leaf, sub_leaf| policy.answer(&qemu, apic_id, leaf, sub_leaf);
            assert_eq!(answer(1, 0)[1] >> 24, apic_id);
            assert_eq!(answer(1, 0)[1] >> 16 & 0xFF, vcpus);
            assert_eq!(answer(1, 0)[1] & 0xFFFF, 0x0800);
            assert_eq!(answer(0xB, 0), [0, 1, 0x100, apic_id]);
            let [shift, cores, level, id] = answer(0xB, 1);
            assert_eq!((cores, level, id), (vcpus, 0x201, apic_id));
            assert_eq!(apic_id >> shift, 0, "one package");
            assert!(shift == 0 || vcpus > 1 << (shift - 1), "no bit too many");
            assert_eq!(answer(0xB, 2), [0, 0, 2, apic_id]);
            assert_eq!(answer(0x8000_001E, 0), [apic_id, apic_id, 0, 0]);
            assert_eq!(answer(0x8000_0008, 0)[2], shift << 12 | (vcpus - 1));
        }
        assert_eq!(has(policy.answer(&qemu, 0, 1, 0)[3], 28), vcpus > 1);
        assert_eq!(
            has(policy.answer(&qemu, 0, 0x8000_0001, 0)[2], 1),
            vcpus > 1
        );
    }
}

#[test]
fn leaves_that_the_processor_does_not_have_are_zero() {
    for raw in processors() {
        for leaf in [
            0xD,
            0x14,
            0x1F,
            0x4000_0002,
            0x8000_001C,
            0x8000_0020,
            0xC000_0000,
        ] {
            assert_eq!(Policy::new(1).answer(raw, 0, leaf, 0), [0; 4]);
        }
    }
    // This one exists on newer processors, and QEMU 7.2 answers for it with leaf 0xD.
    assert_eq!(Policy::new(1).answer(&qemu, 0, 0x8000_0019, 0), [0; 4]);
}

#[test]
fn the_page_holds_what_a_guest_can_ask() {
    for raw in processors() {
        let policy = Policy::new(2);
        let mut page = policy.page(raw);
        assert!(page.count as usize <= MAX_FUNCTIONS);
        let functions = &page.functions[..page.count as usize];
        for (index, function) in functions.iter().enumerate() {
            let key = (function.eax_in, function.ecx_in);
            let found = [function.eax, function.ebx, function.ecx, function.edx];
            assert_eq!(found, policy.answer(raw, 0, key.0, key.1));
            let later = &functions[index + 1..];
            assert!(
                later
                    .iter()
                    .all(|other| (other.eax_in, other.ecx_in) != key)
            );
        }
        // Linux takes its three greatest leaves from these.
        for leaf in [0x0, 0x4000_0000, 0x8000_0000, 0x8000_001F] {
            assert!(functions.iter().any(|function| function.eax_in == leaf));
        }
        assert_eq!(policy.check(raw, &mut page), Ok(()));
    }
}

#[test]
fn the_firmware_allows_less_and_corrects_more() {
    let policy = Policy::new(2);
    let good = policy.page(&qemu);
    let find = |leaf| {
        let index = good.functions.iter().position(|f| f.eax_in == leaf);
        index.unwrap_or_else(|| panic!("no leaf {leaf:#x}"))
    };
    let changed = |leaf, change: fn(&mut Function)| {
        let mut page = good;
        change(&mut page.functions[find(leaf)]);
        let asked = page.functions[find(leaf)];
        let result = policy.check(&qemu, &mut page);
        // What the firmware hands back it takes.
        assert_eq!(policy.check(&qemu, &mut page), Ok(()));
        (result, asked == page.functions[find(leaf)])
    };
    let (allowed, corrected) = ((Ok(()), true), (Err(Status::InvalidParameter), false));
    assert_eq!(changed(0x1, |f| f.ecx &= !1), allowed);
    assert_eq!(changed(0x1, |f| f.ecx |= 1 << 26), corrected);
    assert_eq!(changed(0x1, |f| f.ebx = 0xFF00_0000), allowed);
    assert_eq!(changed(0x1, |f| f.eax += 1), corrected);
    assert_eq!(changed(0x7, |f| f.ecx |= 1 << 16), corrected);
    assert_eq!(changed(0x8000_0000, |f| f.eax -= 1), allowed);
    assert_eq!(changed(0x8000_0000, |f| f.eax += 1), corrected);
    assert_eq!(changed(0x8000_0000, |f| f.ebx += 1), corrected);
    assert_eq!(changed(0x8000_001F, |f| f.ebx = 47), corrected);
    assert_eq!(changed(0x8000_001F, |f| f.eax |= 1 << 20), corrected);
    assert_eq!(changed(0x4000_0000, |f| f.ebx = 5), allowed);
    assert_eq!(changed(0x1, |f| f.reserved = 1), corrected);
    assert_eq!(changed(0x1, |f| f.xcr0_in = 1), corrected);

    let mut page = good;
    page.count = 65;
    assert_eq!(
        policy.check(&qemu, &mut page),
        Err(Status::InvalidParameter)
    );
    assert_eq!(page.count, 64);
    let mut page = good;
    page.functions[63].eax = 1;
    assert_eq!(
        policy.check(&qemu, &mut page),
        Err(Status::InvalidParameter)
    );
    let mut empty = CpuidPage::new_zeroed();
    assert_eq!(policy.check(&qemu, &mut empty), Ok(()));
}

proptest! {
    #[test]
    fn a_corrected_page_claims_nothing_that_is_not_there(
        count in any::<u32>(),
        functions in prop::collection::vec(
            (0_u32..0x20, any::<bool>(), any::<u32>(), any::<[u32; 4]>()), 0..64),
    ) {
        let policy = Policy::new(2);
        let mut page = CpuidPage::new_zeroed();
        page.count = count;
        for (slot, (leaf, extended, sub, [eax, ebx, ecx, edx])) in
            page.functions.iter_mut().zip(functions)
        {
            let eax_in = leaf | if extended { 0x8000_0000 } else { 0 };
            *slot = Function { eax_in, ecx_in: sub, eax, ebx, ecx, edx, ..Function::default() };
        }
        let _ = policy.check(&qemu, &mut page);
        prop_assert_eq!(policy.check(&qemu, &mut page), Ok(()));
        let svm: Vec<_> = page.functions.iter()
            .filter(|f| f.eax_in == 0x8000_0001 && has(f.ecx, 2))
            .collect();
        prop_assert!(svm.is_empty());
    }
}
