// SPDX-License-Identifier: MIT OR Apache-2.0
//! CPUID from the page that the firmware checked at launch (56860, 8.17.2.6).
//!
//! The host chose which functions the page has, the firmware saw to it that it promises nothing
//! that the processor lacks. The instruction itself would ask the host, and is never executed.

use snp_defs::cpuid::{CpuidPage, Function, MAX_FUNCTIONS};
use svsm::platform::Cpuid;

/// Leaf of SEV's features (24593, 15.34.1; volume 3, appendix E.4.17).
const LEAF_SEV: u32 = 0x8000_001F;
/// Leaf of address sizes and INVLPGB (24594, appendix E.4.7).
const LEAF_SIZES: u32 = 0x8000_0008;

/// The functions of a page whose shape was checked.
#[derive(Debug, Clone, Copy)]
pub struct Table<'a> {
    functions: &'a [Function],
}

impl<'a> Table<'a> {
    /// The page's functions; `None` where its count or a reserved field is wrong.
    pub fn parse(page: &'a CpuidPage) -> Option<Self> {
        let count = page.count as usize;
        let functions = page.functions.get(..count)?;
        let shape = (1..=MAX_FUNCTIONS).contains(&count)
            && page.reserved == 0
            && page.reserved1 == 0
            && functions.iter().all(|function| function.reserved == 0);
        shape.then_some(Self { functions })
    }

    /// What the processor answers for a leaf and sub-leaf; zeros where the page is silent. Of leaf
    /// 0xD, whose answer depends on what is enabled, it is the answer for the least.
    pub fn get(&self, leaf: u32, sub_leaf: u32) -> Cpuid {
        self.functions
            .iter()
            .find(|function| function.eax_in == leaf && function.ecx_in == sub_leaf)
            .map(|function| Cpuid {
                eax: function.eax,
                ebx: function.ebx,
                ecx: function.ecx,
                edx: function.edx,
            })
            .unwrap_or_default()
    }

    /// Position of the C-bit.
    pub fn c_bit(&self) -> u32 {
        self.get(LEAF_SEV, 0).ebx & 0x3F
    }

    /// Whether INVLPGB and TLBSYNC may be used.
    pub fn has_invlpgb(&self) -> bool {
        self.get(LEAF_SIZES, 0).ebx & (1 << 3) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    fn page(functions: &[Function]) -> Box<CpuidPage> {
        let mut page = Box::new(CpuidPage::new_zeroed());
        page.count = functions.len() as u32;
        page.functions[..functions.len()].copy_from_slice(functions);
        page
    }

    fn function(eax_in: u32, ecx_in: u32, ebx: u32, ecx: u32) -> Function {
        Function {
            eax_in,
            ecx_in,
            ebx,
            ecx,
            ..Function::default()
        }
    }

    #[test]
    fn functions_are_found_by_leaf_and_sub_leaf() {
        let page = page(&[
            function(1, 0, 0, 1 << 30),
            function(7, 0, 1 << 18, 0),
            function(7, 1, 5, 0),
            function(LEAF_SIZES, 0, 1 << 3, 0),
            function(LEAF_SEV, 0, 0x4033, 0),
        ]);
        let table = Table::parse(&page).unwrap();
        assert_eq!(table.get(7, 1).ebx, 5);
        assert_eq!(table.get(7, 2), Cpuid::default());
        assert_eq!(table.c_bit(), 51);
        assert!(table.has_invlpgb());
    }

    #[test]
    fn what_the_page_does_not_say_is_not_there() {
        let page = page(&[function(0, 0, 0, 0)]);
        let table = Table::parse(&page).unwrap();
        assert!(!table.has_invlpgb());
        assert_eq!(table.c_bit(), 0);
    }

    #[test]
    fn a_page_of_another_shape_is_refused() {
        let good = page(&[function(1, 0, 0, 0)]);
        assert!(Table::parse(&good).is_some());
        let mut bad = good.clone();
        bad.count = 0;
        assert!(Table::parse(&bad).is_none());
        bad.count = 65;
        assert!(Table::parse(&bad).is_none());
        bad.count = u32::MAX;
        assert!(Table::parse(&bad).is_none());
        let mut bad = good.clone();
        bad.reserved = 1;
        assert!(Table::parse(&bad).is_none());
        let mut bad = good.clone();
        bad.functions[0].reserved = 1;
        assert!(Table::parse(&bad).is_none());
    }
}
