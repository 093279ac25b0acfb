// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lies at the launch: in the image's parameters, in the CPUID page, in the image itself.

use alloc::vec::Vec;

use emulator_defs::layout::{SVSM_BASE, SVSM_MAX_SIZE};
use igvm_defs::{IGVM_VHS_MEMORY_MAP_ENTRY, MemoryMapEntryType};
use snp_defs::cpuid::{CpuidPage, Function};

use super::action::Action;
use super::engine::Engine;
use super::event::{Event, Occasion};

const PAGE: u64 = 4096;
/// Random entries of a memory map.
const NOISE: usize = 8;

impl Engine<'_> {
    /// The memory map as this host gives it, in place of `map`.
    pub fn memory_map(&self, map: &mut Vec<IGVM_VHS_MEMORY_MAP_ENTRY>) {
        let occasion = Occasion::launch(Event::MemoryMap, 0);
        let Some(decision) = self.decide(&occasion) else {
            return;
        };
        match decision.action {
            Action::Missing => map.clear(),
            Action::Short => {
                if let Some(last) = map.last_mut() {
                    last.number_of_pages /= 2;
                }
            }
            Action::Overlap => map.insert(
                0,
                IGVM_VHS_MEMORY_MAP_ENTRY {
                    starting_gpa_page_number: SVSM_BASE / PAGE,
                    number_of_pages: SVSM_MAX_SIZE / PAGE,
                    entry_type: MemoryMapEntryType::MEMORY,
                    flags: 0,
                    reserved: 0,
                },
            ),
            Action::Noise => {
                map.clear();
                map.extend((0..NOISE).map(|_| IGVM_VHS_MEMORY_MAP_ENTRY {
                    starting_gpa_page_number: self.random().next(),
                    number_of_pages: self.random().next(),
                    entry_type: MemoryMapEntryType(self.random().next() as u16),
                    flags: self.random().next() as u16,
                    reserved: self.random().next() as u32,
                }));
            }
            _ => {}
        }
    }

    /// Changes the CPUID page before the firmware sees it.
    pub fn cpuid_page(&self, page: &mut CpuidPage) {
        let occasion = Occasion::launch(Event::CpuidPage, 0);
        if let Some(decision) = self.decide(&occasion)
            && let Action::Hide { leaf } = decision.action
        {
            hide(page, leaf);
        }
    }

    /// Changes a page of the image before it is measured; `contents` is where a changed one is kept. Pages
    /// are counted, changed or not.
    pub fn image_page<'p>(
        &self,
        gpa: u64,
        page: &'p [u8; PAGE as usize],
        changed: &'p mut [u8; PAGE as usize],
    ) -> &'p [u8; PAGE as usize] {
        self.placed(gpa);
        match self.decide(&Occasion::launch(Event::ImagePage, gpa)) {
            Some(decision) if decision.action == Action::Flip => {
                *changed = *page;
                let bit = self.random().below(8 * PAGE) as usize;
                changed[bit / 8] ^= 1 << (bit % 8);
                changed
            }
            _ => page,
        }
    }
}

/// Leaves a leaf out, whatever its sub-leaf.
fn hide(page: &mut CpuidPage, leaf: u32) {
    let count = (page.count as usize).min(page.functions.len());
    let kept: Vec<Function> = page.functions[..count]
        .iter()
        .filter(|function| function.eax_in != leaf)
        .copied()
        .collect();
    page.functions.fill(Function::default());
    page.functions[..kept.len()].copy_from_slice(&kept);
    page.count = kept.len() as u32;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile::Script;
    use zerocopy::FromZeros;

    fn engine(text: &str) -> Engine<'_> {
        Engine::new(Script::parse(text.as_bytes()).unwrap(), 1)
    }

    fn entry(first: u64, pages: u64) -> IGVM_VHS_MEMORY_MAP_ENTRY {
        IGVM_VHS_MEMORY_MAP_ENTRY {
            starting_gpa_page_number: first,
            number_of_pages: pages,
            entry_type: MemoryMapEntryType::MEMORY,
            flags: 0,
            reserved: 0,
        }
    }

    fn map(text: &str) -> Vec<(u64, u64)> {
        let mut map = [entry(0, 160), entry(256, 1000)].to_vec();
        engine(text).memory_map(&mut map);
        map.iter()
            .map(|entry| (entry.starting_gpa_page_number, entry.number_of_pages))
            .collect()
    }

    #[test]
    fn memory_maps_lie() {
        assert_eq!(map(""), [(0, 160), (256, 1000)]);
        assert_eq!(map("memory-map: missing"), []);
        assert_eq!(map("memory-map: short"), [(0, 160), (256, 500)]);
        assert_eq!(
            map("memory-map: overlap"),
            [(0x800_0000, 4096), (0, 160), (256, 1000)]
        );
        assert_eq!(map("memory-map: noise").len(), NOISE);
    }

    #[test]
    fn a_leaf_can_be_hidden() {
        let mut page = CpuidPage::new_zeroed();
        page.count = 3;
        for (function, leaf) in page.functions.iter_mut().zip([1, 7, 0xB]) {
            function.eax_in = leaf;
        }
        engine("cpuid-page: hide leaf=7").cpuid_page(&mut page);
        assert_eq!(page.count, 2);
        assert_eq!(
            [0, 1, 2].map(|index| page.functions[index].eax_in),
            [1, 0xB, 0]
        );
        // The page is the host's, and its count may be anything.
        page.count = u32::MAX;
        engine("cpuid-page: hide leaf=7").cpuid_page(&mut page);
        assert!(page.count as usize <= page.functions.len());
    }

    #[test]
    fn one_bit_of_one_page_is_flipped() {
        let engine = engine("image-page gpa=0x3000: flip");
        let page = [0x55; 4096];
        for gpa in [0x2000, 0x3000, 0x4000] {
            let mut changed = [0; 4096];
            let seen = engine.image_page(gpa, &page, &mut changed);
            let bits: u32 = seen
                .iter()
                .zip(page)
                .map(|(one, other)| (one ^ other).count_ones())
                .sum();
            assert_eq!(bits, u32::from(gpa == 0x3000));
        }
    }
}
